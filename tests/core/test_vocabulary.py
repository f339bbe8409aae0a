"""Vocabularies: ids, fingerprints, and what cannot be composed."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import BOS, EOS, PAD, SPECIAL_TOKENS, UNK, Vocab, require_same

words = st.lists(st.text(max_size=4), unique=True, max_size=8)


@given(words)
def test_every_token_finds_its_way_back(tokens):
    vocab = Vocab.of(tokens)
    assert [vocab.tokens[vocab.id(token)] for token in vocab.tokens] == list(vocab.tokens)
    assert vocab.ids(vocab.tokens) == list(range(len(vocab)))
    assert all(token in vocab for token in tokens)


@given(words, st.text(max_size=5))
def test_what_is_outside_is_unknown(tokens, stranger):
    vocab = Vocab.of(tokens)
    assume(stranger not in vocab.tokens)
    assert stranger not in vocab
    assert vocab.id(stranger) == UNK


def test_special_tokens_come_first_and_once():
    vocab = Vocab.of(["b", "</s>", "a"])
    assert vocab.tokens == (*SPECIAL_TOKENS, "b", "a")
    assert vocab.ids(SPECIAL_TOKENS) == [PAD, BOS, EOS, UNK]


@given(words, words)
def test_fingerprints_are_equal_for_equal_vocabularies_alone(a, b):
    one, other = Vocab.of(a), Vocab.of(b)
    assert (one.fingerprint == other.fingerprint) == (one.tokens == other.tokens)


def test_a_fingerprint_is_for_ever():
    assert Vocab.of(["a", "é", "中"]).fingerprint == "2758faeb7e7273d2"


def test_lone_surrogates_have_a_fingerprint():
    assert Vocab.of(["\ud800"]).fingerprint != Vocab.of(["\ud801"]).fingerprint


@pytest.mark.parametrize("tokens", [(), ("a",), ("<s>", "<pad>", "</s>", "<unk>"), (*SPECIAL_TOKENS, "a", "a")])
def test_what_is_no_vocabulary_is_refused(tokens):
    with pytest.raises(ModelError, match="a vocabulary"):
        Vocab(tokens)


def test_composition_needs_one_vocabulary_token_for_token():
    a, b = Vocab.of(["x", "y"]), Vocab.of(["y", "x"])
    assert require_same([a, Vocab.of(["x", "y"])]) is a
    with pytest.raises(ModelError, match=f"{a.fingerprint}.*{b.fingerprint}.*tokenizer of one run"):
        require_same([a, a, b])

"""Teaching an n-gram: tables that were added to are those of a fit on everything, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError, ModelError
from sensorium.core.protocols import TeachableScorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram

VOCAB = Vocab.of("abcde")
bodies = st.lists(st.lists(st.integers(UNK, len(VOCAB) - 1), max_size=7), min_size=1, max_size=8)


def text(body):
    return [BOS, *body, EOS]


def fitted(bodies, order=3, **options):
    return Ngram(Ngram.Config(order=order, **options), VOCAB, width=1).fit(map(text, bodies))


def assert_same_tables(one, other):
    for (name, a), (_, b) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        assert torch.equal(a, b), name


@settings(max_examples=150)
@given(
    known=bodies,
    taught=st.lists(st.tuples(bodies, st.integers(1, 3)), min_size=1, max_size=3),
    order=st.integers(1, 5),
)
def test_what_is_taught_is_as_if_fitted(known, taught, order):
    lessons = [(text(body), times) for texts, times in taught for body in texts]
    everything = known + [body for texts, times in taught for body in texts for _ in range(times)]
    model = fitted(known, order).teach(lessons)
    assert_same_tables(model, fitted(everything, order))
    assert_same_tables(model.teach([]), fitted(known, order))


@given(known=bodies, kept=bodies, forgotten=bodies)
def test_the_order_of_teaching_and_forgetting_leaves_no_trace(known, kept, forgotten):
    model = fitted(known)
    model.teach([(text(body), 2) for body in [*forgotten, *kept]])
    model.teach([(text(body), 1) for body in kept])
    assert_same_tables(model, fitted(known + kept))


def test_forgetting_gives_the_very_tables_back():
    model = fitted([[4, 5, 6], [4, 5]])
    before = dict(model.named_buffers())
    model.teach([(text([7, 8]), 1)]).teach([])
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_a_taught_word_becomes_likely():
    model = fitted([[4, 5]] * 9)
    cond, token_11, mask_11 = Conditioning.empty(1), torch.tensor([[BOS]]), torch.ones(1, 1, dtype=torch.bool)
    before, _ = model.extend(model.start(cond), token_11, mask_11)
    after, _ = model.teach([(text([7, 5]), 30)]).extend(model.start(cond), token_11, mask_11)
    assert int(before.argmax()) == 4
    assert int(after.argmax()) == 7


def test_fitting_and_loading_end_what_was_taught():
    saved = fitted([[4, 5]]).state_dict()
    model = fitted([[6]]).teach([(text([7]), 1)])
    model.load_state_dict(saved)
    assert_same_tables(model.teach([]), fitted([[4, 5]]))
    model.teach([(text([7]), 1)]).fit([text([6])])
    assert_same_tables(model.teach([]), fitted([[6]]))


def test_a_model_that_was_loaded_can_be_taught():
    model = fitted([[6]])
    model.load_state_dict(fitted([[4, 5]]).state_dict())
    assert_same_tables(model.teach([(text([7]), 2)]), fitted([[4, 5], [7], [7]]))


def test_a_model_of_before_is_loaded_and_cannot_be_taught():
    saved = fitted([[4, 5]]).state_dict()
    del saved["suffix_"], saved["occurrence_"]
    model = fitted([[6]])
    model.load_state_dict(saved)
    with pytest.raises(ModelError, match="cannot be taught"):
        model.teach([(text([7]), 1)])


def test_a_pruned_model_says_why_it_cannot_be_taught():
    model = fitted([[4, 5], [4, 5], [6]], prune=(0, 1))
    with pytest.raises(ModelError, match=r"pruned.*without 'prune'"):
        model.teach([(text([7]), 1)])
    assert model.teach([]) is model


@pytest.mark.parametrize("bad", [[4, EOS], [BOS, 4], [BOS, 99, EOS], [BOS, BOS, EOS], []])
def test_a_malformed_text_changes_nothing(bad):
    model = fitted([[4, 5]])
    with pytest.raises(DataError):
        model.teach([(text([6]), 1), (bad, 1)])
    assert_same_tables(model, fitted([[4, 5]]))


def test_it_is_teachable_and_a_mixture_of_it_hears():
    model, other = fitted([[4, 5]]), fitted([[5, 4]], 2)
    assert isinstance(model, TeachableScorer)
    mixture = Mixture([model, other])
    token_BT = torch.tensor([text([7, 8])])
    args = token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(1)
    before = mixture.score(*args).sum()
    model.teach([(text([7, 8]), 5)])
    assert mixture.score(*args).sum() > before + 1

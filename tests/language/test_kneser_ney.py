"""Kneser-Ney against a slow implementation by the book, and against KenLM's own output."""

import gzip
import logging
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.kneser_ney import counts_of_counts, discounts_of, estimate
from sensorium.language.ngram import Ngram
from sensorium.language.ngram_counts import count_ngrams

VOCAB = Vocab.of("abc")
WORDS = [EOS, *range(UNK, len(VOCAB))]
bodies = st.lists(st.lists(st.integers(UNK, len(VOCAB) - 1), max_size=6), min_size=1, max_size=12)


class ByTheBook:
    """Interpolated modified Kneser-Ney over Counters, one formula of Chen and Goodman at a time."""

    def __init__(self, sequences, order, prune=()):
        raw = Counter(
            tuple(sequence[i : i + n])
            for sequence in sequences
            for n in range(1, order + 1)
            for i in range(len(sequence) - n + 1)
        )
        before = {gram: set() for gram in raw}
        for gram in raw:
            if len(gram) > 1:
                before[gram[1:]].add(gram[0])
        self.count = {
            gram: raw[gram] if len(gram) == order or gram[0] == BOS else len(before[gram])
            for gram in raw
            if gram != (BOS,)
        }
        self.discount = {n: self.discounts(n) for n in range(1, order + 1)}
        self.order = order
        limit = {n: (prune[min(n, len(prune)) - 1] if prune else 0) for n in range(1, order + 1)}
        self.pruned = {gram for gram in raw if len(gram) > 1 and raw[gram] <= limit[len(gram)]}

    def discounts(self, length):
        t = Counter(count for gram, count in self.count.items() if len(gram) == length)
        fallback = (0, 0.5, 1.0, 1.5)
        if not (t[1] and t[2] and t[3]):
            return fallback
        y = t[1] / (t[1] + 2 * t[2])
        found = [k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3)]
        return (0, *found) if all(0 < d <= k for k, d in enumerate(found, 1)) else fallback

    def p(self, word, context):
        context = tuple(context[max(0, len(context) - self.order + 1) :])
        lower = 1 / len(WORDS) if not context else self.p(word, context[1:])
        children = {
            gram: c for gram, c in self.count.items() if gram[:-1] == context and len(gram) == len(context) + 1
        }
        total = sum(children.values())
        if total == 0:
            return lower
        discount = self.discount[len(context) + 1]
        # A pruned n-gram gives its whole count to the shorter context.
        freed = sum(c if gram in self.pruned else discount[min(c, 3)] for gram, c in children.items())
        count = 0 if (*context, word) in self.pruned else children.get((*context, word), 0)
        return (count - discount[min(count, 3)]) / total + freed / total * lower

    def log_p(self, sequence):
        return sum(math.log(self.p(sequence[t], sequence[:t])) for t in range(1, len(sequence)))


@settings(max_examples=40, deadline=None)
@given(
    bodies=bodies, tried=bodies, order=st.integers(1, 4), prune=st.sampled_from([(), (0, 1), (0, 0, 1), (0, 1, 2)])
)
def test_scores_and_distributions_are_those_of_the_book(bodies, tried, order, prune):
    sequences = [[BOS, *body, EOS] for body in bodies]
    prune = prune[:order]
    book = ByTheBook(sequences, order, prune)
    model = Ngram(Ngram.Config(order=order, prune=prune), VOCAB, width=1).fit(sequences)
    for body in tried[:4]:
        token_1T = torch.tensor([[BOS, *body, EOS]])
        mask_1T = torch.ones_like(token_1T, dtype=torch.bool)
        score = model.score(token_1T, mask_1T, Conditioning.empty(1)).sum()
        assert float(score) == pytest.approx(book.log_p(token_1T[0].tolist()), abs=1e-4)
        log_p_1V, _ = model.extend(model.start(Conditioning.empty(1)), token_1T[:, :-1], mask_1T[:, :-1])
        want = [book.p(word, (BOS, *body)) for word in WORDS]
        np.testing.assert_allclose(log_p_1V[0, WORDS].exp(), want, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=80))
def test_discounts_lie_between_nothing_and_the_whole_count(counts):
    found = discounts_of(counts_of_counts(np.array(counts)))
    if found is not None:
        assert all(0 < discount <= k for k, discount in enumerate(found, start=1))


def test_discounts_follow_equation_26():
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 12, 5])
    y = 100 / (100 + 80)
    want = (1 - 2 * y * 40 / 100, 2 - 3 * y * 20 / 40, 3 - 4 * y * 12 / 20)
    assert discounts_of(counts_of_counts(counts)) == pytest.approx(want)


def test_a_corpus_too_regular_falls_back_loudly(caplog):
    with caplog.at_level(logging.WARNING):
        found = estimate(count_ngrams([[BOS, 4, EOS]] * 5, 3, len(VOCAB)))
    assert found.num_fallbacks == 3
    assert "length 1, 2, 3" in caplog.text
    np.testing.assert_array_equal(found.discount_L3, [[0.5, 1.0, 1.5]] * 3)


@pytest.mark.parametrize(
    ("sequence", "fault"),
    [
        ([], "BOS to EOS"),
        ([BOS], "BOS to EOS"),
        ([4, EOS], "BOS to EOS"),
        ([BOS, 4], "BOS to EOS"),
        ([BOS, PAD, EOS], "id 0 at place 1"),
        ([BOS, 4, BOS, EOS], "id 1 at place 2"),
        ([BOS, 99, EOS], "id 99 at place 1"),
        ([BOS, -1, EOS], "id -1 at place 1"),
    ],
)
def test_a_bad_sequence_is_named(sequence, fault):
    with pytest.raises(DataError, match=rf"sequence 1: .*{fault}"):
        count_ngrams([[BOS, 4, EOS], sequence], 3, len(VOCAB))


def test_no_sequence_is_an_error():
    with pytest.raises(DataError, match="no sequences"):
        count_ngrams([], 3, len(VOCAB))


def test_pruning_leaves_out_what_is_rare():
    sequences = [[BOS, 4, 5, EOS]] * 3 + [[BOS, 4, 6, EOS]] * 2 + [[BOS, 6, 6, EOS]]
    model = Ngram(Ngram.Config(order=3, prune=(0, 1, 2)), VOCAB, width=1).fit(sequences)
    num_tokens = len(VOCAB)
    bigrams = [tuple(divmod(key, num_tokens)) for key in model.key_[: model.level_start_[2] - num_tokens].tolist()]
    assert bigrams == [(BOS, 4), (4, 5), (4, 6), (5, EOS), (6, EOS)]
    trigrams = [divmod(key, num_tokens) for key in model.key_[model.level_start_[2] - num_tokens :].tolist()]
    assert [(*bigrams[node - num_tokens], word) for node, word in trigrams] == [(BOS, 4, 5), (4, 5, EOS)]


@settings(max_examples=30, deadline=None)
@given(bodies=bodies, order=st.integers(1, 5))
def test_the_trie_holds_exactly_the_n_grams(bodies, order):
    sequences = [[BOS, *body, EOS] for body in bodies]
    counts = count_ngrams(sequences, order, len(VOCAB))
    assert (np.diff(counts.key_N) > 0).all()

    def words(node):
        if node < counts.num_tokens:
            return (int(node),)
        key = int(counts.key_N[node - counts.num_tokens])
        return (*words(key // counts.num_tokens), key % counts.num_tokens)

    for length in range(2, order + 1):
        start, end = counts.level_start[length - 1 : length + 1]
        held = {words(node) for node in range(start, end)}
        want = {tuple(s[i : i + length]) for s in sequences for i in range(len(s) - length + 1)}
        assert held == want
        for node in range(start, end):
            assert words(counts.suffix_N[node - counts.num_tokens]) == words(node)[1:]


@pytest.fixture(scope="module")
def kenlm(reference_data):
    """KenLM's ARPA file of order 4 as (ids, log10 p, log10 b) by length, and our model of the same text."""
    folder = reference_data / "ngram" / "golden"
    texts = [line.split() for line in (folder / "train_1500.txt").read_text().splitlines()]
    vocab = Vocab.of(dict.fromkeys(word for text in texts for word in text))
    model = Ngram(Ngram.Config(order=4), vocab, width=1).fit([[BOS, *vocab.ids(text), EOS] for text in texts])
    levels = {length: [] for length in range(1, 5)}
    with gzip.open(folder / "train_1500.o4.arpa.gz", "rt", encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1:
                ids = vocab.ids(fields[1].split(" "))
                levels[len(ids)].append((ids, float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0))
    return model, levels


def test_every_probability_and_back_off_is_kenlms(kenlm):
    model, levels = kenlm
    for length, grams in levels.items():
        ids_NT = torch.tensor([ids for ids, _, _ in grams])
        node_N = ids_NT[:, 0]
        for t in range(1, length):
            node_N = model._child(node_N, ids_NT[:, t])
        start, end = model.level_start_[length - 1 : length + 1].tolist()
        held = set(range(start, end)) - ({PAD} if length == 1 else set())
        assert set(node_N.tolist()) == held, f"the {length}-grams are KenLM's"
        # <s>, which nobody predicts, KenLM lists with a placeholder.
        predicted_N = ~((node_N == BOS) & (length == 1))
        want_N = torch.tensor([log10_p for _, log10_p, _ in grams]) * math.log(10)
        torch.testing.assert_close(model.log_p_[node_N][predicted_N], want_N[predicted_N], rtol=0, atol=1e-5)
        if length < 4:
            want_N = torch.tensor([log10_b for _, _, log10_b in grams]) * math.log(10)
            torch.testing.assert_close(model.log_backoff_[node_N], want_N, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 5])
def test_held_out_sentences_score_as_under_kenlm(order, reference_data):
    folder = reference_data / "ngram"
    texts = [line.split() for line in (folder / "books_train_1m.txt").read_text().splitlines()]
    vocab = Vocab.of(dict.fromkeys(word for text in texts for word in text))
    model = Ngram(Ngram.Config(order=order), vocab, width=1).fit([[BOS, *vocab.ids(text), EOS] for text in texts])
    golden = (folder / "golden" / f"heldout500.kenlm_o{order}_books1m.tsv").read_text().splitlines()
    held_out = (folder / "books_heldout.txt").read_text().splitlines()[: len(golden)]
    for line, row in zip(held_out, golden, strict=True):
        ids_1T = torch.tensor([[BOS, *vocab.ids(line.split()), EOS]])
        score = model.score(ids_1T, torch.ones_like(ids_1T, dtype=torch.bool), Conditioning.empty(1)).sum()
        log10_p, num_unknown = row.split("\t")
        assert float(score) / math.log(10) == pytest.approx(float(log10_p), abs=1e-3)
        assert int((ids_1T == UNK).sum()) == int(num_unknown)

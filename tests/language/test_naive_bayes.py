"""Naive Bayes: equal to scikit-learn's to 1e-9, fitted on rows with holes, sentences and several inputs."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import naive_bayes as peer

from sensorium.core.errors import DataError, ModelError
from sensorium.core.protocols import EvidenceScorer
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.label_counts import Layout
from sensorium.language.naive_bayes import NaiveBayes
from sensorium.testing import check_scorer

LABELS = Vocab.of(["red", "green", "blue"])
PEERS: dict[str, Any] = {
    "multinomial": peer.MultinomialNB,
    "bernoulli": peer.BernoulliNB,
    "complement": peer.ComplementNB,
}


def rows_of(*inputs: list[list[int]]) -> Conditioning:
    """Condition on words, one list of rows an input."""
    names = ("text", "sound")
    evidence = {}
    for name, rows in zip(names, inputs, strict=False):
        words = [torch.tensor(row, dtype=torch.int64) for row in rows]
        evidence[name] = torch.nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=-1)
    empty = Conditioning.empty(len(inputs[0]))
    return Conditioning(empty.memory, {}, evidence)


def targets(labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    token_BT = torch.tensor([[BOS, label, EOS] for label in labels])
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool)


def fitted(labels: list[int], cond: Conditioning, **options: Any) -> NaiveBayes:
    model = NaiveBayes(NaiveBayes.Config(**options), LABELS, width=1)
    model.observe(*targets(labels), cond)
    return model.estimate()


def random_rows(seed: int, num: int, num_words: int = 12) -> tuple[list[int], list[list[int]]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(4, 7, num).tolist()
    texts = [(4 + generator.integers(0, num_words, generator.integers(1, 9))).tolist() for _ in range(num)]
    return labels, texts


def bags(texts: list[list[int]], ngrams: int, known: list[tuple[int, ...]] | None = None):
    """Count n-grams with no trick: a dense matrix, and its columns."""
    counted = [
        Counter(tuple(text[i : i + n]) for n in range(1, ngrams + 1) for i in range(len(text) - n + 1))
        for text in texts
    ]
    known = known if known is not None else sorted(set(itertools.chain(*counted)))
    return np.array([[bag[gram] for gram in known] for bag in counted]), known


@pytest.mark.parametrize("kind", PEERS)
@pytest.mark.parametrize("ngrams", [1, 2, 3])
@pytest.mark.parametrize("smoothing", [1.0, 0.1])
def test_posteriors_equal_scikit_learn(kind, ngrams, smoothing):
    labels, texts = random_rows(0, 60)
    _, tests = random_rows(1, 25, num_words=16)  # some words were never seen
    x, known = bags(texts, ngrams)
    x_test, _ = bags(tests, ngrams, known)
    oracle = PEERS[kind](alpha=smoothing).fit(x, labels)
    model = fitted(labels, rows_of(texts), kind=kind, ngrams=ngrams, smoothing=smoothing, boundaries=False)
    got_BC = model.log_posterior(rows_of(tests)).numpy()
    np.testing.assert_allclose(got_BC, oracle.predict_log_proba(x_test), rtol=0, atol=1e-9)


def test_normalised_complement_equals_scikit_learn():
    labels, texts = random_rows(2, 60)
    x, _ = bags(texts, 1)
    oracle = peer.ComplementNB(norm=True).fit(x, labels)
    model = fitted(labels, rows_of(texts), kind="complement", ngrams=1, normalise=True)
    np.testing.assert_allclose(model.log_posterior(rows_of(texts)).numpy(), oracle.predict_log_proba(x), atol=1e-9)


def test_binary_counts_equal_scikit_learn_on_binary_counts():
    labels, texts = random_rows(3, 60, num_words=5)
    x, _ = bags(texts, 2)
    oracle = peer.MultinomialNB().fit(x > 0, labels)
    model = fitted(labels, rows_of(texts), ngrams=2, binary=True, boundaries=False)
    got_BC = model.log_posterior(rows_of(texts)).numpy()
    np.testing.assert_allclose(got_BC, oracle.predict_log_proba(x > 0), atol=1e-9)


def test_boundaries_are_words_of_longer_ngrams_alone():
    labels, texts = random_rows(4, 40, num_words=5)
    bounded = [[BOS, *text, EOS] for text in texts]
    x, known = bags(bounded, 2)
    kept = [i for i, gram in enumerate(known) if gram not in ((BOS,), (EOS,))]
    oracle = peer.MultinomialNB().fit(x[:, kept], labels)
    model = fitted(labels, rows_of(texts), ngrams=2)
    got_BC = model.log_posterior(rows_of(texts)).numpy()
    np.testing.assert_allclose(got_BC, oracle.predict_log_proba(x[:, kept]), atol=1e-9)


def test_rare_ngrams_are_left_out():
    labels, texts = random_rows(5, 40)
    x, _ = bags(texts, 2)
    kept = np.flatnonzero((x > 0).sum(0) >= 3)
    assert 0 < len(kept) < x.shape[1]
    oracle = peer.MultinomialNB().fit(x[:, kept], labels)
    model = fitted(labels, rows_of(texts), ngrams=2, min_rows=3, boundaries=False)
    got_BC = model.log_posterior(rows_of(texts)).numpy()
    np.testing.assert_allclose(got_BC, oracle.predict_log_proba(x[:, kept]), atol=1e-9)


@given(st.integers(1, 50), st.integers(0, 10_000))
def test_batches_do_not_matter(cut, seed):
    labels, texts = random_rows(seed, 51)
    model = NaiveBayes(NaiveBayes.Config(), LABELS, width=1)
    model.observe(*targets(labels[:cut]), rows_of(texts[:cut]))
    model.observe(*targets(labels[cut:]), rows_of(texts[cut:]))
    whole = fitted(labels, rows_of(texts))
    assert all(torch.equal(a, b) for a, b in zip(model.estimate().buffers(), whole.buffers(), strict=True))


@pytest.mark.parametrize("kind", PEERS)
def test_inputs_are_independent_given_the_class_and_an_absent_one_says_nothing(kind):
    labels, texts = random_rows(6, 60)
    _, sounds = random_rows(7, 60)
    options = {"kind": kind, "ngrams": 1}
    both = fitted(labels, rows_of(texts, sounds), **options)
    one, other = (fitted(labels, rows_of(rows), **options) for rows in (texts, sounds))
    prior_C = both.log_share_ if kind != "complement" else torch.zeros(3)

    def evidence(model, *rows):  # log P(x | c), up to a constant
        log_p_BC = model.log_posterior(rows_of(*rows)) - prior_C
        return log_p_BC - log_p_BC[:, :1]

    want_BC = evidence(one, texts) + evidence(other, sounds)
    torch.testing.assert_close(evidence(both, texts, sounds), want_BC, rtol=0, atol=1e-9)
    torch.testing.assert_close(evidence(both, texts, [[]] * 60), evidence(one, texts), rtol=0, atol=1e-9)


def test_a_row_without_any_input_has_the_shares_of_the_classes():
    labels, texts = [4, 4, 4, 5], [[4], [5], [4, 5], [6]]
    for kind in PEERS:
        model = fitted(labels, rows_of(texts), kind=kind)
        got_BC = model.log_posterior(rows_of([[], [4]]))[0].exp()
        torch.testing.assert_close(got_BC, torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_rows_with_holes_count_for_the_shares_alone():
    model = fitted([4, 5, 5], rows_of([[4], [5], []]), ngrams=1)
    full = fitted([4, 5], rows_of([[4], [5]]), ngrams=1)
    torch.testing.assert_close(model.weight_, full.weight_)
    torch.testing.assert_close(model.log_share_.exp(), torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))


def test_unknown_words_are_no_evidence():
    model = fitted([4, 5], rows_of([[4, UNK, 4], [5, UNK]]))
    got_BC = model.log_posterior(rows_of([[4], [UNK, 4, UNK], [4, 99], [4, 10**15]]))
    one_word = fitted([4, 5], rows_of([[4, UNK, 4], [5, UNK]]), ngrams=1).log_posterior(rows_of([[4], [4, 99]]))
    torch.testing.assert_close(one_word[0], one_word[1])
    assert got_BC.isfinite().all()


def test_one_class_is_certain():
    model = fitted([4, 4], rows_of([[4], [5]]), kind="complement")
    torch.testing.assert_close(model.log_posterior(rows_of([[4]])), torch.zeros(1, 1, dtype=torch.float64))


def test_what_was_never_seen_keeps_a_little_probability():
    model = fitted([4, 5], rows_of([[4], [5]]))
    token_BT, mask_BT = targets([6])
    score = float(model.score(token_BT, mask_BT, rows_of([[4]]))[0, 1])
    assert math.log(1e-12) < score < math.log(1e-9)


def test_a_target_of_two_words_is_refused():
    model = NaiveBayes(NaiveBayes.Config(), LABELS, width=1)
    token_BT = torch.tensor([[BOS, 4, 5, EOS], [BOS, 4, EOS, PAD]])
    with pytest.raises(DataError, match="2 tokens is no label"):
        model.observe(token_BT, token_BT != PAD, rows_of([[4], [5]]))


def test_nothing_to_count_is_refused():
    with pytest.raises(DataError, match="no row"):
        NaiveBayes(NaiveBayes.Config(), LABELS, width=1).estimate()


def test_other_inputs_than_those_counted_are_refused():
    model = fitted([4, 5], rows_of([[4], [5]]))
    with pytest.raises(ModelError, match="words of 1 inputs"):
        model.start(rows_of([[4]], [[4]]))


def test_keys_that_do_not_fit_are_refused():
    Layout(1 << 20, 1).require_room(3)
    with pytest.raises(DataError, match="63 bits"):
        Layout(1 << 20, 1).require_room(4)


def test_one_input_may_be_named_without_a_list():
    assert NaiveBayes.Config.parse({"inputs": "text"}).inputs == ("text",)


def with_words(num_rows: int) -> Conditioning:
    generator = torch.Generator().manual_seed(num_rows)
    word_BT = torch.randint(3, 10, (num_rows, 5), generator=generator)
    length_B1 = torch.randint(0, 6, (num_rows, 1), generator=generator)
    memory = Encoded(
        torch.randn(num_rows, 3, 2, generator=generator),
        torch.ones(num_rows, 3, dtype=torch.bool),
        torch.ones(num_rows, dtype=torch.bool),
    )
    return Conditioning(memory, {}, {"text": torch.where(torch.arange(5) < length_B1, word_BT, -1)})


@pytest.mark.parametrize("kind", PEERS)
def test_it_keeps_the_contract(kind):
    labels, texts = random_rows(8, 30, num_words=6)
    cond = rows_of(texts)

    def fit(scorer) -> None:
        assert isinstance(scorer, EvidenceScorer)
        scorer.observe(*targets(labels), cond)
        scorer.estimate()

    def oracle(tokens, cond) -> float:
        """Bayes' rule for the label, by plain counting; only the floor is left after it."""
        floor = 1e-10 / (len(LABELS) - 2)
        words = [int(word) for word in cond.evidence["text"][0] if word >= 0]
        total = math.log(joint(tokens[1], words) / sum(joint(c, words) for c in (4, 5, 6)) * (1 - 1e-10) + floor)
        for token in tokens[2:]:
            total += math.log((1 - 1e-10) * (token == EOS) + floor)
        return total

    def joint(label: int, words: list[int]) -> float:
        own = [text for text, other in zip(texts, labels, strict=True) if other == label]
        p = len(own) / len(texts)
        known = set(itertools.chain(*texts))
        seen = Counter(itertools.chain(*own))
        for word in words:
            if word in known:
                p *= (seen[word] + 1) / (seen.total() + len(known))
        return p

    check_scorer(
        lambda: NaiveBayes(NaiveBayes.Config(kind=kind, ngrams=1 if kind == "multinomial" else 2), LABELS, 1),
        with_words,
        fit=fit,
        oracle=oracle if kind == "multinomial" else None,
        tolerance=1e-4,
        length=4,
    )


def test_what_a_fusion_leaves_as_evidence_is_no_word():
    cond = rows_of([[4], [5], [4], [5]])
    scorer = NaiveBayes(NaiveBayes.Config(), LABELS, 4)
    scorer.observe(*targets([4, 5, 4, 5]), cond)
    scorer.estimate()
    fused = {"gate": torch.full((4, 2), 0.5), "edges": torch.full((4, 2, 2), 0.5)}
    beside = Conditioning(cond.memory, {}, {**fused, **cond.evidence})
    assert torch.equal(scorer.start(beside).log_p_BV, scorer.start(cond).log_p_BV)

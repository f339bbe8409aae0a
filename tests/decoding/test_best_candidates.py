"""The likeliest of known texts by branch and bound, with the scoring of all of them as oracle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import MarkovTable, topics
from test_every_scorer import make, memory

from sensorium.core.errors import UsageError
from sensorium.core.types import Conditioning
from sensorium.decoding.best_candidates import best_candidates
from sensorium.decoding.candidates import score_candidates
from sensorium.decoding.trie import Trie, ended
from sensorium.language.registry import COMPOSITIONS, SCORERS


def oracle(scorer, cond, texts, num_best):
    """Return the best texts and their probabilities among all, from every text's score."""
    log_p_BN = score_candidates(scorer, cond, texts).double()
    first = [texts.index(text) for text in texts]
    distinct = sorted(set(first))
    order_BK = log_p_BN[:, distinct].argsort(dim=1, descending=True, stable=True)[:, :num_best]
    index_BK = torch.tensor(distinct)[order_BK]
    return (
        index_BK,
        log_p_BN.gather(1, index_BK),
        log_p_BN[:, distinct].softmax(1).nan_to_num(0.0).gather(1, order_BK),
    )


TEXTS = st.lists(st.lists(st.integers(4, 7), max_size=4).map(tuple), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(1, 5), st.booleans(), st.integers(1, 300), st.sampled_from([0.5, 3.0]))
def test_the_best_texts_are_those_of_scoring_all(texts, num_best, with_shares, max_rows, spread):
    scorer, cond = MarkovTable(4, spread=spread), topics(0, 1, 2, 3, 1)
    num_best = min(num_best, len(set(texts)))
    found = best_candidates(
        scorer, cond, Trie.of(ended(texts)), num_best=num_best, with_shares=with_shares, max_rows=max_rows
    )
    _, log_p_BK, share_BK = oracle(scorer, cond, texts, num_best)
    torch.testing.assert_close(found.log_p_BK, log_p_BK, rtol=1e-5, atol=1e-5)
    told_BK = score_candidates(scorer, cond, texts).double().gather(1, found.index_BK)
    torch.testing.assert_close(told_BK, log_p_BK, rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == num_best for row in found.index_BK.tolist())
    if with_shares:
        torch.testing.assert_close(found.share_BK, share_BK, rtol=1e-5, atol=1e-8)
    else:
        assert (found.share_BK <= share_BK + 1e-6).all()


@pytest.mark.parametrize("name", [*SCORERS, *COMPOSITIONS])
def test_every_scorer_gives_the_same_as_scoring_all(name):
    scorer, cond = make(name), memory(3)
    texts = [(4, 5, 6, 7), (4, 5, 8), (11,), (10, 10), (4, 5), (9, 4, 4), (9, 4, 5), (4, 5, 8)]
    index_BK, log_p_BK, share_BK = oracle(scorer, cond, texts, 3)
    for max_rows in (1, 4, 256):
        found = best_candidates(
            scorer, cond, Trie.of(ended(texts)), num_best=3, with_shares=True, max_rows=max_rows
        )
        torch.testing.assert_close(found.log_p_BK, log_p_BK, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.share_BK, share_BK, rtol=1e-3, atol=1e-5)
        assert found.index_BK[:, 0].tolist() == index_BK[:, 0].tolist()


def test_a_row_alone_finds_the_same():
    scorer, texts = (
        MarkovTable(5, seed=2),
        [(a, b, c) for a in range(4, 9) for b in range(4, 9) for c in range(4, 9)],
    )
    trie = Trie.of(ended(texts))
    together = best_candidates(scorer, topics(0, 1, 2, 3), trie, num_best=4)
    for topic in range(4):
        alone = best_candidates(scorer, topics(topic), trie, num_best=4)
        assert torch.equal(alone.index_BK[0], together.index_BK[topic])
        assert torch.equal(alone.log_p_BK[0], together.log_p_BK[topic])


def test_what_cannot_be_best_is_not_scored():
    texts = [(a, b, c, d) for a in range(4, 9) for b in range(4, 9) for c in range(4, 9) for d in range(4, 9)]
    sure, all_of_them = MarkovTable(5, spread=6), MarkovTable(5, spread=6)
    score_candidates(all_of_them, topics(0, 1), texts)
    best_candidates(sure, topics(0, 1), Trie.of(ended(texts)))
    assert sure.fed_rows < all_of_them.fed_rows / 2


def test_equal_texts_are_one_and_impossible_ones_are_found_last():
    scorer = MarkovTable(3)
    scorer.log_p_[:, :, :, 6] = -torch.inf
    texts = [(6, 4), (4,), (5,), (4,), (6,)]
    found = best_candidates(scorer, topics(0), Trie.of(ended(texts)), num_best=4, with_shares=True)
    assert sorted(found.index_BK[0, :2].tolist()) == [1, 2]
    assert found.index_BK[0, 2:].tolist() == [0, 4]
    assert found.share_BK[0].sum() == pytest.approx(1.0)
    nothing = best_candidates(scorer, topics(0), Trie.of(ended([(6,)])), with_shares=True)
    assert nothing.share_BK.tolist() == [[0.0]]


def test_no_rows_give_no_answers():
    scorer = MarkovTable(3)
    found = best_candidates(scorer, topics(0), Trie.of(ended([(4,), (5,)])))
    assert found.index_BK.shape == (1, 1)
    empty = Conditioning(Conditioning.empty(0).memory, evidence={"topic": torch.zeros(0, dtype=torch.int64)})
    assert best_candidates(scorer, empty, Trie.of(ended([(4,), (5,)]))).index_BK.shape == (0, 1)


def test_refused():
    with pytest.raises(UsageError, match="begins another"):
        best_candidates(MarkovTable(3), topics(0), Trie.of([(4,), (4, 5)]))
    with pytest.raises(UsageError, match="2 of 1 distinct"):
        best_candidates(MarkovTable(3), topics(0), Trie.of(ended([(4,), (4,)])), num_best=2)

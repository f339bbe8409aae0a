import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import MarkovTable, topics

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import BOS, EOS, PAD
from sensorium.decoding.candidates import score_candidates
from sensorium.decoding.trie import Trie, ended

TEXTS = st.lists(st.lists(st.integers(3, 7), min_size=1, max_size=5), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.booleans(), st.sampled_from([1, 2, 3, 7, 256]))
def test_equals_the_sum_over_tokens(texts, whole, max_rows):
    scorer = MarkovTable(4, seed=1)
    log_p_BN = score_candidates(scorer, topics(2, 0, 1), texts, whole=whole, max_rows=max_rows)
    for row, topic in enumerate((2, 0, 1)):
        for text, log_p in zip(texts, log_p_BN[row].tolist(), strict=True):
            expected = sum(scorer.of_text(topic, (*text, EOS) if whole else tuple(text)))
            assert log_p == pytest.approx(expected, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.lists(st.integers(3, 6), max_size=3).map(tuple), min_size=1))
def test_different_whole_texts_sum_to_at_most_one(texts):
    log_p_BN = score_candidates(MarkovTable(3, spread=3), topics(0, 1), sorted(texts))
    assert (log_p_BN.exp().sum(1) <= 1 + 1e-5).all()


def test_all_texts_of_an_ending_language_sum_to_one():
    scorer = MarkovTable(1)
    scorer.log_p_[:, 3:, 3:] = -math.inf  # after two words comes the end
    scorer.log_p_[:, 3:, 3:, EOS] = 0.0
    scorer.log_p_ = scorer.log_p_.log_softmax(-1)
    texts = [(), (3,), (4,), (3, 3), (3, 4), (4, 3), (4, 4)]
    total_B = score_candidates(scorer, topics(0, 3), texts).exp().sum(1)
    torch.testing.assert_close(total_B, torch.ones(2))


def test_beginnings_of_one_token_cost_the_prefill_alone():
    scorer = MarkovTable(13)
    answers = [(i,) for i in range(4, 17)]
    score_candidates(scorer, topics(0, 1), answers, whole=False)
    assert scorer.fed_rows == 2
    scorer.fed_rows = 0
    score_candidates(scorer, topics(0, 1), answers)
    assert scorer.fed_rows == 2 + 2 * 13


def test_common_beginnings_are_scored_once():
    scorer = MarkovTable(4)
    score_candidates(scorer, topics(0), [(3, 4, 5, 6), (3, 4, 5, 7), (3, 4)])
    assert scorer.fed_rows == 6, "BOS, 3, 4, 5 once, then 6 and 7"


def test_memory_is_bounded_by_rows():
    class Widest(MarkovTable):
        widest = 0

        def extend(self, state, token_BT, mask_BT):
            self.widest = max(self.widest, len(token_BT))
            return super().extend(state, token_BT, mask_BT)

    scorer = Widest(8)
    score_candidates(scorer, topics(0, 1), [(i, j) for i in range(4, 12) for j in range(4, 12)], max_rows=6)
    assert scorer.widest == 6
    assert scorer.fed_rows == 2 * (1 + 8 + 64), "in parts, but each node once"


def test_a_prepared_trie_is_taken_as_it_is():
    scorer, texts = MarkovTable(4), [(3, 4), (5,), (3, 4)]
    direct = score_candidates(scorer, topics(0, 1), texts)
    assert torch.equal(direct, score_candidates(scorer, topics(0, 1), Trie.of(ended(texts))))
    assert torch.equal(direct[:, 0], direct[:, 2])


def test_texts_far_longer_than_the_call_stack():
    class Endless(MarkovTable):
        def extend(self, state, token_BT, mask_BT):
            log_p_NV, after = super().extend(state, token_BT, mask_BT)
            return log_p_NV, type(state)(after.topic_N, after.token_NT, min(after.length, 2))

    log_p_BN = score_candidates(Endless(2), topics(0), [[4] * 1500])
    assert log_p_BN.item() < -100


@pytest.mark.parametrize("texts", [[], [(3,), (PAD,)], [(BOS, 3)]], ids=str)
def test_refuses_what_cannot_be_meant(texts):
    with pytest.raises(UsageError):
        score_candidates(MarkovTable(3), topics(0), texts)


def test_refuses_an_empty_beginning():
    with pytest.raises(UsageError, match="at least one"):
        score_candidates(MarkovTable(3), topics(0), [()], whole=False)


@given(TEXTS)
def test_the_tree_leads_from_the_root_to_every_text(texts):
    trie = Trie.of(texts)
    for text, leaf in zip(texts, trie.leaf_N.tolist(), strict=True):
        node = torch.zeros(1, dtype=torch.long)
        for token in text:
            child_C, from_C = trie.children(node)
            assert (from_C == 0).all()
            assert len(set(trie.token_E[child_C].tolist())) == len(child_C)
            node = child_C[trie.token_E[child_C] == token]
            assert len(node) == 1
        assert node.item() == leaf
    prefixes = {tuple(text[:n]) for text in texts for n in range(len(text) + 1)}
    assert trie.dead_end == len(prefixes)
    assert trie.num_children_E.sum() == len(prefixes) - 1

"""Minimum Bayes risk: similarity against BLEU by hand, the choice against every text there is."""

import dataclasses
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import MarkovTable, every_text, topics

from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.pytree import select
from sensorium.core.vocabulary import EOS, PAD
from sensorium.decoding.beam import Beam
from sensorium.decoding.config import DecodingConfig
from sensorium.decoding.consensus import Consensus, agreed, drawn
from sensorium.decoding.generate import generate
from sensorium.decoding.generated import trimmed
from sensorium.decoding.search import Greedy, Sample
from sensorium.decoding.similarity import clipped_matches, sentence_bleu


def grams(words, order):
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu_by_hand(candidate, reference):
    if not candidate:
        return 0.0
    product = 1.0
    for order in (1, 2, 3, 4):
        matches = (grams(candidate, order) & grams(reference, order)).total()
        smoothing = 1 if order > 1 else 0
        product *= (matches + smoothing) / (max(0, len(candidate) - order + 1) + smoothing)
    return product**0.25 * min(1.0, math.exp(1 - len(reference) / len(candidate)))


def padded(texts, length=None):
    length = length or max(1, *(len(text) for text in texts))
    return torch.tensor([[*text, *[PAD] * (length - len(text))] for text in texts])


def generated(texts, log_p):
    """One row whose texts end in EOS."""
    token_1KT = padded([[*text, EOS] for text in texts])[None]
    log_p_1KT = torch.zeros(token_1KT.shape)
    log_p_1KT[0, :, 0] = torch.tensor(log_p)
    return trimmed(token_1KT, log_p_1KT)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.lists(st.integers(4, 7), max_size=9), min_size=1, max_size=6))
def test_similarity_is_smoothed_bleu_of_each_pair(texts):
    bleu_NN = sentence_bleu(padded(texts), torch.tensor([len(text) for text in texts]))
    for i, candidate in enumerate(texts):
        for j, reference in enumerate(texts):
            assert float(bleu_NN[i, j]) == pytest.approx(bleu_by_hand(candidate, reference), abs=1e-5)


def test_repeated_words_match_as_often_as_the_other_text_has_them():
    match_NN = clipped_matches(padded([[4, 4, 4], [4, 5, 4]]), torch.tensor([3, 3]), 1)
    assert match_NN.tolist() == [[3, 2], [2, 3]]


def test_what_lies_behind_a_text_is_not_read():
    length_N = torch.tensor([2, 2])
    assert torch.equal(
        sentence_bleu(torch.tensor([[4, 5, 6, 7], [4, 5, 7, 7]]), length_N),
        sentence_bleu(torch.tensor([[4, 5, PAD, PAD], [4, 5, PAD, PAD]]), length_N),
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_worthiest_text_is_that_of_an_exhaustive_search(share):
    """Every text is a candidate, weighed by its exact probability, beside what a memory recalls."""
    scorer, length = MarkovTable(2, num_topics=2, seed=3), 4
    texts = [text[:-1] for text in every_text(scorer, length) if text[-1] == EOS]
    log_p = [sum(scorer.of_text(1, (*text, EOS))) for text in texts]
    told, told_weights = [(4, 5, 4), (5, 5)], [1.0, 3.0]
    recalled = (padded([[*t, EOS] for t in told])[None], torch.tensor([told_weights]))
    result = agreed(generated(texts, log_p), None, recalled, share)
    total = math.fsum(map(math.exp, log_p))

    def worth(text):
        own = math.fsum(
            math.exp(p) / total * bleu_by_hand(text, other) for p, other in zip(log_p, texts, strict=True)
        )
        memory = sum(w / 4 * bleu_by_hand(text, other) for w, other in zip(told_weights, told, strict=True))
        return (1 - share) * own + share * memory

    best = max(texts, key=worth)
    assert [i for i in result.token_BT[0].tolist() if i > EOS] == list(best)
    assert float(result.score_BK[0, 0]) == pytest.approx(worth(best), abs=1e-5)
    assert result.score_BK[0].tolist() == pytest.approx(sorted(map(worth, texts), reverse=True), abs=1e-5)


def test_many_draws_choose_as_the_exact_expectation_does():
    scorer, cond = MarkovTable(3, num_topics=3, seed=1, spread=2.5), topics(0, 1, 2)
    draws = drawn(scorer, cond, Consensus(draws=2000), max_tokens=5)
    found = generate(scorer, cond, search=Beam(width=4, n_best=4), max_tokens=5)
    result = agreed(found, draws, None, 0.0)
    for b, topic in enumerate((0, 1, 2)):
        texts = every_text(scorer, 5)
        weights = [math.exp(sum(scorer.of_text(topic, text))) for text in texts]
        words = [[i for i in text if i > EOS] for text in texts]
        chosen = [i for i in result.token_BT[b].tolist() if i > EOS]
        worth = math.fsum(w * bleu_by_hand(chosen, other) for w, other in zip(weights, words, strict=True))
        assert float(result.score_BK[b, 0]) == pytest.approx(worth, abs=0.03)


def test_a_row_draws_the_same_beside_any_others_and_in_pieces(monkeypatch):
    scorer, config = MarkovTable(3), Consensus(draws=5, seed=7)
    together = drawn(scorer, topics(0, 1, 2), config, max_tokens=6)
    monkeypatch.setattr("sensorium.decoding.consensus._MOST_PATHS", 6)
    apart = drawn(scorer, topics(0, 1, 2), config, max_tokens=6)
    assert torch.equal(together.token_BKT, apart.token_BKT)
    assert together.token_BKT.shape[:2] == (3, 5)
    alone = generate(scorer, topics(0, 1, 2), search=Sample(seed=7), max_tokens=6)
    length = min(alone.token_BT.shape[1], together.token_BKT.shape[2])
    assert torch.equal(alone.token_BT[:, :length], together.token_BKT[:, 0, :length])
    assert len({tuple(text) for text in together.token_BKT[0].tolist()}) > 1
    cond = dataclasses.replace(topics(2, 0), row_id_B=torch.tensor([2, 0]))
    turned = drawn(scorer, cond, config, max_tokens=6).token_BKT
    assert torch.equal(turned, together.token_BKT[[2, 0], :, : turned.shape[2]]), "by its number, not its place"


def test_draws_carry_the_log_p_of_what_they_say():
    scorer = MarkovTable(3)
    draws = drawn(scorer, topics(2), Consensus(draws=8, temperature=0.7), max_tokens=6)
    for k in range(8):
        ids = tuple(i for i in draws.token_BKT[0, k].tolist() if i)
        assert float(draws.total_BK[0, k]) == pytest.approx(sum(scorer.of_text(2, ids)), abs=1e-4)


def test_a_row_whose_memory_is_empty_goes_by_the_draws_alone():
    found = generated([[4, 5], [5]], [-1.0, -2.0])
    nothing = (torch.full((1, 2, 3), PAD), torch.zeros(1, 2))
    assert torch.equal(agreed(found, None, nothing, 0.9).score_BK, agreed(found, None, None, 0.9).score_BK)


def test_no_rows_and_no_draws():
    scorer, nobody = MarkovTable(2), select(topics(0), torch.empty(0, dtype=torch.int64))
    draws = drawn(scorer, nobody, Consensus(draws=3), max_tokens=4)
    found = generate(scorer, nobody, search=Greedy(), max_tokens=4)
    assert agreed(found, draws, None, 0.0).token_BKT.shape[0] == 0
    with pytest.raises(UsageError, match="draws"):
        Sample(draws=0)


def test_places_without_a_text_stay_last():
    found = generated([[4, 5], [5]], [-1.0, -2.0])
    score_BK = torch.tensor([[-torch.inf, -2.0]])
    lacking = trimmed(
        found.token_BKT.masked_fill(score_BK[..., None] == -torch.inf, PAD), found.log_p_BKT, score_BK
    )
    result = agreed(lacking, None, None, 0.0)
    assert [i for i in result.token_BT[0].tolist() if i > EOS] == [5]
    assert result.score_BK[0, 1] == -torch.inf


def test_consensus_and_rescoring_exclude_each_other():
    with pytest.raises(ConfigError, match="leave one out"):
        DecodingConfig.parse({"search": "beam", "n_best": 2, "consensus": {}, "rescore": {"by": ["ngram"]}})

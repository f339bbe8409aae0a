import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import MarkovTable, topics

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import EOS, UNK
from sensorium.decoding.beam import Beam
from sensorium.decoding.filters import ForbiddenTokens, MinLength, NoRepeatNgram, RepetitionPenalty
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy, Sample

PATHS = st.integers(0, 9).flatmap(
    lambda t: st.lists(st.lists(st.integers(3, 6), min_size=t, max_size=t), min_size=1, max_size=4)
)


def log_p_of(num_paths):
    return torch.randn(num_paths, 7, generator=torch.Generator().manual_seed(1)).log_softmax(-1)


def apply(filter_, log_p_NV, paths):
    before = log_p_NV.clone()
    token_NT = torch.tensor(paths, dtype=torch.long).view(len(paths), -1)
    changed_NV, _ = filter_.apply(log_p_NV, filter_.start(len(paths), log_p_NV.device), token_NT)
    assert torch.equal(log_p_NV, before), "a filter leaves the scorer's output alone"
    return changed_NV


@given(PATHS, st.integers(1, 4))
def test_no_repeat_ngram_against_a_set(paths, size):
    log_p_NV = log_p_of(len(paths))
    changed_NV = apply(NoRepeatNgram(size), log_p_NV, paths)
    for path, row_V, new_V in zip(paths, log_p_NV, changed_NV, strict=True):
        seen = {tuple(path[i : i + size]) for i in range(len(path) - size + 1)}
        context = tuple(path[len(path) - size + 1 :]) if len(path) >= size - 1 else None
        for token in range(7):
            banned = context is not None and (*context, token) in seen
            assert new_V[token] == (-math.inf if banned else row_V[token])


@given(PATHS, st.sampled_from([0.5, 1.2, 3.0]))
def test_repetition_penalty_multiplies_once(paths, penalty):
    log_p_NV = log_p_of(len(paths))
    changed_NV = apply(RepetitionPenalty(penalty), log_p_NV, paths)
    for path, row_V, new_V in zip(paths, log_p_NV, changed_NV, strict=True):
        for token in range(7):
            assert new_V[token] == row_V[token] * (penalty if token in path else 1)


def test_forbidden_tokens_and_no_others():
    log_p_NV = log_p_of(2)
    changed_NV = apply(ForbiddenTokens(), log_p_NV, [[4], [5]])
    assert (changed_NV[:, UNK] == -math.inf).all()
    others = [i for i in range(7) if i != UNK]
    assert torch.equal(changed_NV[:, others], log_p_NV[:, others])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([Greedy(), Sample(), Beam(width=3)]))
def test_min_length_counts_words(seed, search):
    found = generate(
        MarkovTable(3, seed=seed), topics(0, 1, 2), search=search, filters=[MinLength(4)], max_tokens=30
    )
    num_words_B = (found.mask_BT & (found.token_BT != EOS)).sum(1)
    assert (num_words_B >= 4).all()


def test_min_length_lets_go_in_time():
    log_p_NV = log_p_of(1)
    assert apply(MinLength(2), log_p_NV, [[4]])[0, EOS] == -math.inf
    assert torch.equal(apply(MinLength(2), log_p_NV, [[4, 4]]), log_p_NV)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([Greedy(), Sample(), Beam(width=4, n_best=4)]))
def test_generated_texts_repeat_no_bigram(seed, search):
    found = generate(
        MarkovTable(3, seed=seed, spread=3), topics(0, 1), search=search, filters=[NoRepeatNgram(2)], max_tokens=12
    )
    for row in found.token_BKT.flatten(0, 1):
        text = row[row > EOS].tolist()
        bigrams = list(itertools.pairwise(text))
        assert len(bigrams) == len(set(bigrams))


@pytest.mark.parametrize("make", [lambda: RepetitionPenalty(0), lambda: NoRepeatNgram(0)])
def test_refuses_what_cannot_be_meant(make):
    with pytest.raises(UsageError):
        make()

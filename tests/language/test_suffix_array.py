"""The order of contexts, and what is found in it, against brute force over texts small enough to read through."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.vocabulary import BOS, EOS, UNK
from sensorium.language.context_index import ContextIndex
from sensorium.language.ngram_counts import join
from sensorium.language.suffix_array import merged_next_tokens, next_tokens, rank_contexts

NUM_TOKENS = UNK + 4
texts = st.lists(st.lists(st.integers(UNK, NUM_TOKENS - 1), max_size=7), min_size=1, max_size=8)


def joined(bodies):
    return join([[BOS, *body, EOS] for body in bodies], NUM_TOKENS)


def context(token_T, at, length):
    """The last tokens at a place, the last one first, as far as BOS."""
    found = []
    while len(found) < length:
        found.append(int(token_T[at]))
        if token_T[at] == BOS:
            break
        at -= 1
    return tuple(found)


def followers(token_T, tail):
    """What follows each occurrence of the tokens."""
    n = len(tail)
    return sorted(int(token_T[at]) for at in range(n, len(token_T)) if token_T[at - n : at].tolist() == list(tail))


@settings(max_examples=40)
@given(texts, st.sampled_from([1, 2, 4, 8, 64]))
def test_contexts_are_ranked_as_their_reversed_tokens_are(bodies, length):
    token_T = joined(bodies)
    want = [context(token_T, at, length) for at in range(len(token_T))]
    rank_T = rank_contexts(token_T, length)
    by_want = {tail: number for number, tail in enumerate(sorted(set(want)))}
    order = np.array([by_want[tail] for tail in want])
    assert ((rank_T[:, None] < rank_T) >= (order[:, None] < order)).all()
    if length == 64:
        assert (rank_T == order).all()


def search(index, tail):
    interval_2 = index.whole(())
    for token in tail:
        interval_2 = index.extend(interval_2, torch.tensor(token))
    return interval_2


def check_all_contexts(token_T, next_N, longest):
    """Every stretch of the text, and one that is not in it, leads to what follows it."""
    index = ContextIndex.of(torch.from_numpy(np.asarray(next_N)))
    tails = {
        tuple(token_T[at : at + n].tolist())
        for at in range(len(token_T))
        for n in range(1, longest + 1)
        if BOS not in token_T[at + 1 : at + n] and EOS not in token_T[at : at + n]
    }
    for tail in [*tails, (UNK,) * longest]:
        low, high = search(index, tail).tolist()
        want = followers(token_T, tail)
        assert sorted(index.next_N[low:high].tolist()) == want
        if want:
            num_runs = int(index.num_runs(torch.tensor([[low, high]])))
            assert len(set(want)) <= num_runs <= len(want)


@settings(max_examples=40)
@given(texts)
def test_every_context_leads_to_what_follows_it(bodies):
    token_T = joined(bodies)
    check_all_contexts(token_T, next_tokens(token_T, 8)[1], 8)


@settings(max_examples=40)
@given(texts, texts, st.integers(1, 3))
def test_merged_texts_are_found_as_if_they_had_been_there(bodies, more, times):
    token_T, more_T = joined(bodies), joined(more)
    _, next_N = next_tokens(token_T, 8)
    rank_T = ContextIndex.of(torch.from_numpy(next_N)).insertion_ranks(torch.from_numpy(more_T)).numpy()
    merged_N = merged_next_tokens(next_N, more_T, rank_T, np.full(len(more_T), times), 8)
    check_all_contexts(np.concatenate([token_T, *[more_T] * times]), merged_N, 8)


def test_members_lie_in_their_intervals():
    index = ContextIndex.of(torch.tensor([4, 5, 4, 4, 6]))
    owner_E, place_E = index.members(torch.tensor([[1, 3], [2, 2], [0, 1]]))
    assert owner_E.tolist() == [0, 0, 2]
    assert place_E.tolist() == [1, 2, 0]


@pytest.mark.parametrize("length", [1, 5])
def test_equal_texts_share_their_ranks(length):
    rank_T = rank_contexts(joined([[4, 5], [4, 5]]), length)
    assert rank_T[:4].tolist() == rank_T[4:].tolist()

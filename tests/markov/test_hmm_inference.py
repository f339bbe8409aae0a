"""Forward-backward and Viterbi against the sum over all paths."""

import itertools

import pytest
import torch
from chains import all_paths, observations, random_hmm
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.markov import inference, recursion
from sensorium.markov.emissions import Categorical
from sensorium.markov.estimation import Frames, decode, expected, score
from sensorium.markov.inference import log_likelihoods, smooth
from sensorium.markov.log_inference import log_smooth
from sensorium.markov.model import HMM, left_to_right
from sensorium.markov.packing import Packing
from sensorium.markov.recursion import Workspace, recur

KINDS = ["categorical", "gaussian", "mixture"]
LENGTHS = [2, 5, 1, 4, 5]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_packing_keeps_every_frame_in_time_order(lengths):
    packing = Packing.of(lengths)
    frames = [(row, t) for row, length in enumerate(lengths) for t in range(length)]
    packed = [frames[i] for i in packing.place_N.tolist()]
    assert sorted(packed) == frames
    assert [t for _, t in packed] == sorted(t for _, t in frames)
    rows = packing.order_B.tolist()
    assert [rows[i] for i in packing.sequence_N.tolist()] == [row for row, _ in packed]
    before = [packed[i] for i in packing.before_N.tolist()]
    assert before == [(row, t - 1) for row, t in packed[len(lengths) :]]
    mirrored = [packed[i] for i in packing.reverse_N.tolist()]
    assert mirrored == [(row, lengths[row] - 1 - t) for row, t in packed]
    assert [packed[i] for i in packing.last_B.tolist()] == [(row, lengths[row] - 1) for row in rows]
    x = torch.arange(len(frames))
    assert torch.equal(packing.unpack(packing.pack(x)), x)
    assert packing.unorder(packing.order_B).tolist() == list(range(len(lengths)))


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_no_sequence_and_no_frame_are_refused(lengths):
    with pytest.raises(DataError, match="one sequence or more"):
        Packing.of(lengths)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_posteriors_and_counts_equal_the_sum_over_all_paths(kind, final):
    hmm, x = random_hmm(kind, 3, seed=1, final=final), observations(kind, LENGTHS, seed=2)
    packing = Packing.of(LENGTHS)
    log_e_NS = hmm.emissions.log_p(packing.pack(x))
    got = smooth(hmm.start_S, hmm.transition_SS, hmm.final_S, log_e_NS, packing)
    gamma_NS = packing.unpack(got.gamma_NS).split(LENGTHS)
    start_S, count_SS = torch.zeros_like(hmm.start_S), torch.zeros_like(hmm.transition_SS)
    for row, x_T in enumerate(x.split(LENGTHS)):
        paths = list(all_paths(hmm, x_T))
        total = torch.stack([log_p for _, log_p in paths]).logsumexp(0)
        torch.testing.assert_close(got.log_likelihood_B[row], total, rtol=1e-12, atol=1e-12)
        gamma_TS = torch.zeros(len(x_T), 3, dtype=torch.float64)
        for path, log_p in paths:
            share = (log_p - total).exp()
            gamma_TS[range(len(x_T)), path] += share
            start_S[path[0]] += share
            for a, b in itertools.pairwise(path):
                count_SS[a, b] += share
        torch.testing.assert_close(gamma_NS[row], gamma_TS)
    torch.testing.assert_close(got.start_S, start_S)
    torch.testing.assert_close(got.transition_SS, count_SS)
    torch.testing.assert_close(score(hmm, Frames(x, LENGTHS)), got.log_likelihood_B)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_viterbi_finds_the_best_of_all_paths(kind, final):
    hmm, x = random_hmm(kind, 3, seed=3, final=final), observations(kind, LENGTHS, seed=4)
    state_N, log_p_B = decode(hmm, Frames(x, LENGTHS, num_states=3))
    for x_T, got_T, log_p in zip(x.split(LENGTHS), state_N.split(LENGTHS), log_p_B, strict=True):
        path, best = max(all_paths(hmm, x_T), key=lambda found: float(found[1]))
        assert tuple(got_T.tolist()) == path
        torch.testing.assert_close(log_p, best)


def vanishing(ratio):
    """Two states in a row; the second id is `ratio` times likelier in the state that cannot be reached any more."""
    p_SV = torch.tensor([[1 - ratio, ratio], [ratio, 1 - ratio]], dtype=torch.float64)
    start, transition, final = left_to_right(2)
    return HMM(start, transition, Categorical(p_SV), final)


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 300), st.integers(0, 1000))
def test_probabilities_out_of_range_are_found_again_by_logarithms(exponent, seed):
    hmm = vanishing(10.0**-exponent)
    generator = torch.Generator().manual_seed(seed)
    x, lengths = torch.randint(2, (14,), generator=generator), [6, 5, 3]
    packing = Packing.of(lengths)
    got = smooth(hmm.start_S, hmm.transition_SS, hmm.final_S, hmm.emissions.log_p(packing.pack(x)), packing)
    count_SS = torch.zeros(2, 2, dtype=torch.float64)
    for row, x_T in enumerate(x.split(lengths)):
        paths = list(all_paths(hmm, x_T))
        total = torch.stack([log_p for _, log_p in paths]).logsumexp(0)
        torch.testing.assert_close(got.log_likelihood_B[row], total, rtol=1e-10, atol=1e-10)
        for path, log_p in paths:
            for a, b in itertools.pairwise(path):
                count_SS[a, b] += (log_p - total).exp()
    torch.testing.assert_close(got.transition_SS, count_SS, rtol=1e-8, atol=1e-8)


def sharp_hmm(num_states, sharpness, seed):
    """A chain whose ids differ in probability by up to `sharpness` powers of ten a state."""
    g = torch.Generator().manual_seed(seed)
    p_SV = 10 ** (-sharpness * torch.rand(num_states, 6, generator=g, dtype=torch.float64))
    hmm = random_hmm("categorical", num_states, seed, final=True)
    return HMM(hmm.start_S, hmm.transition_SS, Categorical(p_SV / p_SV.sum(1, keepdim=True)), hmm.final_S)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 5),
    st.sampled_from([1.0, 20.0, 60.0, 150.0]),
    st.integers(0, 1000),
)
def test_long_sequences_equal_the_recursions_with_logarithms(lengths, num_states, sharpness, seed):
    """Sharp chains lose up to 150 digits a step, so all three ways of keeping in range are taken."""
    hmm, packing = sharp_hmm(num_states, sharpness, seed), Packing.of(lengths)
    x = torch.randint(6, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    log_e_NS = hmm.emissions.log_p(packing.pack(x))
    got = smooth(hmm.start_S, hmm.transition_SS, hmm.final_S, log_e_NS, packing)
    want = log_smooth(hmm.start_S.log(), hmm.transition_SS.log(), hmm.final_S.log(), log_e_NS, packing)
    want_B = packing.unorder(want.log_likelihood_B)
    torch.testing.assert_close(got.log_likelihood_B, want_B, rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(got.gamma_NS, want.gamma_NS, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(got.transition_SS, want.transition_SS, rtol=1e-8, atol=1e-10)
    likely_B = log_likelihoods(hmm.start_S, hmm.transition_SS, hmm.final_S, log_e_NS, packing)
    torch.testing.assert_close(likely_B, want_B, rtol=1e-11, atol=1e-10)


def test_each_way_of_keeping_in_range_is_taken(monkeypatch):
    taken = []

    def spy(*args):
        taken.append(args[4])
        return recur(*args)

    def spy_log(*args):
        taken.append("log")
        return log_smooth(*args)

    monkeypatch.setattr(inference, "recur", spy)
    monkeypatch.setattr(inference, "log_smooth", spy_log)
    start, transition, final = left_to_right(2)
    x, packing = torch.tensor([0, 1] * 8), Packing.of([16])
    for digits, want in ((1, [8]), (30, [8, 1]), (200, [8, 1, "log"])):
        taken.clear()
        log_e_NS = vanishing(10.0**-digits).emissions.log_p(x)
        smooth(start, transition, final, log_e_NS, packing)
        assert taken == want


@pytest.mark.parametrize("every", [1, 3, 8])
def test_torch_steps_equal_numpys(every):
    lengths, g = [9, 4, 12], torch.Generator().manual_seed(0)
    packing = Packing.of(lengths)
    e_DNS = torch.rand(2, sum(lengths), 3, generator=g, dtype=torch.float64)
    first_DS, matrix_DSS = torch.rand(2, 3, generator=g).double(), torch.rand(2, 3, 3, generator=g).double() / 3
    got = recur(first_DS, matrix_DSS, e_DNS, packing, every, Workspace())
    again = recursion.Recursion(
        *(torch.empty_like(t) for t in (got.prior_DNS, got.post_DNS)), *torch.ones(2, 2, 3).double()
    )
    again.prior_DNS[:, :3] = first_DS[:, None]
    again.log_scale_DB.zero_()
    arrays = [again.prior_DNS, again.post_DNS, e_DNS, matrix_DSS, again.log_scale_DB, again.least_DB]
    recursion._steps(torch, arrays, packing.num_active_T, every)
    for name in ("prior_DNS", "post_DNS", "log_scale_DB", "least_DB"):
        torch.testing.assert_close(getattr(again, name), getattr(got, name))


def test_memory_used_again_changes_nothing_and_results_of_their_own_last():
    hmm, workspace = random_hmm("gaussian", 3, seed=1), Workspace()
    chain = hmm.start_S, hmm.transition_SS, hmm.final_S
    kept = None
    for lengths in ([7, 9], [3], [12, 2, 5]):
        packing = Packing.of(lengths)
        log_e_NS = hmm.emissions.log_p(packing.pack(observations("gaussian", lengths, seed=len(lengths))))
        alone, shared = smooth(*chain, log_e_NS, packing), smooth(*chain, log_e_NS, packing, workspace)
        assert torch.equal(alone.gamma_NS, shared.gamma_NS)
        assert torch.equal(alone.transition_SS, shared.transition_SS)
        if kept is not None:
            assert torch.equal(*kept)
        kept = alone.gamma_NS, alone.gamma_NS.clone()


def test_an_impossible_sequence_has_no_likelihood_and_no_counts():
    start, transition, final = left_to_right(3)
    hmm = HMM(start, transition, Categorical(torch.full((3, 2), 0.5, dtype=torch.float64)), final)
    frames = Frames(torch.tensor([0, 1, 1, 0, 0, 1]), [2, 4])  # two frames cannot pass three states
    counts = expected(hmm, frames)
    alone = expected(hmm, Frames(torch.tensor([1, 0, 0, 1]), [4]))
    assert score(hmm, frames)[0] == -torch.inf
    assert (counts.num_impossible, alone.num_impossible) == (1, 0)
    torch.testing.assert_close(counts.transition_SS, alone.transition_SS)
    torch.testing.assert_close(counts.emissions[0], alone.emissions[0])
    assert counts.log_likelihood == pytest.approx(alone.log_likelihood)

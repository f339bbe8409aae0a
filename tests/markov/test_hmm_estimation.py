"""Baum-Welch: hmmlearn as oracle where it is installed, and what holds of every EM."""

import numpy as np
import pytest
import torch
from chains import observations, random_hmm
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError, ModelError
from sensorium.markov import estimation
from sensorium.markov.emissions import Categorical, GaussianMixtures, Gaussians
from sensorium.markov.estimation import Frames, baum_welch, emissions_of, even_segments, expected, score
from sensorium.markov.model import HMM, ergodic, left_to_right

KINDS = ["categorical", "gaussian", "mixture"]
LENGTHS = [7, 30, 1, 12, 30, 2]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
def test_the_likelihood_never_falls(kind, num_states, seed, final):
    hmm, x = random_hmm(kind, num_states, seed, final), observations(kind, LENGTHS, seed + 1)
    fit = baum_welch(hmm, Frames(x, LENGTHS), iterations=8, tolerance=0.0)
    gains = np.diff(fit.log_likelihoods)
    assert (gains > -1e-6 * abs(fit.log_likelihoods[0])).all()
    torch.testing.assert_close(fit.hmm.transition_SS.sum(1), torch.ones(num_states, dtype=torch.float64))


def peer(kind, hmm, **options):
    """hmmlearn's model with the same numbers, and priors that say nothing."""
    hmmlearn = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn is not installed")
    flat = {
        "n_components": hmm.num_states,
        "init_params": "",
        "tol": -np.inf,
        "implementation": "scaling",
        **options,
    }
    e = hmm.emissions
    if kind == "categorical":
        model = hmmlearn.CategoricalHMM(**flat)
        model.emissionprob_, model.n_features = e.p_SV.numpy(), e.p_SV.shape[1]
    elif kind == "gaussian":
        model = hmmlearn.GaussianHMM(covariance_type="diag", covars_prior=0, min_covar=0, **flat)
        model.means_, model.covars_ = e.mean_SF.numpy(), e.variance_SF.numpy()
    else:
        model = hmmlearn.GMMHMM(
            n_mix=2, covariance_type="diag", min_covar=0, covars_prior=-1.5, covars_weight=0, **flat
        )
        model.weights_, model.means_, model.covars_ = (t.numpy() for t in (e.weight_SK, e.mean_SKF, e.variance_SKF))
    model.startprob_, model.transmat_ = hmm.start_S.numpy(), hmm.transition_SS.numpy()
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_every_iteration_equals_hmmlearn(kind):
    hmm, x = random_hmm(kind, 4, seed=5), observations(kind, LENGTHS, seed=6)
    model = peer(kind, hmm, n_iter=5)
    X = x.numpy().reshape(len(x), -1)
    assert float(score(hmm, Frames(x, LENGTHS)).sum()) == pytest.approx(model.score(X, LENGTHS), abs=1e-6)
    if kind == "mixture":
        return  # hmmlearn's M-step of mixtures is MAP with priors that cannot all be switched off
    model.fit(X, LENGTHS)
    fit = baum_welch(hmm, Frames(x, LENGTHS), iterations=5, tolerance=-np.inf)
    np.testing.assert_allclose(fit.log_likelihoods[:5], model.monitor_.history, atol=1e-6)
    np.testing.assert_allclose(fit.hmm.transition_SS, model.transmat_, atol=1e-8)


def test_pieces_of_any_size_give_the_same_counts(monkeypatch):
    hmm, x = random_hmm("gaussian", 3, seed=7), observations("gaussian", LENGTHS, seed=8)
    whole = expected(hmm, Frames(x, LENGTHS, 3))
    monkeypatch.setattr(estimation, "CHUNK_VALUES", 60)
    pieces = Frames(x, LENGTHS, 3)
    assert len(list(pieces)) > 2
    parts = expected(hmm, pieces)
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood)
    for a, b in zip((parts.transition_SS, *parts.emissions), (whole.transition_SS, *whole.emissions), strict=True):
        torch.testing.assert_close(a, b)


def test_a_left_to_right_model_finds_its_segments():
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.0, 4.0, -3.0], dtype=torch.float64)
    lengths, rows = [], []
    for _ in range(30):
        stay = torch.randint(2, 9, (3,), generator=generator)
        rows.append(levels.repeat_interleave(stay) + 0.3 * torch.randn(int(stay.sum()), generator=generator))
        lengths.append(len(rows[-1]))
    x = torch.cat(rows)[:, None]
    start, transition, final = left_to_right(3)
    blank = Gaussians(torch.zeros(3, 1, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64))
    begun = HMM(start, transition, emissions_of(blank, x, even_segments(lengths, 3)), final)
    fit = baum_welch(begun, Frames(x, lengths))
    torch.testing.assert_close(fit.hmm.emissions.mean_SF[:, 0], levels, atol=0.1, rtol=0)
    assert (fit.hmm.transition_SS[begun.transition_SS == 0] == 0).all()


def test_splitting_a_mixture_keeps_its_shares_and_lets_it_fit_better():
    x = torch.cat([torch.randn(200, 2).double() - 3, torch.randn(200, 2).double() + 3])
    one = emissions_of(Gaussians(torch.zeros(1, 2).double(), torch.ones(1, 2).double()), x, torch.zeros(400).long())
    chain = torch.ones(1).double(), torch.ones(1, 1).double()
    frames = Frames(x, [400])
    mixture = GaussianMixtures.of(one)
    torch.testing.assert_close(mixture.log_p(x), one.log_p(x))
    fit = baum_welch(HMM(*chain, mixture.split()), frames, iterations=30)
    assert fit.log_likelihoods[-1] > float(score(HMM(*chain, one), frames)) + 100
    torch.testing.assert_close(fit.hmm.emissions.weight_SK, torch.full((1, 2), 0.5).double(), atol=0.02, rtol=0)


def test_a_state_that_is_never_reached_stays_as_it_was():
    hmm = random_hmm("mixture", 3, seed=9)
    start = torch.tensor([1.0, 0, 0]).double()
    transition = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]).double()
    x = observations("mixture", LENGTHS, seed=1)
    fit = baum_welch(HMM(start, transition, hmm.emissions), Frames(x, LENGTHS), iterations=3)
    torch.testing.assert_close(fit.hmm.emissions.mean_SKF[2], hmm.emissions.mean_SKF[2])
    torch.testing.assert_close(fit.hmm.transition_SS[2], transition[2])
    assert all(t.isfinite().all() for t in (fit.hmm.transition_SS, fit.hmm.emissions.variance_SKF))


def test_variances_do_not_fall_below_the_floor():
    x = torch.zeros(20, 2).double()
    fit = baum_welch(
        HMM(*ergodic(2), Gaussians(torch.randn(2, 2).double(), torch.ones(2, 2).double(), floor=0.01)),
        Frames(x, [20]),
    )
    assert (fit.hmm.emissions.variance_SF >= 0.01).all()


def test_bad_input_is_named():
    with pytest.raises(DataError, match="sum to 5"):
        Frames(torch.zeros(4), [5])
    with pytest.raises(DataError, match="no sequences"):
        Frames(torch.zeros(0), [])
    with pytest.raises(ModelError, match="do not make one chain"):
        HMM(torch.ones(2) / 2, torch.eye(3), Categorical(torch.ones(2, 2) / 2))
    start, transition, final = left_to_right(3)
    hmm = HMM(start, transition, Categorical(torch.full((3, 2), 0.5).double()), final)
    with pytest.raises(DataError, match="any of 1"):
        baum_welch(hmm, Frames(torch.zeros(2).long(), [2]))

"""NB-SVM: the solver equals scikit-learn's LIBLINEAR, the blend equals the paper's equations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, SPECIAL_TOKENS, Vocab
from sensorium.language.margin_solver import fit_margin
from sensorium.language.nb_svm import NbSvm, fit_slope, log_count_ratio
from sensorium.language.sparse_counts import SparseCounts
from sensorium.testing import check_scorer


def sparse(dense: np.ndarray) -> SparseCounts:
    row_E, column_E = np.nonzero(dense)
    offset_N1 = np.searchsorted(row_E, np.arange(len(dense) + 1))
    return SparseCounts(column_E, dense[row_E, column_E].astype(np.float64), offset_N1, dense.shape[1])


def problem(seed: int = 0, num: int = 80, num_columns: int = 15) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.poisson(0.3, (num, num_columns)).astype(float)
    noise = generator.normal(size=num)
    return x, np.where(x @ generator.normal(size=num_columns) + noise > 0, 1.0, -1.0)


@given(st.integers(0, 1000))
def test_sparse_products_equal_dense_ones(seed):
    generator = np.random.default_rng(seed)
    dense = generator.poisson(0.4, (7, 5)).astype(float)
    weight_FC, class_N = generator.normal(size=(5, 3)), generator.integers(0, 3, 7)
    counts = sparse(dense)
    np.testing.assert_allclose(counts.times(weight_FC), dense @ weight_FC, atol=1e-12)
    np.testing.assert_allclose(counts.sum_by_class(class_N, 3), dense.T @ np.eye(3)[class_N])
    row_M = generator.integers(0, 7, 4)
    np.testing.assert_allclose(counts.rows(row_M).times(weight_FC), dense[row_M] @ weight_FC, atol=1e-12)


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_squared_hinge_equals_liblinear(cost):
    x, y = problem()
    oracle = LinearSVC(C=cost, tol=1e-10, max_iter=200_000, dual=True).fit(x, y)
    w_F, bias = fit_margin(sparse(x), y, cost=cost, tolerance=1e-9)
    np.testing.assert_allclose(w_F, oracle.coef_[0], atol=1e-5)
    assert bias == pytest.approx(oracle.intercept_[0], abs=1e-5)


def test_without_bias_equals_liblinear():
    x, y = problem(3)
    oracle = LinearSVC(tol=1e-10, max_iter=200_000, dual=True, fit_intercept=False).fit(x, y)
    w_F, bias = fit_margin(sparse(x), y, bias=False, tolerance=1e-9)
    np.testing.assert_allclose(w_F, oracle.coef_[0], atol=1e-5)
    assert bias == 0


def test_logistic_equals_scikit_learn():
    x, y = problem(1)
    with_one = np.hstack([x, np.ones((len(x), 1))])  # a bias that is penalised too
    oracle = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(with_one, y)
    w_F, bias = fit_margin(sparse(x), y, cost=2.0, loss="logistic", tolerance=1e-9)
    np.testing.assert_allclose(np.append(w_F, bias), oracle.coef_[0], atol=1e-5)


def test_log_count_ratio_is_the_papers():
    x, y = problem(2)
    p, q = 1 + x[y > 0].sum(0), 1 + x[y < 0].sum(0)
    want_F = np.log((p / p.sum()) / (q / q.sum()))
    np.testing.assert_allclose(log_count_ratio(sparse(x), y > 0), want_F, atol=1e-12)


@given(st.integers(0, 1000))
def test_the_slope_is_the_likeliest(seed):
    generator = np.random.default_rng(seed)
    class_N = generator.integers(0, 3, 40)
    margin_NC = generator.normal(size=(40, 3)) + 1.5 * np.eye(3)[class_N]

    def loss(slope: float) -> float:
        scaled_NC = slope * margin_NC
        return float((np.logaddexp.reduce(scaled_NC, axis=1) - scaled_NC[np.arange(40), class_N]).sum())

    best = minimize_scalar(loss, bounds=(0, 1000), method="bounded", options={"xatol": 1e-8})
    assert loss(fit_slope(margin_NC, class_N)) <= best.fun + 1e-6


def test_the_slope_of_useless_or_perfect_margins_has_limits():
    class_N = np.array([0, 1, 0, 1])
    assert 0 <= fit_slope(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), class_N) < 1e-3
    assert fit_slope(np.eye(2)[class_N], class_N) <= 1000
    assert np.isfinite(fit_slope(np.zeros((4, 2)), class_N))


def examples(num_labels: int, num: int = 60, seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_labels, num)
    word_BT = 4 + (labels[:, None] * 2 + generator.integers(0, 5, (num, 6))) % 9
    token_BT = torch.tensor([[BOS, 4 + label, EOS] for label in labels])
    cond = Conditioning(Conditioning.empty(num).memory, {}, {"text": torch.from_numpy(word_BT)})
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool), cond


def fitted(num_labels: int, **options) -> NbSvm:
    model = NbSvm(NbSvm.Config(**options), Vocab.of("abc"[: max(num_labels, 2)]), width=1)
    model.observe(*examples(num_labels))
    return model.estimate()


@pytest.mark.parametrize("num_labels", [2, 3])
def test_weights_are_the_papers_blend_of_the_peers_weights(num_labels):
    token_BT, _, cond = examples(num_labels)
    x = np.stack([(cond.evidence["text"] == word).any(1) for word in range(4, 13)], 1).astype(float)
    x = x[:, x.any(0)]
    model = fitted(num_labels, ngrams=1, beta=0.25, cost=0.5)
    for c in range(num_labels):
        is_in = token_BT[:, 1].numpy() == 4 + c
        ratio_F = log_count_ratio(sparse(x), is_in)
        oracle = LinearSVC(C=0.5, tol=1e-10, max_iter=500_000, dual=True).fit(x * ratio_F, np.where(is_in, 1, -1))
        w_F = oracle.coef_[0]
        want_F = ratio_F * (0.75 * np.abs(w_F).mean() + 0.25 * w_F)
        np.testing.assert_allclose(model.weight_[:, c].numpy(), want_F, atol=2e-3)


@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_it_learns_and_its_probabilities_are_sound(num_labels):
    model = fitted(num_labels)
    token_BT, mask_BT, cond = examples(num_labels, seed=1)
    log_p_BC = model.log_posterior(cond)
    torch.testing.assert_close(log_p_BC.logsumexp(1), torch.zeros(60, dtype=torch.float64))
    accuracy = (log_p_BC.argmax(1) == token_BT[:, 1] - 4).double().mean()
    assert accuracy > (0.5 if num_labels > 1 else 0.99)
    nats = -model.score(token_BT, mask_BT, cond)[:, 1].mean()
    assert nats < np.log(max(num_labels, 2))


@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_it_keeps_the_contract(num_labels):
    check_scorer(
        lambda: NbSvm(NbSvm.Config(), Vocab.of("abc"[: max(num_labels, 2)]), width=1),
        lambda num_rows: Conditioning(
            Conditioning.empty(num_rows).memory, {}, {"text": examples(2, num_rows)[2].evidence["text"]}
        ),
        fit=lambda model: (model.observe(*examples(num_labels)), model.estimate()),
        length=3,
    )


def test_the_slope_does_not_depend_on_the_order_of_rows():
    generator = torch.Generator().manual_seed(3)
    vocab = Vocab((*SPECIAL_TOKENS, "yes", "no"))
    word_BT = torch.randint(4, 14, (90, 4), generator=generator)
    is_yes_B = (word_BT < 8).sum(1) + (torch.rand(90, generator=generator) < 0.3) > 1
    token_BT = torch.stack([torch.full((90,), BOS), torch.where(is_yes_B, 4, 5), torch.full((90,), EOS)], 1)

    def fitted(order_B: torch.Tensor) -> NbSvm:
        scorer = NbSvm(NbSvm.Config(), vocab, 8)
        cond = Conditioning.empty(90)
        cond = dataclasses.replace(cond, evidence={"text": word_BT[order_B]})
        scorer.observe(token_BT[order_B], torch.ones(90, 3, dtype=torch.bool), cond)
        scorer.estimate()
        return scorer

    plain = fitted(torch.arange(90))
    assert float(plain.slope_) != 1.0
    for seed in range(3):
        mixed = fitted(torch.randperm(90, generator=generator.manual_seed(seed)))
        assert float(mixed.slope_) == pytest.approx(float(plain.slope_), rel=1e-4)

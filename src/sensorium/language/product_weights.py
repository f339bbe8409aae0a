"""Fit the exponents of a log-linear product on held-out tokens, by Newton's method.

Enters: what each part said of every word before each held-out token.  Leaves: one exponent a part.

The product is an exponential family with the parts' log-probabilities as features, so its likelihood is
concave in the exponents (Della Pietra et al. 1997): the gradient is what the tokens have minus what the
product expects, E_data[log p_k] - E_product[log p_k]; the Hessian is minus the product's covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.logspace import log_normalise
from sensorium.language.mixture_weights import best_of

_HALVINGS = 40


def log_product(log_p_KNV: Tensor, weight_K: Tensor) -> Tensor:
    """Return log (prod_k p_k^{w_k} / Z), (N, V), for log_p (K, N, V); a part of weight 0 is not heard."""
    weight_K11 = weight_K.to(log_p_KNV.dtype)[:, None, None]
    return log_normalise(torch.where(weight_K11 == 0, 0.0, weight_K11 * log_p_KNV).sum(0))


def fit_product_weights(
    log_p_KNV: Tensor, token_N: Tensor, *, tolerance: float = 1e-9, max_steps: int = 100
) -> Tensor:
    """Return exponents (K,) >= 0 that maximise the likelihood of `token_N` under the parts' product.

    A part that rules out a token which did occur gets the exponent 0.

    Args:
        log_p_KNV: (K, N, V) log-probabilities; -inf is allowed.
        token_N: (N,) int64 the held-out tokens.
        tolerance: stop when a step gains less than this many nats a token.
        max_steps: stop at the latest after so many steps.

    Raises:
        DataError: no token, a NaN, or tokens that no single part can produce.
    """
    if log_p_KNV.isnan().any():
        raise DataError("a log-probability is NaN: exponents cannot be fitted")
    usable_K = _at(log_p_KNV, token_N).isfinite().all(1)
    if token_N.numel() == 0 or not usable_K.any():
        raise DataError("no held-out tokens that any one part can produce: exponents cannot be fitted")
    weight_K = torch.zeros(len(log_p_KNV), dtype=torch.float64)
    weight_K[usable_K] = _climb(log_p_KNV[usable_K], token_N, tolerance, max_steps)
    return best_of(weight_K, lambda w: _value(log_product(log_p_KNV, w), token_N))


def _climb(log_p_KNV: Tensor, token_N: Tensor, tolerance: float, max_steps: int) -> Tensor:
    """Take projected Newton steps from 1/K each, halved until they gain."""
    weight_K = torch.full((len(log_p_KNV),), 1 / len(log_p_KNV), dtype=torch.float64)
    log_q_NV = log_product(log_p_KNV, weight_K)
    value = _value(log_q_NV, token_N)
    for _ in range(max_steps):
        step_K, before = _newton_step(log_p_KNV, token_N, weight_K, log_q_NV), value
        for halving in range(_HALVINGS):
            trial_K = (weight_K + step_K / 2**halving).clamp_min(0)
            trial_NV = log_product(log_p_KNV, trial_K)
            if trial_K.any() and _value(trial_NV, token_N) > value:
                weight_K, log_q_NV, value = trial_K, trial_NV, _value(trial_NV, token_N)
                break
        if value - before < tolerance:
            break
    return weight_K


def _newton_step(log_p_KNV: Tensor, token_N: Tensor, weight_K: Tensor, log_q_NV: Tensor) -> Tensor:
    q_NV = log_q_NV.exp()
    feature_KNV = log_p_KNV.masked_fill(log_p_KNV == -torch.inf, 0.0)  # q is 0 there, so any number will do
    mean_KN = torch.einsum("knv,nv->kn", feature_KNV, q_NV)
    centred_KNV = feature_KNV - mean_KN[..., None]
    weighted_KNV = centred_KNV * q_NV
    covariance_KK = torch.einsum("knv,lnv->kl", weighted_KNV, centred_KNV).double() / len(token_N)
    covariance_KK += 1e-9 * torch.eye(len(weight_K), dtype=torch.float64)
    gradient_K = (_at(log_p_KNV, token_N) - mean_KN).double().mean(1)
    free_K = (weight_K > 0) | (gradient_K > 0)
    step_K = torch.zeros_like(weight_K)
    step_K[free_K] = torch.linalg.solve(covariance_KK[free_K][:, free_K], gradient_K[free_K])
    return step_K


def _at(log_p_KNV: Tensor, token_N: Tensor) -> Tensor:
    return log_p_KNV.gather(2, token_N.expand(len(log_p_KNV), -1)[..., None]).squeeze(2)


def _value(log_q_NV: Tensor, token_N: Tensor) -> Tensor:
    """Return the mean log-probability of the tokens, ()."""
    return log_q_NV.gather(1, token_N[:, None]).double().mean()

"""Fit the exponents of a log-linear product on held-out tokens, by Newton's method.

Enters: what each part said of every word before each held-out token.  Leaves: one exponent a part.

The product is an exponential family with the parts' log-probabilities as features, so its likelihood is
concave in the exponents (Della Pietra et al. 1997): the gradient is what the tokens have minus what the
product expects, E_data[log p_k] - E_product[log p_k]; the Hessian is minus the product's covariance.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.logspace import log_normalise
from sensorium.language.mixture_weights import best_of

_LEAST_STEP = 1e-7  # of an exponent: what it gains is lost in rounding
_MOST_NUMBERS = 1 << 22  # log-probabilities that one step looks at together: 16 MiB


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
    if any(bool(piece_KMV.isnan().any()) for piece_KMV, _ in _pieces(log_p_KNV, token_N)):
        raise DataError("a log-probability is NaN: exponents cannot be fitted")
    usable_K = _at(log_p_KNV, token_N).isfinite().all(1)
    if token_N.numel() == 0 or not usable_K.any():
        raise DataError("no held-out tokens that any one part can produce: exponents cannot be fitted")
    weight_K = torch.zeros(len(log_p_KNV), dtype=torch.float64)
    weight_K[usable_K] = _climb(log_p_KNV, token_N, usable_K, tolerance, max_steps)
    return best_of(weight_K, lambda w: torch.tensor(_value(log_p_KNV, token_N, w)))


def _climb(log_p_KNV: Tensor, token_N: Tensor, usable_K: Tensor, tolerance: float, max_steps: int) -> Tensor:
    """Take projected Newton steps from 1/K each over the K usable parts, halved until they gain."""
    weight_K = usable_K.double() / int(usable_K.sum())
    value = _value(log_p_KNV, token_N, weight_K)
    for _ in range(max_steps):
        step_K, before = torch.zeros_like(weight_K), value
        step_K[usable_K] = _newton_step(log_p_KNV, token_N, weight_K, usable_K)
        while float(step_K.abs().max()) > _LEAST_STEP:
            trial_K = (weight_K + step_K).clamp_min(0)
            trial_value = _value(log_p_KNV, token_N, trial_K) if trial_K.any() else -torch.inf
            if trial_value > value:
                weight_K, value = trial_K, trial_value
                break
            step_K = step_K / 2
        if value - before < tolerance:
            break
    return weight_K[usable_K]


def _newton_step(log_p_KNV: Tensor, token_N: Tensor, weight_K: Tensor, usable_K: Tensor) -> Tensor:
    """Return the step of the K usable parts, (K,); those held at 0 that would fall below it stay."""
    num_parts = int(usable_K.sum())
    covariance_KK = torch.zeros(num_parts, num_parts, dtype=torch.float64)
    gradient_K = torch.zeros(num_parts, dtype=torch.float64)
    for piece_KMV, token_M in _pieces(log_p_KNV, token_N):
        q_MV = log_product(piece_KMV, weight_K).exp()
        piece_KMV = piece_KMV[usable_K]
        feature_KMV = piece_KMV.masked_fill(piece_KMV == -torch.inf, 0.0)  # q is 0 there, so any number will do
        mean_KM = torch.einsum("kmv,mv->km", feature_KMV, q_MV)
        centred_KMV = feature_KMV - mean_KM[..., None]
        covariance_KK += torch.einsum("kmv,lmv->kl", centred_KMV * q_MV, centred_KMV).double()
        gradient_K += (_at(piece_KMV, token_M) - mean_KM).double().sum(1)
    covariance_KK = covariance_KK / len(token_N) + 1e-9 * torch.eye(num_parts, dtype=torch.float64)
    gradient_K /= len(token_N)
    free_K = (weight_K[usable_K] > 0) | (gradient_K > 0)
    step_K = torch.zeros_like(gradient_K)
    step_K[free_K] = torch.linalg.solve(covariance_KK[free_K][:, free_K], gradient_K[free_K])
    return step_K


def _pieces(log_p_KNV: Tensor, token_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut the tokens into pieces of at most `_MOST_NUMBERS` log-probabilities: a step holds several such."""
    size = max(1, _MOST_NUMBERS // max(1, len(log_p_KNV) * log_p_KNV.shape[2]))
    return zip(log_p_KNV.split(size, 1), token_N.split(size), strict=True)


def _at(log_p_KNV: Tensor, token_N: Tensor) -> Tensor:
    return log_p_KNV.gather(2, token_N.expand(len(log_p_KNV), -1)[..., None]).squeeze(2)


def _value(log_p_KNV: Tensor, token_N: Tensor, weight_K: Tensor) -> float:
    """Return the mean log-probability of the tokens."""
    total = 0.0
    for piece_KMV, token_M in _pieces(log_p_KNV, token_N):
        total += float(log_product(piece_KMV, weight_K).gather(1, token_M[:, None]).double().sum())
    return total / len(token_N)

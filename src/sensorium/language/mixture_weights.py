"""Fit the shares of a linear mixture on held-out tokens, by EM.

Enters: what each part said of held-out tokens.  Leaves: one share a part.
Never fit on the rows a part was trained on: the part that memorised them would get all the weight.

Source: Jelinek and Mercer 1980.  The likelihood is concave in the shares, so EM from the uniform start
climbs to the best ones; each step is w_k <- mean_n w_k p_kn / sum_j w_j p_jn.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.logspace import logsumexp


def fit_mixture_weights(log_p_KN: Tensor, *, tolerance: float = 1e-9, max_steps: int = 10_000) -> Tensor:
    """Return weights (K,) that sum to 1 and maximise sum_n log sum_k w_k p_kn, by EM.

    Tokens that no part can produce say nothing about the weights and are left out.

    Args:
        log_p_KN: (K, N) log-probability of each held-out token under each part; -inf is allowed.
        tolerance: stop when a step gains less than this many nats a token.
        max_steps: stop at the latest after so many steps.

    Raises:
        DataError: no token that any part can produce, or a NaN.
    """
    if log_p_KN.isnan().any():
        raise DataError("a log-probability is NaN: weights cannot be fitted")
    log_p_KN = log_p_KN.double()[:, log_p_KN.amax(0) > -torch.inf] if log_p_KN.numel() else log_p_KN.double()
    num_parts, num_tokens = log_p_KN.shape
    if num_tokens == 0:
        raise DataError("no held-out token that any part can produce: weights cannot be fitted")
    weight_K = torch.full((num_parts,), 1 / num_parts, dtype=torch.float64)
    p_KN = (log_p_KN - log_p_KN.amax(0)).exp()  # scaled by token: shares and gains stay the same
    before = -torch.inf
    for _ in range(max_steps):
        joint_KN = weight_K[:, None] * p_KN
        total_N = joint_KN.sum(0)
        value = float(total_N.log().mean())
        if value - before < tolerance:
            break
        before, weight_K = value, (joint_KN / total_N).mean(1)
    return best_of(weight_K, lambda w: logsumexp(log_p_KN + w.log()[:, None], 0).sum())


def best_of(weight_K: Tensor, likelihood: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `weight_K`, or the best part alone should that be better: composing never costs likelihood."""
    candidates = [weight_K, *torch.eye(len(weight_K), dtype=weight_K.dtype)]
    best: Tensor = max(candidates, key=lambda candidate: float(likelihood(candidate)))
    return best

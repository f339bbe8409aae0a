"""Windows over places: which pixels, frames or tokens are hidden together.

Enters: the shape of the places.  Leaves: windows (R, *places) bool; averages over the windows that cover a place,
and over the places of a window.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def windows(places: Sequence[int], tile: Sequence[int], step: Sequence[int]) -> Tensor:
    """Return every window of `tile` places at distances of `step`: (R, *places) bool, True = inside.

    The last window of an axis ends at its end, so that every place is covered.
    """
    found = []
    for first in itertools.product(*map(_starts, places, tile, step)):
        inside = torch.zeros(*places, dtype=torch.bool)
        inside[tuple(slice(start, start + size) for start, size in zip(first, tile, strict=True))] = True
        found.append(inside)
    return torch.stack(found)


def spread(value_TR: Tensor, window_R: Tensor) -> Tensor:
    """Give each place the mean value of the windows that cover it: (T, R) to (T, *places)."""
    cover_RP = window_R.flatten(1).to(value_TR.dtype)
    return (value_TR @ cover_RP / cover_RP.sum(0)).view(len(value_TR), *window_R.shape[1:])


def gather(map_T: Tensor, window_R: Tensor) -> Tensor:
    """Average each window's places: (T, *places) to (T, R)."""
    cover_RP = window_R.flatten(1).to(map_T.dtype)
    return map_T.flatten(1) @ cover_RP.T / cover_RP.sum(1)


def pooled(map_T: Tensor, tile: Sequence[int]) -> Tensor:
    """Give each place the mean of its surroundings, a tile wide: (T, *places) to (T, *places)."""
    window_R = windows(map_T.shape[1:], tile, [max(1, size // 4) for size in tile])
    return spread(gather(map_T, window_R), window_R)


def _starts(length: int, size: int, step: int) -> list[int]:
    last = max(length - size, 0)  # a window longer than the axis is cut there
    return sorted({*range(0, last, step), last})

"""Sequences of unequal length as one array without padding, in the order in which recursions need it.

Enters: the lengths of B sequences whose frames stand end to end (N frames in all).  Leaves: the same frames
in time order: first every sequence's frame 0, then every frame 1, ..., longest sequence first.  The
sequences that still run at t are then the first rows of each step's block, so a step is one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Packing:
    """Where every frame stands.

    Attributes:
        num_active_T: how many sequences have a frame t.
        order_B: (B,) the sequences from longest to shortest.
        place_N: (N,) place of each packed frame among the frames laid end to end.
        before_N: (N - B,) packed place of the frame before each packed frame that has one (those from B on).
        reverse_N: (N,) packed place of the frame that stands where this one does, counted from the sequence's end.
        last_B: (B,) packed place of each sequence's last frame, in the order of `order_B`.
    """

    num_active_T: tuple[int, ...]
    order_B: Tensor
    place_N: Tensor
    before_N: Tensor
    reverse_N: Tensor
    last_B: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | None = None) -> Packing:
        """Lay out sequences of these lengths.  Raises DataError: there is none, or one of no frame."""
        if not len(lengths) or min(lengths) < 1:
            raise DataError("a hidden Markov model reads one sequence or more, each of one frame or more")
        length_B = torch.as_tensor(lengths, dtype=torch.int64, device=device)
        first_B = length_B.cumsum(0) - length_B
        sorted_B, order_B = length_B.sort(descending=True, stable=True)
        time_T = torch.arange(int(sorted_B[0]), device=device)
        num_active_T = torch.searchsorted(-sorted_B, -time_T, right=False)
        start_T = num_active_T.cumsum(0) - num_active_T
        time_N = torch.repeat_interleave(time_T, num_active_T)
        row_N = torch.arange(len(time_N), device=device) - start_T[time_N]
        later_N = slice(len(length_B), None)
        return cls(
            tuple(num_active_T.tolist()),
            order_B,
            first_B[order_B][row_N] + time_N,
            start_T[time_N[later_N] - 1] + row_N[later_N],
            start_T[sorted_B[row_N] - 1 - time_N] + row_N,
            start_T[sorted_B - 1] + torch.arange(len(length_B), device=device),
        )

    @property
    def num_sequences(self) -> int:
        """Count the sequences."""
        return len(self.order_B)

    @property
    def sequence_N(self) -> Tensor:
        """Return the sequence, as a place in `order_B`, of each packed frame, (N,)."""
        active_T = torch.tensor(self.num_active_T, device=self.order_B.device)
        start_T = active_T.cumsum(0) - active_T
        return torch.arange(len(self.place_N), device=self.order_B.device) - torch.repeat_interleave(
            start_T, active_T
        )

    def pack(self, x_N: Tensor) -> Tensor:
        """Bring frames that stand end to end, (N, ...), into time order."""
        return x_N[self.place_N]

    def unpack(self, x_N: Tensor) -> Tensor:
        """Bring packed frames back end to end, (N, ...)."""
        result_N = torch.empty_like(x_N)
        result_N[self.place_N] = x_N
        return result_N

    def unorder(self, x_B: Tensor) -> Tensor:
        """Bring one value a sequence from the packed order into the given one."""
        result_B = torch.empty_like(x_B)
        result_B[self.order_B] = x_B
        return result_B

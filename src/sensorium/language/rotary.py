"""Rotary positions: a query and a key see only how far apart they are.

Enters: queries and keys by head, and where they stand.  Leaves: the same, rotated.
Source: Su et al. 2021, "RoFormer", equation 34, in the half-split form: with x = (x_1, x_2),

    x' = x * (cos, cos) + (x_2, x_1) * (-sin, sin)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Hold cosines and signed sines of the first positions; grows when more are asked for."""

    table_2PK: Tensor

    def __init__(self, head_width: int, base: float, num_positions: int = 512) -> None:
        super().__init__()
        self.head_width, self.base = head_width, base
        self.register_buffer("table_2PK", self._table(num_positions), persistent=False)

    def upto(self, num_positions: int) -> Tensor:
        """Return (2, P, head width) for P >= `num_positions`: cosines, then signed sines."""
        if num_positions > self.table_2PK.shape[1]:
            # Outside inference mode, since training may use the same table later.
            with torch.inference_mode(False):
                self.table_2PK = self._table(2 * num_positions).to(self.table_2PK)
        return self.table_2PK

    def _table(self, num_positions: int) -> Tensor:
        half = self.head_width // 2
        frequency_F = self.base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle_PF = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequency_F
        cos_PF, sin_PF = angle_PF.cos(), angle_PF.sin()
        return torch.stack([torch.cat([cos_PF, cos_PF], -1), torch.cat([-sin_PF, sin_PF], -1)]).float()


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotate the last dimension of `x`; `cos` and `signed_sin` broadcast against it."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin)

"""Rotary positions: a query and a key see only how far apart they are.

Enters: queries or keys by head, or both and values in one tensor, and where they stand.  Leaves: the same, queries
and keys rotated.
Source: Su et al. 2021, "RoFormer", equation 34, in the half-split form: with x = (x_1, x_2),

    x' = x * (cos, cos) + (x_2, x_1) * (-sin, sin)

Values ride along with cos = 1 and sin = 0: three operations on one tensor cost less than taking it apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Hold the rotation of the first positions; grows when more are asked for.

    Args:
        head_width: K, even.
        base: the slowest pair turns once in about 2 pi base positions.
        num_positions: how many are held from the beginning.
    """

    table_2P31K: Tensor

    def __init__(self, head_width: int, base: float = 10_000.0, num_positions: int = 256) -> None:
        super().__init__()
        self.head_width, self.base = head_width, base
        self.register_buffer("table_2P31K", self._table(num_positions), persistent=False)

    def upto(self, num_positions: int) -> Tensor:
        """Return (2, P, 3, 1, K) for P >= `num_positions`: cosines and signed sines of query, key and value."""
        if num_positions > self.table_2P31K.shape[1]:
            # Outside inference mode, since training may use the same table later.
            with torch.inference_mode(False):
                self.table_2P31K = self._table(2 * num_positions).to(self.table_2P31K)
        return self.table_2P31K

    def turn(self, length: int) -> tuple[Tensor, Tensor]:
        """Return cosines and signed sines of queries or keys alone, at positions 0..length-1: (T, K) both."""
        cos_TK, signed_sin_TK = self.upto(length)[:, :length, 0, 0].unbind(0)
        return cos_TK, signed_sin_TK

    def _table(self, num_positions: int) -> Tensor:
        half = self.head_width // 2
        frequency_F = self.base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle_PF = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequency_F
        cos_PK, sin_PK = torch.cat([angle_PF, angle_PF], 1).cos(), torch.cat([-angle_PF, angle_PF], 1).sin()
        cos_P3K = torch.stack([cos_PK, cos_PK, torch.ones_like(cos_PK)], 1)
        sin_P3K = torch.stack([sin_PK, sin_PK, torch.zeros_like(sin_PK)], 1)
        return torch.stack([cos_P3K, sin_P3K])[..., None, :].float()


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotate the last axis of `x`, K.

    `Rotary.turn` is for queries or keys (..., T, K).  Slices of `Rotary.upto`, (T, 3, 1, K) or (B, T, 3, 1, K), are
    for queries, keys and values together, (B, T, 3, H, K).
    """
    cos, signed_sin = cos.to(x.dtype), signed_sin.to(x.dtype)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin)

"""Rotary positions: a query and a key see only how far apart they are.

Enters: queries, keys and values by head, and where they stand.  Leaves: the same, queries and keys rotated.
Source: Su et al. 2021, "RoFormer", equation 34, in the half-split form: with x = (x_1, x_2),

    x' = x * (cos, cos) + (x_2, x_1) * (-sin, sin)

Values ride along with cos = 1 and sin = 0: three operations on one tensor cost less than taking it apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Hold the rotation of the first positions; grows when more are asked for."""

    table_2P31K: Tensor

    def __init__(self, head_width: int, base: float, num_positions: int = 256) -> None:
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

    def _table(self, num_positions: int) -> Tensor:
        half = self.head_width // 2
        frequency_F = self.base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle_PF = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequency_F
        cos_PK, sin_PK = torch.cat([angle_PF, angle_PF], 1).cos(), torch.cat([-angle_PF, angle_PF], 1).sin()
        cos_P3K = torch.stack([cos_PK, cos_PK, torch.ones_like(cos_PK)], 1)
        sin_P3K = torch.stack([sin_PK, sin_PK, torch.zeros_like(sin_PK)], 1)
        return torch.stack([cos_P3K, sin_P3K])[..., None, :].float()


def rotate(qkv_BT3HK: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotate queries and keys; `cos` and `signed_sin` are (T, 3, 1, K) or (B, T, 3, 1, K)."""
    cos, signed_sin = cos.to(qkv_BT3HK.dtype), signed_sin.to(qkv_BT3HK.dtype)
    return torch.addcmul(qkv_BT3HK * cos, qkv_BT3HK.roll(qkv_BT3HK.shape[-1] // 2, -1), signed_sin)

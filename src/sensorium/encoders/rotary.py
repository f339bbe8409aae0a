"""Rotary position embedding (Su et al. 2021, RoFormer, equation 34): attention that sees distances alone.

Enters: queries or keys (U, H, T, d).  Leaves: the same, each pair of channels turned by t * base^(-2i/d).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turn channel pairs (i, i + d/2) of position t by the angle t * base^(-2i/d).

    Args:
        head_width: d, even.
        base: the slowest pair turns once in about 2 pi base positions.
    """

    def __init__(self, head_width: int, base: float = 10_000.0) -> None:
        super().__init__()
        rate_d = base ** -(torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
        self.register_buffer("rate_d", rate_d, persistent=False)
        self.rate_d: Tensor

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Return cos and sin for positions 0..length-1, (T, d/2) each."""
        angle_Td = torch.arange(length, device=self.rate_d.device)[:, None] * self.rate_d
        return angle_Td.cos(), angle_Td.sin()


def rotate(x_UHTd: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Apply the turn."""
    cos_Td, sin_Td = turn[0].to(x_UHTd.dtype), turn[1].to(x_UHTd.dtype)
    left, right = x_UHTd.chunk(2, dim=-1)
    return torch.cat([left * cos_Td - right * sin_Td, left * sin_Td + right * cos_Td], dim=-1)

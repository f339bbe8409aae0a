"""Seconds as vectors: one clock for pictures and sounds.

Enters: times (U, T) in seconds.  Leaves: (U, T, F), sines and cosines of wavelengths from a tenth of a second to
a thousand seconds (Vaswani et al. 2017, section 3.5, with real time in place of the position).
What two encoders say of the same moment so has something in common, whatever their rates: attention can join it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SHORTEST_S, LONGEST_S = 0.1, 1000.0


class TimeEmbedding(nn.Module):
    """Map seconds t to W [sin(2 pi t / l_i), cos(2 pi t / l_i)], l_i from 0.1 s to 1000 s in equal ratios.

    Args:
        width: F.
        num_waves: wavelengths.
    """

    def __init__(self, width: int, num_waves: int = 24) -> None:
        super().__init__()
        length_i = torch.logspace(math.log10(SHORTEST_S), math.log10(LONGEST_S), num_waves)
        self.register_buffer("turn_i", 2 * math.pi / length_i, persistent=False)
        self.turn_i: Tensor
        self.project = nn.Linear(2 * num_waves, width, bias=False)

    def forward(self, time_UT: Tensor) -> Tensor:
        """Return (U, T, F)."""
        angle_UTi = time_UT[..., None] * self.turn_i.to(time_UT.device, torch.float32)
        wave_UTi = torch.cat([angle_UTi.sin(), angle_UTi.cos()], dim=-1)
        return self.project(wave_UTi.to(self.project.weight.dtype))  # type: ignore[no-any-return]

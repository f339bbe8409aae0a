"""When each picture of a clip appears, written beneath it: one tensor holds a prepared clip.

Enters: pictures (N, 3, S, S) uint8 and their times in seconds.  Leaves: (N, 3, S + 1, S) uint8, whose last line
begins with the time in tenths of milliseconds, a little-endian 32-bit number in the first channel; and back again.
(Television writes its time code into lines beside the picture too: SMPTE ST 12-1, vertical interval time code.)
"""

from __future__ import annotations

import torch
from torch import Tensor

TICKS_HZ = 10_000
_PLACES = 4  # bytes of the number
LONGEST_S = (2**32 - 1) / TICKS_HZ


def with_times(picture_NCSS: Tensor, time_N: Tensor) -> Tensor:
    """Return (N, 3, S + 1, S) uint8.

    Args:
        picture_NCSS: (N, 3, S, S) uint8, S >= 4.
        time_N: (N,) float64, seconds, 0 to `LONGEST_S`.
    """
    num, channels, _, side = picture_NCSS.shape
    tick_N = (time_N.double() * TICKS_HZ).round().long().clamp(0, 2**32 - 1)
    line_NC1S = torch.zeros(num, channels, 1, side, dtype=torch.uint8)
    for place in range(_PLACES):
        line_NC1S[:, 0, 0, place] = (tick_N >> 8 * place) & 255
    return torch.cat([picture_NCSS, line_NC1S], dim=2)


def parted(value: Tensor) -> tuple[Tensor, Tensor]:
    """Part (..., 3, S + 1, S) into pictures (..., 3, S, S) of the same type, and times (...) in float32 seconds."""
    byte = value[..., 0, -1, :_PLACES].detach().double().round()
    weight = 256.0 ** torch.arange(_PLACES, device=value.device, dtype=torch.float64) / TICKS_HZ
    return value[..., :-1, :], (byte @ weight).float()

"""What video encoders share: how a clip is prepared, and how its values part into pictures and times."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Section
from sensorium.data.time_code import parted


class VideoInput(Section):
    """Which pictures of a clip are read."""

    num_frames: int = Field(8, ge=1, le=4096)
    """Pictures a clip, evenly spaced."""
    rate_hz: float | None = Field(None, gt=0, le=1000)
    """Pictures a second, instead of a number."""
    max_frames: int = Field(64, ge=1, le=4096)
    """With a rate: pictures of a clip at most, the first ones."""
    exact: bool = False
    """Read pictures from the middle of equal segments, though keyframes are read faster."""


def pictures_and_times(values: Tensor, mask_UN: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Part (U, N, 3, S + 1, S) into pictures (U, N, 3, S, S), seconds (U, N) and a mask (U, N)."""
    if mask_UN is None:
        mask_UN = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    picture_UNCSS, time_UN = parted(values)
    return picture_UNCSS, torch.where(mask_UN, time_UN, 0), mask_UN

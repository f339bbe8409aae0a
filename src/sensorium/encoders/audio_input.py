"""What all audio encoders share: how a sound is prepared, and what a stride does to frames and masks.

Enters: (U, T, num_mels) log-mel frames and their mask (U, T).  Frames are normalised by the preparer, over the clip
alone (each mel band to mean 0 and deviation 1 by default), so that the result can be cached and no padding enters.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.core.protocols import Preparer
from sensorium.data.log_mel_preparer import LogMelPreparer, Normalize
from sensorium.encoders.masking import FrameMasking


class AudioInput(Section):
    """How a sound is prepared."""

    rate_hz: int = Field(16_000, ge=1_000, le=192_000)
    num_mels: int = Field(80, ge=1, le=1024)
    window_ms: float = Field(25.0, gt=0, le=1000)
    hop_ms: float = Field(10.0, gt=0, le=1000)
    max_seconds: float = Field(30.0, gt=0)
    normalize: Normalize = "mel"

    def preparer(self) -> LogMelPreparer:
        """Make the (unfitted) preparer of these sounds."""
        return LogMelPreparer(
            rate_hz=self.rate_hz,
            num_mels=self.num_mels,
            window_ms=self.window_ms,
            hop_ms=self.hop_ms,
            max_seconds=self.max_seconds,
            normalize=self.normalize,
        )

    def masking(self, preparer: Preparer, span: int | None = None) -> FrameMasking:
        """Say how runs of `span` frames are hidden; by default 8."""
        return FrameMasking(self.num_mels, 8 if span is None else span)


def clean_frames(values_UTF: Tensor, mask_UT: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return frames as `dtype` with zeros in the padding, and the mask, all real where there is none."""
    if mask_UT is None:
        mask_UT = torch.ones(values_UTF.shape[:2], dtype=torch.bool, device=values_UTF.device)
    return torch.where(mask_UT[..., None], values_UTF.to(dtype), 0), mask_UT


def stack_frames(x_UTF: Tensor, mask_UT: Tensor, stack: int, stride: int) -> tuple[Tensor, Tensor]:
    """Lay `stack` frames end to end every `stride` frames: (U, ceil(T / stride), stack * F), and the mask.

    Position t holds frames [t stride, t stride + stack), zeros after the end; padding must be zeros already.
    """
    length = x_UTF.shape[1]
    num = -(-length // stride)
    padded_UTF = functional.pad(x_UTF, (0, 0, 0, max((num - 1) * stride + stack - length, 0)))
    windows_UTFS = padded_UTF.unfold(1, stack, stride)[:, :num]
    return windows_UTFS.transpose(2, 3).flatten(2), mask_UT[:, ::stride]

"""What all image encoders share: how an image is prepared, and how its bytes become numbers.

Enters: (U, 3, S, S) uint8 from the preparer.  Leaves: (U, 3, S, S) float, channels normalised by ImageNet's mean
and standard deviation (He et al. 2016 and every published network since; any fixed values would do for our own).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.protocols import Preparer
from sensorium.data.image_preparer import ImagePreparer, Resize
from sensorium.encoders.masking import PatchMasking

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


class ImageInput(Section):
    """How an image is prepared: its side in pixels, and how it is made square."""

    size: int = Field(224, ge=8, le=4096)
    resize: Resize = "stretch"

    def preparer(self) -> ImagePreparer:
        """Make the (unfitted) preparer of these images."""
        return ImagePreparer(size=self.size, resize=self.resize)

    def masking(self, preparer: Preparer, span: int | None = None) -> PatchMasking:
        """Say how patches are hidden, `span` pixels a side; by default 8 x 8 patches, or as near as divides."""
        fitting = [side for side in range(1, self.size + 1) if self.size % side == 0]
        span = min(fitting, key=lambda side: abs(side - self.size / 8)) if span is None else span
        return PatchMasking(self.size, span, MEAN_RGB, STD_RGB)


class Normalise(nn.Module):
    """Map bytes to (value / 255 - mean) / std, a channel; by default ImageNet's.

    Args:
        mean_rgb: of values 0..1.
        std_rgb: of values 0..1.
    """

    def __init__(self, mean_rgb: Sequence[float] = MEAN_RGB, std_rgb: Sequence[float] = STD_RGB) -> None:
        super().__init__()
        mean_C, std_C = torch.tensor(mean_rgb), torch.tensor(std_rgb)
        self.register_buffer("scale_C11", (1 / (255 * std_C))[:, None, None], persistent=False)
        self.register_buffer("shift_C11", (-mean_C / std_C)[:, None, None], persistent=False)
        self.scale_C11: Tensor
        self.shift_C11: Tensor

    def forward(self, values_UCHW: Tensor) -> Tensor:
        """Return float (U, 3, H, W) in channels-last memory, which CPU convolutions read fastest."""
        x_UCHW = values_UCHW.to(self.scale_C11.dtype, memory_format=torch.channels_last)
        return torch.addcmul(self.shift_C11, x_UCHW, self.scale_C11)


def to_positions(x_UCHW: Tensor) -> Tensor:
    """Read a grid row by row: (U, C, H, W) to (U, H*W, C)."""
    return x_UCHW.flatten(2).transpose(1, 2)

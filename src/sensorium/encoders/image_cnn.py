"""A small convolutional network for small pictures, made to train on a CPU.

Enters: (U, 3, S, S) uint8.  Leaves: a grid of positions, `grid`² of them, each with a learned position vector.
Each stage is a 3x3 convolution of stride 2, batch normalisation (Ioffe and Szegedy 2015) and ReLU.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.batch_norm import BatchNorm2d
from sensorium.encoders.image_augment import AugmentedImageInput, ImageAugment
from sensorium.encoders.image_input import Normalise, to_positions
from sensorium.encoders.outlet import Features, Outlet, encode


class ImageCNN(nn.Module):
    """Encode images with a few strided convolutions.

    Args:
        config: sizes.
        preparer: the image preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedImageInput):
        """Options of `image.cnn`."""

        size: int = Field(64, ge=8, le=1024)
        channels: tuple[int, ...] = Field((32, 64, 128), min_length=1)
        """Channels after each stage; each stage halves the picture."""
        grid: int = Field(4, ge=1, le=64)
        """Positions a side; the last stage is averaged down to it."""
        norm: Literal["batch", "group"] = "batch"

    modality = "image"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.augment = ImageAugment(config)
        self.normalise = Normalise()
        ins = (3, *config.channels)
        stages = [_stage(n_in, n_out, config.norm) for n_in, n_out in zip(ins, config.channels, strict=False)]
        self.trunk = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(config.grid))
        self.feature_width = config.channels[-1]
        self.outlet = Outlet(self.feature_width, width, num_positions=config.grid**2)

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return the grid (U, grid², channels) and None: every position is real."""
        return to_positions(self.trunk(self.normalise(self.augment(values_UCHW)))), None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, grid², width)."""
        return encode(self, media)


def _stage(n_in: int, n_out: int, norm: str) -> nn.Sequential:
    layer = BatchNorm2d(n_out) if norm == "batch" else nn.GroupNorm(min(8, n_out), n_out)
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), layer, nn.ReLU(inplace=True))

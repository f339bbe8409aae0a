"""Images through a published network whose weights ship in a Python package.

Enters: (U, 3, S, S) uint8.  Leaves: a grid of (S / 32)² positions of 1,280 features, each with a learned position
vector.  `encoder = "packaged:efficientnet-lite0"`; see `media.packaged` for what the weights are.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.efficientnet import EfficientNetLite0, named_as_here
from sensorium.encoders.image_augment import AugmentedImageInput, ImageAugment
from sensorium.encoders.image_input import Normalise, to_positions
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.pretrained import assign, read_weights
from sensorium.media.packaged import packaged_files

_MEAN_RGB, _STD_RGB = (127 / 255,) * 3, (128 / 255,) * 3  # (byte - 127) / 128


class ImagePackaged(nn.Module):
    """Encode images with EfficientNet-Lite0.

    Args:
        config: sizes.
        preparer: the image preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedImageInput):
        """Options of `image.packaged`."""

        source: Literal["efficientnet-lite0"] = "efficientnet-lite0"
        """Which packaged weights."""
        size: int = Field(224, ge=32, le=4096)

    modality = "image"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.source = config.source
        self.augment = ImageAugment(config)
        self.normalise = Normalise(_MEAN_RGB, _STD_RGB)
        self.trunk = EfficientNetLite0()
        self.feature_width = self.trunk.width
        side = -(-config.size // 32)
        self.outlet = Outlet(self.feature_width, width, num_positions=side * side)

    def load_pretrained(self) -> Self:
        """Load the packaged weights into the trunk; returns self.  Raises MissingExtraError, ModelError."""
        (path,) = packaged_files(self.source).values()
        assign(self.trunk, named_as_here(read_weights(path)), where=str(path), heads=["classify."])
        return self

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return the last grid (U, positions, 1280) and None: every position is real."""
        return to_positions(self.trunk.grid(self.normalise(self.augment(values_UCHW)))), None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, positions, width)."""
        return encode(self, media)

"""VGG16 (Simonyan and Zisserman 2015, table 1, configuration D).

Enters: (U, 3, S, S) uint8.  Leaves: a grid of (S / 32)² positions, each with a learned position vector.
Parameter names are torchvision's, so that published weights load; the three layers of the classifier (89 % of the
138 M parameters) are built only for counting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.image_augment import AugmentedImageInput, ImageAugment
from sensorium.encoders.image_input import Normalise, to_positions
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.pretrained import load_trunk

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class ImageVGG16(nn.Module):
    """Encode images with the thirteen convolutions of VGG16.

    Args:
        config: sizes.
        preparer: the image preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedImageInput):
        """Options of `image.vgg16`."""

        size: int = Field(224, ge=32, le=4096)
        weights: Path | None = None
        """A file of published weights for the trunk; see `load_pretrained`."""

    modality = "image"

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.weights = config.weights
        self.augment = ImageAugment(config)
        self.normalise = Normalise()
        self.trunk = VGG16()
        self.feature_width = STAGES[-1][-1]
        self.outlet = Outlet(self.feature_width, width, num_positions=(config.size // 32) ** 2)

    def load_pretrained(self) -> Self:
        """Load the configured weights, if any, into the trunk; returns self.  Raises ModelError."""
        if self.weights is not None:
            load_trunk(self.trunk, self.weights, heads=["classifier."])
        return self

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return the last grid (U, positions, 512) and None: every position is real."""
        return to_positions(self.trunk.features(self.normalise(self.augment(values_UCHW)))), None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, positions, width)."""
        return encode(self, media)


class VGG16(nn.Module):
    """The network itself, with a classifier only if `num_classes` is given.

    Args:
        num_classes: outputs of the classifier.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 3
        for stage in STAGES:
            for n_out in stage:
                layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(inplace=True)]
                n_in = n_out
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = None if num_classes is None else _classifier(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return the last grid (U, 512, S / 32, S / 32), or class scores where there is a classifier."""
        x_UCHW = self.features(x_UCHW)
        if self.classifier is None:
            return x_UCHW
        pooled_UCHW = nn.functional.adaptive_avg_pool2d(x_UCHW, 7)
        scores: Tensor = self.classifier(pooled_UCHW.flatten(1))
        return scores


def _classifier(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, num_classes),
    )

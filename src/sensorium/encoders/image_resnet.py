"""Deep residual networks (He et al. 2016, table 1): what `image.resnet18` and `image.resnet50` share.

Enters: (U, 3, S, S) uint8.  Leaves: a grid of (S / 32)² positions, each with a learned position vector.
Layout and parameter names are torchvision's (stride in the 3x3 convolution of a bottleneck: "v1.5"), so that
published weights load.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field
from torch import Tensor, nn

from sensorium.core.protocols import Preparer
from sensorium.core.types import Encoded, MediaBatch
from sensorium.encoders.batch_norm import BatchNorm2d
from sensorium.encoders.image_augment import AugmentedImageInput, ImageAugment
from sensorium.encoders.image_input import Normalise, to_positions
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.pretrained import load_trunk


class ImageResNet(nn.Module):
    """Encode images with the residual network of the subclass.

    Args:
        config: sizes.
        preparer: the image preparer (nothing is learned from it).
        width: D of the result.
    """

    class Config(AugmentedImageInput):
        """Options of the residual networks."""

        size: int = Field(224, ge=64, le=4096)
        weights: Path | None = None
        """A file of published weights for the trunk; see `load_pretrained`."""

    modality = "image"
    block: type[BasicBlock] | type[Bottleneck]
    depths: Sequence[int]

    def __init__(self, config: Config, preparer: Preparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.weights = config.weights
        self.augment = ImageAugment(config)
        self.normalise = Normalise()
        self.trunk = ResNet(self.block, self.depths)
        self.feature_width = self.trunk.width
        side = -(-config.size // 32)
        self.outlet = Outlet(self.feature_width, width, num_positions=side * side)

    def load_pretrained(self) -> Self:
        """Load the configured weights, if any, into the trunk; returns self.  Raises ModelError."""
        if self.weights is not None:
            load_trunk(self.trunk, self.weights, heads=["fc."])
        return self

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return the last grid (U, positions, channels) and None: every position is real."""
        return to_positions(self.trunk.grid(self.normalise(self.augment(values_UCHW)))), None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, positions, width)."""
        return encode(self, media)


class ResNet(nn.Module):
    """The network itself, with a classifier only if `num_classes` is given.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks in each of the four stages.
        num_classes: outputs of the classifier `fc`.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: Sequence[int], num_classes: int | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        expansion = block.expansion
        self.layer1 = _stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = _stage(block, 64 * expansion, 128, depths[1], stride=2)
        self.layer3 = _stage(block, 128 * expansion, 256, depths[2], stride=2)
        self.layer4 = _stage(block, 256 * expansion, 512, depths[3], stride=2)
        self.width = 512 * expansion
        self.fc = None if num_classes is None else nn.Linear(self.width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def grid(self, x_UCHW: Tensor) -> Tensor:
        """Return the last feature map (U, width, S / 32, S / 32)."""
        x_UCHW = self.maxpool(self.relu(self.bn1(self.conv1(x_UCHW))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x_UCHW = stage(x_UCHW)
        return x_UCHW

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return the mean over the grid (U, width), or class scores where there is a classifier."""
        x_UF = self.grid(x_UCHW).mean((2, 3))
        return x_UF if self.fc is None else self.fc(x_UF)


class BasicBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))), two 3x3 convolutions with batch normalisation.

    Args:
        n_in: channels before.
        n_mid: channels after.
        stride: of the first convolution.
    """

    expansion = 1

    def __init__(self, n_in: int, n_mid: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_mid, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(n_mid)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_mid, n_mid, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(n_mid)
        self.downsample = _shortcut(n_in, n_mid, stride)

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return (U, n_mid, H / stride, W / stride)."""
        y_UCHW = self.relu(self.bn1(self.conv1(x_UCHW)))
        y_UCHW = self.bn2(self.conv2(y_UCHW))
        out: Tensor = self.relu(y_UCHW + (x_UCHW if self.downsample is None else self.downsample(x_UCHW)))
        return out


class Bottleneck(nn.Module):
    """relu(x + conv(relu(conv(relu(conv(x)))))): 1x1 to a quarter of the channels, 3x3, 1x1 back.

    Args:
        n_in: channels before.
        n_mid: channels inside; four times as many come out.
        stride: of the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, n_in: int, n_mid: int, stride: int) -> None:
        super().__init__()
        n_out = n_mid * self.expansion
        self.conv1 = nn.Conv2d(n_in, n_mid, 1, bias=False)
        self.bn1 = BatchNorm2d(n_mid)
        self.conv2 = nn.Conv2d(n_mid, n_mid, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm2d(n_mid)
        self.conv3 = nn.Conv2d(n_mid, n_out, 1, bias=False)
        self.bn3 = BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(n_in, n_out, stride)

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return (U, 4 n_mid, H / stride, W / stride)."""
        y_UCHW = self.relu(self.bn1(self.conv1(x_UCHW)))
        y_UCHW = self.relu(self.bn2(self.conv2(y_UCHW)))
        y_UCHW = self.bn3(self.conv3(y_UCHW))
        out: Tensor = self.relu(y_UCHW + (x_UCHW if self.downsample is None else self.downsample(x_UCHW)))
        return out


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), BatchNorm2d(n_out))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], n_in: int, n_mid: int, depth: int, stride: int
) -> nn.Sequential:
    rest = [block(n_mid * block.expansion, n_mid, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(n_in, n_mid, stride), *rest)

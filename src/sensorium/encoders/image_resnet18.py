"""ResNet-18 (He et al. 2016, table 1)."""

from __future__ import annotations

from sensorium.encoders.image_resnet import BasicBlock, ImageResNet


class ImageResNet18(ImageResNet):
    """Encode images with ResNet-18: (B, (S / 32)², width)."""

    block = BasicBlock
    depths = (2, 2, 2, 2)

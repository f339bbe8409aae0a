"""ResNet-50 (He et al. 2016, table 1)."""

from __future__ import annotations

from sensorium.encoders.image_resnet import Bottleneck, ImageResNet


class ImageResNet50(ImageResNet):
    """Encode images with ResNet-50: (B, (S / 32)², width)."""

    block = Bottleneck
    depths = (3, 4, 6, 3)

"""Images through a network that Keras saved.

Enters: (U, 3, S, S) uint8.  Leaves: one position a place of the last grid, or one an image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.errors import ModelError
from sensorium.data.image_preparer import Resize
from sensorium.data.keras_image import KerasImagePreparer
from sensorium.encoders.image_augment import grey
from sensorium.encoders.image_input import MEAN_RGB, STD_RGB
from sensorium.encoders.keras_input import KerasEncoder, KerasInput
from sensorium.encoders.outlet import Features

Pixels = Literal["0..255", "0..1", "-1..1", "imagenet", "caffe"]

MEAN_BGR = (103.939, 116.779, 123.68)  # keras.applications.imagenet_utils, mode "caffe"


class ImageKeras(KerasEncoder):
    """Encode images with a saved network; scaling and laying out are its first step here."""

    class Config(KerasInput):
        """Options of `image.keras`."""

        pixels: Pixels
        """What the network reads: bytes as they are, which it may scale itself ("0..255": EfficientNet), divided
        ("0..1", "-1..1": MobileNet), less mean and deviation ("imagenet": DenseNet), or BGR less the mean
        ("caffe": Keras's VGG16 and ResNet-50)."""
        size: int | None = Field(None, ge=8, le=4096)
        """Side in pixels, for a network that reads any."""
        resize: Resize = "stretch"

        def preparer(self) -> KerasImagePreparer:
            """Make the (unfitted) preparer of these images."""
            return KerasImagePreparer(self.source, self.layer, size=self.size, resize=self.resize)

    modality = "image"

    def __init__(self, config: Config, preparer: KerasImagePreparer, width: int) -> None:
        super().__init__(config, preparer, width)
        self.is_grey = preparer.num_channels == 1
        if self.is_grey and config.pixels in ("imagenet", "caffe"):
            what = f"reads grey pictures, for which there is no scaling '{config.pixels}'"
            raise ModelError(what, where=config.source, advice='set pixels = "0..1", "-1..1" or "0..255"')
        self.scaled = SCALED[config.pixels]

    def _num_places(self) -> int:
        num: int | None = self.preparer.network.num_positions
        return 0 if num is None or num == 1 else num

    def features(self, values_UCHW: Tensor, mask_UT: Tensor | None = None) -> Features:
        """Return (U, positions, F) and None: every position is real."""
        x_UCHW = values_UCHW.float()
        x_UCHW = self.scaled(grey(x_UCHW) if self.is_grey else x_UCHW)
        is_first = self.preparer.network.is_channels_first
        return self._run(x_UCHW if is_first else x_UCHW.permute(0, 2, 3, 1)), None


def _imagenet(x_UCHW: Tensor) -> Tensor:
    return (x_UCHW / 255 - _of_channels(MEAN_RGB, x_UCHW)) / _of_channels(STD_RGB, x_UCHW)


def _caffe(x_UCHW: Tensor) -> Tensor:
    return x_UCHW.flip(1) - _of_channels(MEAN_BGR, x_UCHW)


def _of_channels(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(numbers, device=like.device)[:, None, None]


SCALED: dict[Pixels, Callable[[Tensor], Tensor]] = {
    "0..255": lambda x_UCHW: x_UCHW,
    "0..1": lambda x_UCHW: x_UCHW / 255,
    "-1..1": lambda x_UCHW: x_UCHW / 127.5 - 1,
    "imagenet": _imagenet,
    "caffe": _caffe,
}

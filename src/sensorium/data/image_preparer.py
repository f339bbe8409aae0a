"""Images at one square size.

Enters: `Media`.  Leaves: uint8 (3, size, size), RGB, channels first; the encoder scales and normalises.
Shrinking is antialiased: Pillow's bilinear filter widens with the scale, after a box reduction where
the picture is more than twice as large.  A picture of the right size is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenPixels
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy

Resize = Literal["stretch", "crop", "pad"]

_MAX_SIZE = 4096


class ImagePreparer:
    """Decode an image and bring it to `size` x `size` pixels.

    Args:
        size: side in pixels.
        resize: "stretch" squeezes the whole picture, "crop" keeps the central square, "pad" keeps the
            whole picture and its shape, centred on black.
        policy: what may be opened; None = the default caps.

    Raises:
        ConfigError: a size or way to resize that there is not.
    """

    modality = "image"
    hiding = HiddenPixels()

    def __init__(self, *, size: int = 64, resize: Resize = "stretch", policy: MediaPolicy | None = None) -> None:
        if not 1 <= size <= _MAX_SIZE:
            raise ConfigError(f"an image size of {size} is outside 1..{_MAX_SIZE}")
        if resize not in get_args(Resize):
            raise ConfigError(f"no way to resize is called '{resize}'", advice="choose stretch, crop or pad")
        self.size = size
        self.resize = resize
        self.policy = policy or MediaPolicy()

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, item: Item) -> Tensor:
        """Return uint8 (3, size, size).  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"an image input holds images, not {type(item).__name__}")
        image_HWC = self.resized(read_image(item, self.policy, fit=self.size))
        return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, None]:
        """Stack to uint8 (U, 3, size, size); images have no length, so no mask."""
        if not values:
            return torch.zeros(0, 3, self.size, self.size, dtype=torch.uint8), None
        return torch.stack(list(values)), None

    @property
    def fingerprint(self) -> str:
        """Name this preparation."""
        return fingerprint_of("image.1", size=self.size, resize=self.resize)

    def save(self, folder: Path) -> None:
        """Write nothing: nothing was learned."""

    def load(self, folder: Path) -> Self:
        """Read nothing."""
        return self

    def resized(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring RGB pixels (H, W, 3) to (size, size, 3)."""
        height, width = image_HWC.shape[:2]
        image = Image.fromarray(image_HWC)
        if self.resize == "stretch":
            return self._scaled(image, (self.size, self.size), (0.0, 0.0, width, height))
        if self.resize == "crop":
            side = min(height, width)
            left, top = (width - side) / 2, (height - side) / 2
            return self._scaled(image, (self.size, self.size), (left, top, left + side, top + side))
        scale = self.size / max(height, width)
        inner = max(round(width * scale), 1), max(round(height * scale), 1)
        left, top = (self.size - inner[0]) // 2, (self.size - inner[1]) // 2
        padded_HWC = np.zeros((self.size, self.size, 3), dtype=np.uint8)
        padded_HWC[top : top + inner[1], left : left + inner[0]] = self._scaled(
            image, inner, (0.0, 0.0, width, height)
        )
        return padded_HWC

    @staticmethod
    def _scaled(
        image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
    ) -> NDArray[np.uint8]:
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))

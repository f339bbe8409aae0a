"""Images at the side that a network which Keras saved reads.

Enters: `Media`.  Leaves: uint8 (3, S, S), as from every image preparer; the encoder scales and lays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from sensorium.core.errors import ModelError
from sensorium.core.types import Item
from sensorium.data.hiding import HiddenPixels
from sensorium.data.image_preparer import ImagePreparer, Resize
from sensorium.data.keras_preparer import KerasPreparer
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.media.policy import MediaPolicy


class KerasImagePreparer(KerasPreparer):
    """Decode an image and bring it to the network's size.

    Args:
        source: the file.
        layer: whose output is wanted; None = what the network itself puts out.
        size: side in pixels, for a network that reads any.
        resize: as `ImagePreparer`.
        policy: what may be opened; None = the default caps.

    Attributes:
        num_channels: 3, or 1 where the network reads grey pictures.
    """

    modality = "image"
    hiding = HiddenPixels()

    def __init__(
        self,
        source: str,
        layer: str | None = None,
        *,
        size: int | None = None,
        resize: Resize = "stretch",
        policy: MediaPolicy | None = None,
    ) -> None:
        super().__init__(source, layer)
        self.size, self.resize = size, resize
        self.policy = policy or MediaPolicy()
        self.num_channels = 3
        self._images = ImagePreparer(size=size or 1, resize=resize)

    def _settle(self) -> None:
        shape = self.network.shape
        if len(shape) != 3 or self.network.is_integer:
            raise self._refused("pictures (height, width, channels)")
        is_first = self.network.is_channels_first
        channels, sides = (shape[0], shape[1:]) if is_first else (shape[2], shape[:2])
        if channels not in (1, 3):
            raise self._refused("pictures of 1 or 3 channels")
        fixed = {side for side in sides if side is not None} | ({self.size} if self.size else set())
        if len(fixed) > 1:
            raise self._refused("square pictures" + (f" of size {self.size}" if self.size else ""))
        if not fixed:
            raise ModelError("reads pictures of any size", where=self.source, advice="choose one: size = 224")
        self.num_channels = channels
        self._images = ImagePreparer(size=fixed.pop(), resize=self.resize)

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def __call__(self, item: Item) -> Tensor:
        """Return uint8 (3, S, S).  Raises MediaError, DataError."""
        self._images.policy = self.policy
        return self._images(item)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, None]:
        """Stack to uint8 (U, 3, S, S); images have no length, so no mask."""
        return self._images.collate(values)

    @property
    def fingerprint(self) -> str:
        """Name this preparation and the network.  Raises ModelError before `fit`."""
        return fingerprint_of(
            "keras_image.1", file=self.file.digest, layer=self.layer, images=self._images.fingerprint
        )

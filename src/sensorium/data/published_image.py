"""Images as a published network's own processor brings them to size.

Enters: `Media`.  Leaves: uint8 (3, H, W); scaling and normalising are left to the encoder, so that caches hold bytes.
The processor is transformers' own one on Pillow: resizing and cropping are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Item, Media
from sensorium.data.hiding import HiddenPixels
from sensorium.data.preparation import fingerprint_of, media_in
from sensorium.data.published import import_transformers, quietly
from sensorium.data.published_preparer import PublishedPreparer
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy


class PublishedImagePreparer(PublishedPreparer):
    """Decode an image and bring it to the network's size.

    Args:
        source: a folder, or a name on the hub.
        revision: a commit on the hub.
        size: side in pixels instead of the published one.
        policy: what may be opened; None = the default caps.

    Attributes:
        shape_CHW: of what leaves, after `fit`.
        mean_C, std_C: the network reads (byte * rescale - mean) / std, by channel.
        rescale: see `mean_C`.
    """

    modality = "image"
    hiding = HiddenPixels()

    def __init__(
        self,
        source: str,
        revision: str | None = None,
        *,
        size: int | None = None,
        policy: MediaPolicy | None = None,
    ) -> None:
        super().__init__(source, revision)
        self.size = size
        self.policy = policy or MediaPolicy()
        self.shape_CHW: tuple[int, ...] = (3, 0, 0)
        self.mean_C: tuple[float, ...] = (0.0, 0.0, 0.0)
        self.std_C: tuple[float, ...] = (1.0, 1.0, 1.0)
        self.rescale = 1.0

    def _open(self) -> Any:
        load = import_transformers().AutoImageProcessor.from_pretrained
        return self.published.opened(
            lambda folder: load(folder, backend="pil", trust_remote_code=False), "image processor"
        )

    def _settle(self) -> None:
        processor = self.processor
        if processor.do_normalize:
            self.mean_C, self.std_C = tuple(processor.image_mean), tuple(processor.image_std)
        self.rescale = float(processor.rescale_factor) if processor.do_rescale else 1.0
        shapes = {self._sized(np.zeros((*sides, 3), dtype=np.uint8)).shape for sides in ((48, 80), (80, 48))}
        if len(shapes) > 1 or len(next(iter(shapes))) != 3:
            what = f"its processor makes pictures of several shapes ({', '.join(map(str, sorted(shapes)))})"
            raise ModelError(what, where=self.source, advice="choose a network that reads one size")
        (self.shape_CHW,) = shapes

    def _sized(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed: dict[str, Any] = {}
        if self.size is not None:
            changed["size"] = {key: self.size for key, side in dict(self.processor.size).items() if side}
            if getattr(self.processor, "do_center_crop", False):
                changed["crop_size"] = {"height": self.size, "width": self.size}
        with quietly():
            made = self.processor(
                image_HWC, do_rescale=False, do_normalize=False, input_data_format="channels_last", **changed
            )
        value_CHW = np.asarray(made["pixel_values"][0])
        return np.ascontiguousarray(value_CHW.round().clip(0, 255).astype(np.uint8))

    def item(self, cell: str, folder: Path) -> Item:
        """Read a path relative to `folder`; None where the cell is blank."""
        return media_in(cell, folder)

    def __call__(self, item: Item) -> Tensor:
        """Return uint8 (3, H, W).  Raises MediaError, DataError."""
        if not isinstance(item, Media):
            raise DataError(f"an image input holds images, not {type(item).__name__}")
        return torch.from_numpy(self._sized(read_image(item, self.policy)))

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, None]:
        """Stack to uint8 (U, 3, H, W); images have no length, so no mask."""
        if not values:
            return torch.zeros(0, *self.shape_CHW, dtype=torch.uint8), None
        return torch.stack(list(values)), None

    def example(self) -> Tensor:
        """Return a picture as the network may be given, (1, 3, H, W)."""
        return torch.zeros(1, *self.shape_CHW, dtype=torch.uint8)

    @property
    def fingerprint(self) -> str:
        """Name this preparation.  Raises ModelError before `fit`."""
        return fingerprint_of("published_image.1", files=self.published.digest, size=self.size)

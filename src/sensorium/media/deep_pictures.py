"""Pictures of more than 8 bits a sample, of which Pillow keeps the high byte of colours alone.

Enters: a picture as Pillow opened it, before and after its pixels are decoded.  Leaves: whole samples of 16 bits
wherever 8 would say something else than the file does; an error where 8 bits would leave nothing to see.

    a colour key     is compared with whole samples, as PNG 11.3.1.1 asks
    low samples      refused where the highest lies below 4096 and is not 0: 12 bits or fewer were stored

The low bytes are got by asking Pillow for the same samples in the other byte order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from sensorium.core.errors import MediaError

STRIP_PIXELS = 1 << 20
LEAST_WHITE = 4096

# Grey and alpha read as four channels of one byte: the second is grey's low byte.
_GREY_ALPHA = "LA;16B"
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


class DeepColours:
    """The samples of 16 bits of a picture of several channels.

    Args:
        image: opened, not yet loaded.
        reopen: opens the same file once more.
    """

    def __init__(self, image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]) -> None:
        self.sample_format = sample_format(image)
        self.is_deep = ";16" in self.sample_format and not image.mode.startswith("I")
        self._reopen = reopen

    def settle(self, image: Image.Image) -> None:
        """Lay the colour key, if there is one, and refuse samples that are too low; `image` is loaded.

        Raises:
            MediaError: samples of which 8 bits would leave nothing to see.
        """
        if not self.is_deep:
            return
        key = image.info.get("transparency")
        num_colours = 4 if image.mode == "CMYK" else 3
        highest = 256 * max(high for _, high in image.getextrema()[:num_colours])  # type: ignore[misc]
        if highest >= LEAST_WHITE and not isinstance(key, tuple):
            return
        whole_HWC = self._whole(image)
        check_highest(int(whole_HWC[..., :num_colours].max()), is_ink=image.mode == "CMYK")
        if isinstance(key, tuple):
            shown_HW = (whole_HWC[..., :3] != np.array(key, np.uint16)).any(2)
            del image.info["transparency"]
            image.putalpha(Image.fromarray(shown_HW.astype(np.uint8) * np.uint8(255)))

    def _whole(self, image: Image.Image) -> NDArray[np.uint16]:
        with self._reopen() as again:
            is_grey = self.sample_format == _GREY_ALPHA
            other = "RGBA" if is_grey else self.sample_format[:-1] + _OTHER_ORDER[self.sample_format[-1]]
            again.tile = [tile._replace(args=_with_format(tile.args, other)) for tile in again.tile]
            again.load()
            low_HWC = np.asarray(again)
        if is_grey:
            low_HWC = np.repeat(low_HWC[..., 1:2], low_HWC.shape[2], axis=2)
        high_HWC: NDArray[np.uint8] = np.asarray(image)
        whole_HWC: NDArray[np.uint16] = high_HWC.astype(np.uint16) * np.uint16(256) + low_HWC
        return whole_HWC


def sample_format(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name for samples as they lie in the file, 'RGB;16B' say; '' once the pixels are loaded."""
    args = image.tile[0].args if image.tile else ""
    first = args if isinstance(args, str) else next(iter(args or ("",)))
    return first if isinstance(first, str) else ""


def check_grey(image: Image.Image) -> None:
    """Refuse grey samples of 16 bits or more of which 8 would leave nothing to see.  Raises MediaError."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        check_highest(max(int(np.asarray(strip).max()) for strip in strips(image)))


def strips(image: Image.Image) -> Iterator[Image.Image]:
    """Yield a picture by strips of rows, so that little of it is held twice."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def check_highest(highest: int, *, is_ink: bool = False) -> None:
    """Refuse a picture whose highest sample lies so low that another white is meant; 0 is a black picture.

    Raises:
        MediaError: with what to do.
    """
    if 0 < highest < LEAST_WHITE:
        said = "paper where full ink" if is_ink else "black where white"
        raise MediaError(
            f"has pixels up to {highest}, {said} is 65535; its white level is not in the file",
            advice="scale all pictures of the set by one factor, white to 65535, or save it with 8 bits",
        )


def _with_format(args: Any, other: str) -> Any:
    return other if isinstance(args, str) else (other, *args[1:])

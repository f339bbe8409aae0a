"""Any Pillow mode to 8-bit RGB, by declared rules.

Enters: a decoded Pillow image.  Leaves: uint8 (H, W, 3).

    transparency     laid over white; palette, grey and colour keys alike
    16-bit samples   the high byte, x >> 8, so that an 8-bit value widened by 257 comes back exactly
    12-bit samples   of a TIFF that says so: x >> 4
    32-bit integers  as 16-bit; white is 65535, and a pixel beyond it is refused
    floats           white is 1.0, black 0.0; a pixel beyond them, or NaN, is refused
    white is zero    (TIFF photometric interpretation 0) turned about, deep samples and floats too
    CMYK             255 - ink, times 255 - black (Pillow's own rule); ICC profiles are not applied
    1-bit, grey      0 and 255; three equal channels
    16-bit, dark     refused if no pixel reaches 4096: 12 bits or fewer were stored, and all would be black
    orientation      EXIF 2.32 tag 0x0112, or XMP's tiff:Orientation, as the eight views of an array

Conversion goes by strips of rows, so that the peak is the decoded image plus the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.core.errors import MediaError
from sensorium.media.deep_pictures import check_grey
from sensorium.media.tiff_directory import orientation as orientation_of

STRIP_PIXELS = 1 << 20

# What makes the stored picture out of the upright one, each a view: EXIF 6 is stored a quarter turn
# counter-clockwise of upright, 8 clockwise; the others undo themselves.
_STORED_VIEW: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")


def noted_orientation(info: Mapping[Any, Any]) -> int:
    """Return the orientation, 1..8, that stands elsewhere than in EXIF: in a PNG's raw profile, else in XMP."""
    profile = info.get("Raw profile type exif")
    if isinstance(profile, str):
        try:
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
        except ValueError:
            exif = b""
        if found := orientation_of(exif.removeprefix(b"Exif\0\0")):
            return found
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    noted = _XMP.search(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else bytes(xmp))
    return int(noted[1]) if noted else 1


@dataclass(frozen=True, slots=True)
class GreyScale:
    """What deep grey samples mean.

    Attributes:
        bits: how many of a sample's bits are used: 12 where the file packs samples of 12 bits, else 16.
        is_inverted: white is zero.
    """

    bits: int = 16
    is_inverted: bool = False


SIXTEEN_BITS = GreyScale()


def to_rgb(image: Image.Image, orientation: int = 1, scale: GreyScale = SIXTEEN_BITS) -> NDArray[np.uint8]:
    """Convert a loaded image to upright RGB, uint8 (H, W, 3).

    Args:
        orientation: to be applied, 1..8.
        scale: what grey samples of more than 8 bits mean.

    Raises:
        MediaError: integer or float pixels outside their declared range.
    """
    if scale.bits == 16:
        check_grey(image)
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    if rows >= height and orientation == 1:
        return np.array(_strip_to_rgb(image, image.info, scale))
    is_turned = orientation in (5, 6, 7, 8)
    upright = np.empty((width, height, 3) if is_turned else (height, width, 3), np.uint8)
    stored = _STORED_VIEW[orientation](upright) if orientation in _STORED_VIEW else upright
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        stored[top:bottom] = _strip_to_rgb(strip, image.info, scale)
    return upright


def _strip_to_rgb(
    strip: Image.Image, info: dict[str | tuple[int, int], object], scale: GreyScale
) -> NDArray[np.uint8]:
    if strip.mode in ("I", "F") or strip.mode.startswith("I;16"):
        return _deep_grey(strip, info.get("transparency"), scale)
    if strip.has_transparency_data:
        return _over_white(np.asarray(strip.convert("RGBA")))
    return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite over white: (a x + (255 - a) 255) / 255, rounded."""
    alpha = rgba[..., 3:].astype(np.uint16)
    total = rgba[..., :3] * alpha + (255 - alpha) * np.uint16(255)
    return ((total + np.uint16(127)) // 255).astype(np.uint8)


def _deep_grey(strip: Image.Image, colour_key: object, scale: GreyScale) -> NDArray[np.uint8]:
    values = np.asarray(strip)
    if strip.mode == "F":
        _check_range(values, 1.0, "floats between 0 and 1")
        grey = np.rint(values * 255).astype(np.uint8)
    else:
        _check_range(values, 65535, "integers between 0 and 65535")
        grey = (values >> scale.bits - 8).astype(np.uint8)
    if scale.is_inverted:
        grey = ~grey
    if isinstance(colour_key, int):
        grey = np.where(values == colour_key, np.uint8(255), grey)
    return np.repeat(grey[..., None], 3, axis=2)


def _check_range(values: NDArray[np.generic], white: float, expected: str) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # so written, NaN fails too
        raise MediaError(
            f"has pixels from {low} to {high}; its white level is not in the file",
            advice=f"scale it to {expected}, or save it with 8 bits",
        )

"""Images: untrusted bytes to upright 8-bit RGB.

Enters: a `Media` holding JPEG, PNG, WebP, GIF, TIFF or BMP.  Leaves: uint8 (H, W, 3), by the rules of
`sensorium.media.pixels`; of an animation or a many-page file, the first picture.
The header is read first and held against the policy; only then are pixels decoded.  A picture that
ends early is an error, never half a picture.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from sensorium.core.errors import MediaError
from sensorium.media.bytes import read_bytes
from sensorium.media.content_type import IMAGES, OTHER_IMAGES, content_type, cure
from sensorium.media.deep_pictures import DeepColours
from sensorium.media.image_layout import Layout, walk
from sensorium.media.pixels import noted_orientation, to_rgb
from sensorium.media.png_rows import is_interlaced, share_present
from sensorium.media.policy import MediaPolicy
from sensorium.media.quiet import pillow_warnings_ignored

if TYPE_CHECKING:
    from sensorium.core.types import Media

_END = b"\xff\xd9"
_PROGRESSIVE = re.compile(rb"\xff[\xc2\xc6\xca\xce]\0[\x0b-\x20]")


def read_image(media: Media, policy: MediaPolicy, fit: int | None = None) -> NDArray[np.uint8]:
    """Decode an image to upright RGB, uint8 (H, W, 3).

    Args:
        fit: the smallest side wanted.  A JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size, as
            long as neither side falls below `fit`; that is several times faster.

    Raises:
        MediaError: not an image, cut short, damaged, or beyond the policy; it names the medium.
    """
    try:
        if media.span_s is not None:
            raise MediaError("names seconds, which an image has none of", advice="read it as audio or video")
        data = read_bytes(media, policy, policy.max_image_bytes)
        kind = content_type(data)
        _check_kind(kind)
        layout = walk(data, kind)
        _check_layout(layout, kind, policy)
        with pillow_warnings_ignored():
            pixels = _decode(data, kind, layout, policy, fit)
        if layout.late_fault:
            raise MediaError(layout.late_fault)
        return pixels
    except MediaError as error:
        raise error.at(str(media)) from None


def _decode(data: bytes, kind: str, layout: Layout, policy: MediaPolicy, fit: int | None) -> NDArray[np.uint8]:
    image = None
    try:
        with _opened(data, kind) as image:
            _check_size(image.size, policy)
            colours = DeepColours(image, functools.partial(_opened, data, kind))
            if fit is not None:
                image.draft(image.mode, (fit, fit))
            image.load()
            if kind == "PNG":
                _check_rows(image, data)
            colours.settle(image)
            return to_rgb(image, layout.orientation or noted_orientation(image.info), layout.grey)
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise _too_large("hundreds of millions of pixels", policy) from None
    except UnidentifiedImageError:
        if layout.samples:
            raise MediaError(f"is a TIFF of {layout.samples}, which is not read", advice="save it as PNG") from None
        raise MediaError(f"{kind} header is cut short or damaged") from None
    except Exception as error:  # a decoder may raise anything on hostile bytes
        if "truncated" in str(error).lower():
            if kind == "JPEG" and not data.endswith(_END) and is_whole_without_end(data, max_scans=1):
                return _decode(data.rstrip(b"\xff") + _END, kind, layout, policy, fit)
            raise MediaError(f"{kind} {_where_it_ends(image)}") from None
        raise MediaError(f"{kind} cannot be decoded: {error}") from None


def _opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=[kind.upper()])


def is_whole_without_end(data: bytes, max_scans: int) -> bool:
    """Say whether a JPEG lacks nothing but its end sign: then it does not matter what stands behind its data.

    Of a picture of several scans whole ones may be missing, so that nobody can tell.
    """
    data = data.rstrip(b"\xff")
    if data.count(b"\xff\xda") > max_scans or _PROGRESSIVE.search(data, 0, data.find(b"\xff\xda")):
        return False
    pictures = []
    for tail in (b"", b"\x55" * 64, b"\xaa" * 64):
        try:
            with Image.open(io.BytesIO(data + tail + _END), formats=["JPEG"]) as image:
                image.load()
                pictures.append(hashlib.sha256(image.tobytes()).digest())
        except Exception:  # a decoder may raise anything on hostile bytes
            return False
    return pictures[0] == pictures[1] == pictures[2]


def _check_rows(image: Image.Image, data: bytes) -> None:
    """Refuse a PNG whose last rows Pillow left black because they are not in the file."""
    last_row = image.crop((0, image.height - 1, *image.size))
    if is_interlaced(data) or not any(last_row.tobytes()):
        share = share_present(data)
        if share < 1:
            raise MediaError(f"PNG ends at {100 * share:.0f} % of its rows")


def _where_it_ends(image: Image.Image | None) -> str:
    """Estimate how far decoding came: the rows that it did not reach are black still."""
    if image is None:
        return "ends within its header"
    try:
        box = image.im.getbbox()
    except Exception:  # not a row was begun
        box = None
    share = 100 * (box[3] - box[1]) // image.height if box else 0
    return f"ends at {share} % of its rows" if 0 < share < 100 else "is cut short"


def _check_kind(kind: str) -> None:
    if kind not in IMAGES:
        problem = "an image format that is not read here" if kind in OTHER_IMAGES else "not an image"
        raise MediaError(f"is {kind}, {problem}", advice=cure(kind, IMAGES))


def _check_layout(layout: Layout, kind: str, policy: MediaPolicy) -> None:
    if layout.size:
        _check_size(layout.size, policy)
    if layout.tile_pixels > policy.max_pixels:
        raise _too_large(f"tiles of {layout.tile_pixels:,} pixels", policy)
    if layout.scan_pixels > policy.max_scans * policy.max_pixels:
        raise MediaError(f"{kind} of too many scans for its size", advice="save it as a baseline JPEG")


def _check_size(size: tuple[int, int], policy: MediaPolicy) -> None:
    width, height = size
    if width * height > policy.max_pixels:
        raise _too_large(f"{width} x {height} pixels", policy)
    if width == 0 or height == 0:
        raise MediaError(f"has no pixels ({width} x {height})")
    if max(size) > policy.max_aspect * min(size):
        raise MediaError(
            f"is {width} x {height}: one side is more than {policy.max_aspect:g} times the other",
            advice="crop it, or raise max_aspect of the media policy",
        )


def _too_large(what: str, policy: MediaPolicy) -> MediaError:
    return MediaError(
        f"has {what}, more than the {policy.max_pixels:,} that the policy allows",
        advice="make it smaller, or raise max_pixels of the media policy",
    )

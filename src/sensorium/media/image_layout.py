"""How an image file is laid out, walked before any decoder sees it.

Enters: the bytes and content type of an image.  Leaves: its EXIF orientation, and a fault that only
counts once the pixels are decoded; or a `MediaError` for what no decoder should be given.
The walks are short and bounded.  They find what Pillow lets pass (a wrong checksum, a missing end) and
refuse what would keep it busy: a million empty chunks, junk between markers, tags that overlap, a
thousand passes over a progressive picture.
Sources: PNG 3rd edition 5.3; JPEG T.81 annex B; GIF89a; WebP container RFC 9649; TIFF 6.0; BMP.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from sensorium.core.errors import MediaError
from sensorium.media.pixels import SIXTEEN_BITS, GreyScale
from sensorium.media.tiff_directory import SUBDIRECTORIES, integers, orientation, read_directory

MAX_BLOCKS = 65_536  # chunks, segments or sub-blocks of one file
MAX_JUNK = 4096  # bytes between the markers of a JPEG
MAX_COMMENT = 65_536  # bytes of comment before the picture of a GIF
MAX_RLE_BYTES = 1_000_000  # of a run-length BMP, which Pillow decodes in Python


@dataclass(frozen=True, slots=True)
class Layout:
    """What the walk found; the caller holds it against the policy.

    Attributes:
        orientation: EXIF orientation still to be applied, 1..8; 0 where EXIF states none.
        size: (width, height) where the walk met it; None leaves it to the decoder's header.
        tile_pixels: pixels that one tile of a TIFF makes the decoder hold.
        scan_pixels: pixels that the passes of a JPEG visit, all together.
        grey: what grey samples of more than 8 bits mean.
        samples: those of a TIFF in words, for a message; empty elsewhere.
        late_fault: a fault to report if the pixels decode all the same.
    """

    orientation: int = 0
    size: tuple[int, int] | None = None
    tile_pixels: int = 0
    scan_pixels: int = 0
    grey: GreyScale = SIXTEEN_BITS
    samples: str = ""
    late_fault: str | None = None


def walk(data: bytes, kind: str) -> Layout:
    """Walk an image file of content type `kind`.  Raises MediaError."""
    return _WALKS[kind](data)


def _walk_png(data: bytes) -> Layout:
    place, turn = 8, 0
    for _ in range(MAX_BLOCKS):
        length = int.from_bytes(data[place : place + 4])
        name = data[place + 4 : place + 8]
        end = place + 8 + length
        if len(data) < end + 4:
            return Layout(turn, late_fault="PNG is cut short: its last chunk is missing")
        is_critical = not name[0] & 32
        if is_critical and zlib.crc32(memoryview(data)[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise MediaError(
                f"is a damaged PNG: the checksum of its {_printable(name)} chunk at byte {place} is wrong"
            )
        if name == b"eXIf":
            turn = orientation(data[place + 8 : end])
        if name == b"IEND":
            return Layout(turn)
        place = end + 4
    raise _too_many("PNG", "chunks")


_START_OF_SCAN = 0xDA
_EXIF = 0xE1
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_SEGMENT = frozenset(range(0xD0, 0xD9)) | {0x01}
_MARKER = re.compile(rb"\xff[^\x00\xff]")


def _walk_jpeg(data: bytes) -> Layout:
    """Walk from marker to marker up to the first scan."""
    place, num_junk, frame_pixels, exif = 2, 0, 0, b""
    for _ in range(MAX_BLOCKS):
        found = _MARKER.search(data, place, place + MAX_JUNK + 2)
        num_junk += (found.start() if found else len(data)) - place
        if num_junk > MAX_JUNK:
            raise MediaError(f"is a damaged JPEG: more than {MAX_JUNK:,} bytes of junk before its picture")
        if not found or found[0][1] == _START_OF_SCAN:
            # A scan marker cannot occur inside entropy-coded data, so counting finds every scan, and
            # a few too many where thumbnails are embedded.
            return Layout(orientation(exif), scan_pixels=frame_pixels * data.count(b"\xff\xda"))
        marker, place = found[0][1], found.end()
        if marker in _WITHOUT_SEGMENT:
            continue
        body = data[place + 2 : place + int.from_bytes(data[place : place + 2])]
        if marker == _EXIF:
            exif += body[6:] if body.startswith(b"Exif\0\0") else b""
        elif marker in _START_OF_FRAME:
            frame_pixels = int.from_bytes(body[1:3]) * int.from_bytes(body[3:5])
        place += 2 + len(body)
    raise _too_many("JPEG", "segments")


def _walk_gif(data: bytes) -> Layout:
    """Walk to the first picture: what stands before it is all that a decoder loops over in Python."""
    if len(data) < 13:
        return Layout()
    place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    num_comment = 0
    blocks_left = MAX_BLOCKS
    while data[place : place + 1] == b"!":
        is_comment = data[place + 1 : place + 2] == b"\xfe"
        place += 2
        while place < len(data) and (length := data[place]):
            place += 1 + length
            num_comment += length if is_comment else 0
            blocks_left -= 1
            if blocks_left < 0 or num_comment > MAX_COMMENT:
                raise _too_many("GIF", "blocks before its picture")
        place += 1
    return Layout()


def _walk_webp(data: bytes) -> Layout:
    declared = 8 + struct.unpack_from("<I", data, 4)[0]
    if len(data) < declared:
        raise MediaError(f"WebP ends at {100 * len(data) // declared} % of the length that its header declares")
    place, turn, size = 12, 0, None
    for _ in range(MAX_BLOCKS):
        if place + 8 > min(declared, len(data)):
            return Layout(turn, size)
        name, length = struct.unpack_from("<4sI", data, place)
        body = data[place + 8 : place + 18]
        size = size or _webp_size(name, body)
        if name == b"EXIF":
            turn = orientation(data[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0"))
        place += 8 + length + length % 2
    raise _too_many("WebP", "chunks")


def _webp_size(name: bytes, body: bytes) -> tuple[int, int] | None:
    if len(body) < 10:
        return None
    if name == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if name == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


_PIXEL_TAGS = range(254, 351)  # from NewSubfileType to what JPEG and sample formats need
_TILE_SIDES = (322, 323)
_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 273, 279, 324, 325


def _walk_tiff(data: bytes) -> Layout:
    entries = read_directory(data)
    if entries is None:
        raise MediaError("TIFF is cut short: its directory lies beyond its end")
    for tag, entry in entries.items():
        if tag in _PIXEL_TAGS and not entry.is_inside(data):
            raise MediaError(f"TIFF is cut short: its tag {tag} lies beyond its end")
    values = {tag: integers(data, entry) for tag, entry in entries.items()}
    for tag in SUBDIRECTORIES:
        for start in values.get(tag, ())[:1]:
            read_directory(data, start)
    _check_strips(values.get(_STRIPS, ()), values.get(_STRIP_SIZES, ()), len(data))
    _check_strips(values.get(_TILES, ()), values.get(_TILE_SIZES, ()), len(data))
    sides = [values[tag][0] for tag in _TILE_SIDES if values.get(tag)]
    bits = values.get(_BITS) or (1,)
    if values.get(_PLANES) == (2,) and len(bits) > 1 and max(bits) > 8:
        raise MediaError(
            f"is a TIFF of {max(bits)} bits a sample with each colour in a plane of its own, which is not read",
            advice="save it as PNG, or with its samples side by side",
        )
    return Layout(
        orientation=1,  # Pillow turns a TIFF upright itself
        tile_pixels=math.prod(sides) if sides else 0,
        grey=GreyScale(bits=12 if bits == (12,) else 16, is_inverted=values.get(_PHOTOMETRIC) == (0,)),
        samples=f"{len(bits)} samples a pixel, {bits[0]} bits each" if len(bits) > 1 else f"{bits[0]}-bit samples",
    )


def _check_strips(starts: tuple[int, ...], sizes: tuple[int, ...], num_bytes: int) -> None:
    total = sum(sizes)
    there = sum(max(0, min(size, num_bytes - start)) for start, size in zip(starts, sizes, strict=False))
    if there < total and len(starts) == len(sizes):
        raise MediaError(f"TIFF ends at {100 * there // total} % of its pixel data")


def _walk_bmp(data: bytes) -> Layout:
    has_compression = len(data) >= 34 and data[14] >= 40
    if has_compression and data[30] in (1, 2) and len(data) > MAX_RLE_BYTES:
        raise MediaError(
            f"is a run-length BMP of {len(data):,} bytes; up to {MAX_RLE_BYTES:,} are read", advice="save it as PNG"
        )
    return Layout()


_WALKS: dict[str, Callable[[bytes], Layout]] = {
    "PNG": _walk_png,
    "JPEG": _walk_jpeg,
    "GIF": _walk_gif,
    "WebP": _walk_webp,
    "TIFF": _walk_tiff,
    "BMP": _walk_bmp,
}


def _too_many(kind: str, what: str) -> MediaError:
    return MediaError(f"is a {kind} with more {what} than any real file", advice="save it again")


def _printable(name: bytes) -> str:
    return name.decode("ascii", "replace") if name.isalpha() else repr(name)

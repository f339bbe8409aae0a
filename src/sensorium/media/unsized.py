"""Sounds whose writer could not go back to state their size: streams, and recorders that were switched off.

Enters: the bytes and content type of a sound.  Leaves: the same with the size stated that is there, for decoders
believe what is stated; bytes that state a size of their own leave as they came.

    WAV     0 bytes of samples though more than chunks follows them, or 0x7FFFF000 and more
    RF64    0 or all ones in its ds64 chunk
    AIFF    0x7F000000 and more, as sox writes into a pipe
    AU      0
    CAF     -1
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from sensorium.media.sound_layout import UNKNOWN_BYTES, chunks

_AIFF_UNKNOWN_BYTES = 0x7F000000
_LONG = 0xFFFFFFFF


def sized(data: bytes, kind: str) -> bytes:
    """Return a sound that states how many bytes of samples it holds.  Raises MediaError, as `sound_layout.walk`."""
    place = _PLACES.get(kind)
    found = place(data) if place else None
    if found is None:
        return data
    at, layout, size = found
    stated = bytearray(data)
    struct.pack_into(layout, stated, at, size)
    return bytes(stated)


_Field = tuple[int, str, int] | None
"""Where a size is to be written, how, and which."""


def _wav(data: bytes) -> _Field:
    order = ">" if data[:4] == b"RIFX" else "<"
    long_at = long_size = None
    for name, start, size in chunks(data, 12, order + "4sI"):
        there = len(data) - start
        if name == b"ds64" and there >= 16:
            long_at, long_size = start + 8, struct.unpack_from("<Q", data, start + 8)[0]
        elif name == b"data":
            if size == _LONG and long_at is not None:
                return (long_at, "<Q", there) if long_size in (0, 2**64 - 1) and there else None
            is_unknown = UNKNOWN_BYTES <= size != there or (size == 0 and not _only_chunks(data, start, order))
            return (start - 4, order + "I", there) if is_unknown and there < _LONG else None
    return None


def _only_chunks(data: bytes, place: int, order: str) -> bool:
    """Say whether nothing but whole chunks follows."""
    while place < len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], _BYTE_ORDERS[order])
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        place += 8 + size + size % 2
    return place <= len(data) + 1


_BYTE_ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}


def _aiff(data: bytes) -> _Field:
    for name, start, size in chunks(data, 12, ">4sI"):
        if name == b"SSND":
            there = len(data) - start
            return (start - 4, ">I", there) if _AIFF_UNKNOWN_BYTES <= size != there else None
    return None


def _au(data: bytes) -> _Field:
    if len(data) < 24:
        return None
    start, size = struct.unpack_from(">2I", data, 4)
    there = len(data) - start
    return (8, ">I", there) if size == 0 and 0 < there < _LONG else None


def _caf(data: bytes) -> _Field:
    for name, start, size in chunks(data, 8, ">4sq"):
        if name == b"data":
            return (start - 8, ">q", len(data) - start) if size < 0 else None
    return None


_PLACES: dict[str, Callable[[bytes], _Field]] = {"WAV": _wav, "AIFF": _aiff, "AU": _au, "CAF": _caf}

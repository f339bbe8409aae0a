"""Whether the pixel data of a PNG is all there.

Enters: the bytes of a PNG whose chunks are whole.  Leaves: the share of its pixel data present.
A compressed stream may end early and be valid; Pillow then leaves the rest of the picture black.
Source: PNG, 3rd edition, 2.2 (zlib), 8 (Adam7 interlacing), 11.2.1 (IHDR).
"""

from __future__ import annotations

import struct
import zlib

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_STEP = 1 << 20


def is_interlaced(data: bytes) -> bool:
    """Say whether the picture comes in seven passes."""
    return data[28] == 1


def share_present(data: bytes) -> float:
    """Return inflated bytes over the bytes that the header asks for, at most 1."""
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _SAMPLES.get(colour, 1)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    expected = sum(_pass_bytes(width, height, bits, *one) for one in passes)
    return min(1.0, _inflated_bytes(data, expected) / expected)


def _pass_bytes(width: int, height: int, bits: int, left: int, top: int, right: int, down: int) -> int:
    columns = -(-(width - left) // right) if width > left else 0
    rows = -(-(height - top) // down) if height > top else 0
    return rows * (1 + -(-columns * bits // 8)) if columns else 0


def _inflated_bytes(data: bytes, limit: int) -> int:
    """Inflate the IDAT chunks, a step at a time, and count; stop at `limit`."""
    inflater = zlib.decompressobj()
    place, total = 8, 0
    while place + 12 <= len(data) and total < limit:
        length = int.from_bytes(data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            total += len(inflater.decompress(data[place + 8 : place + 8 + length], _STEP))
            while inflater.unconsumed_tail and total < limit:
                total += len(inflater.decompress(inflater.unconsumed_tail, _STEP))
        place += 12 + length
    return total

"""Plain TIFF files of any samples, which Pillow writes but a few of."""

from __future__ import annotations

import struct

import numpy as np


def tiff(x_HWS, photometric, *, bits=None, planes=1, extra=None, order="<", turn=1) -> bytes:
    """Write samples (H, W, S) uncompressed; `planes` 2 keeps each channel apart; `bits` 12 packs the samples."""
    height, width, num_samples = x_HWS.shape
    bits = bits or 8 * x_HWS.dtype.itemsize
    stored = x_HWS if planes == 1 else x_HWS.transpose(2, 0, 1)
    body = packed_12(stored) if bits == 12 else stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    sample_format = {"u": 1, "i": 2, "f": 3}[x_HWS.dtype.kind]
    num_strips = 1 if planes == 1 else num_samples
    tags = {256: [width], 257: [height], 258: [bits] * num_samples, 259: [1], 262: [photometric]}
    tags |= {273: [0] * num_strips, 274: [turn], 277: [num_samples], 278: [height], 279: [0] * num_strips}
    tags |= {284: [planes], 339: [sample_format] * num_samples} | ({} if extra is None else {338: [extra]})
    start = 8 + 2 + 12 * len(tags) + 4
    begin = start + sum(4 * len(values) for values in tags.values())
    tags[279] = [len(body) // num_strips] * num_strips
    tags[273] = [begin + i * len(body) // num_strips for i in range(num_strips)]
    entries, pool = b"", b""
    for tag, values in sorted(tags.items()):
        raw = struct.pack(f"{order}{len(values)}I", *values)
        entries += struct.pack(f"{order}HHI", tag, 4, len(values))
        entries += raw if len(raw) == 4 else struct.pack(f"{order}I", start + len(pool))
        pool += b"" if len(raw) == 4 else raw
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return (head + entries + bytes(4) + pool).ljust(begin, b"\0") + body


def packed_12(x_HWS) -> bytes:
    """Pack samples of 12 bits, rows padded to whole bytes."""
    rows = []
    for row in x_HWS.reshape(len(x_HWS), -1):
        bits = "".join(f"{int(value):012b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(int(bits, 2).to_bytes(len(bits) // 8))
    return b"".join(rows)


def spread(num_channels: int, highest: int) -> np.ndarray:
    """Return samples uint16 (5, 7, S) between 0 and `highest`, both there, every channel another."""
    x = np.linspace(0, highest, 5 * 7 * num_channels).round().astype(np.uint16)
    return np.random.default_rng(1).permutation(x).reshape(5, 7, num_channels)

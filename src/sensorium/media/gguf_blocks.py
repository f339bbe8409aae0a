"""How GGUF stores weights: blocks of 32 or 256 small integers that share a scale, and often a minimum.

Enters: blocks as bytes, (N, bytes of a block).  Leaves: float32 (N, values of a block).

    Q4_0, Q5_0, Q8_0   w = d (q - 8), d (q - 16), d q              32 values, d float16
    Q4_1, Q5_1         w = d q + m                                 32 values, d and m float16
    Q4_K               w = d s q - e m                             8 runs of 32, s and m of 6 bits each
    Q6_K               w = d s (q - 32)                            16 runs of 16, s of 8 bits

Source: ggml-quants.c and ggml-common.h of ggml (block_q4_0 and the others).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class BlockKind(NamedTuple):
    """One way to store `num_values` numbers in `num_bytes`."""

    name: str
    num_values: int
    num_bytes: int
    dequantise: Callable[[Bytes], Floats]


def _half(raw: Bytes) -> Floats:
    """Read float16 numbers, (N, 2k) bytes to (N, k)."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: Bytes) -> Floats:
    """Part bytes into their lower, then their upper four bits: (N, k) to (N, 2k)."""
    return np.concatenate([raw & 15, raw >> 4], -1).astype(np.float32)


def _fifth_bits(raw: Bytes) -> Floats:
    """Read 32 bits, each worth 16: (N, 4) bytes to (N, 32)."""
    return np.unpackbits(raw, -1, bitorder="little").astype(np.float32) * np.float32(16)


def _f32(raw: Bytes) -> Floats:
    return np.ascontiguousarray(raw).view("<f4").astype(np.float32)


def _bf16(raw: Bytes) -> Floats:
    return (np.ascontiguousarray(raw).view("<u2").astype(np.uint32) << 16).view(np.float32)


def _q4_0(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * (_nibbles(raw[:, 2:]) - 8)


def _q4_1(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * _nibbles(raw[:, 4:]) + _half(raw[:, 2:4])


def _q5_0(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * (_nibbles(raw[:, 6:]) + _fifth_bits(raw[:, 2:6]) - 16)


def _q5_1(raw: Bytes) -> Floats:
    q = _nibbles(raw[:, 8:]) + _fifth_bits(raw[:, 4:8])
    return _half(raw[:, :2]) * q + _half(raw[:, 2:4])


def _q8_0(raw: Bytes) -> Floats:
    return _half(raw[:, :2]) * raw[:, 2:].view(np.int8).astype(np.float32)


def _q4_k(raw: Bytes) -> Floats:
    packed = raw[:, 4:16].reshape(-1, 3, 4)
    low, high, rest = packed[:, 0], packed[:, 1], packed[:, 2]
    # The first four runs have six plain bits; the others four in `rest`, and two above the first ones'.
    scale = np.concatenate([low & 63, (rest & 15) | ((low >> 6) << 4)], -1).astype(np.float32)
    minimum = np.concatenate([high & 63, (rest >> 4) | ((high >> 6) << 4)], -1).astype(np.float32)
    scale, minimum = _half(raw[:, :2]) * scale, _half(raw[:, 2:4]) * minimum
    q = _nibbles(raw[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return (scale[..., None] * q - minimum[..., None]).reshape(-1, 256)


def _q6_k(raw: Bytes) -> Floats:
    halves, high = raw[:, :128].reshape(-1, 2, 64), raw[:, 128:192].reshape(-1, 2, 1, 32)
    shift = np.array([0, 2, 4, 6], np.uint8)[:, None]
    low = np.concatenate([halves & 15, halves >> 4], -1).reshape(-1, 2, 4, 32)
    q = (low | (((high >> shift) & 3) << 4)).astype(np.float32) - 32
    scale = _half(raw[:, 208:]) * raw[:, 192:208].view(np.int8).astype(np.float32)
    w: Floats = scale[..., None] * q.reshape(-1, 16, 16)
    return w.reshape(-1, 256)


KINDS: dict[int, BlockKind] = {
    0: BlockKind("F32", 1, 4, _f32),
    1: BlockKind("F16", 1, 2, _half),
    2: BlockKind("Q4_0", 32, 18, _q4_0),
    3: BlockKind("Q4_1", 32, 20, _q4_1),
    6: BlockKind("Q5_0", 32, 22, _q5_0),
    7: BlockKind("Q5_1", 32, 24, _q5_1),
    8: BlockKind("Q8_0", 32, 34, _q8_0),
    12: BlockKind("Q4_K", 256, 144, _q4_k),
    14: BlockKind("Q6_K", 256, 210, _q6_k),
    30: BlockKind("BF16", 1, 2, _bf16),
}

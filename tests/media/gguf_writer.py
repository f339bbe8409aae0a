"""GGUF files for tests, written by the specification and by nothing of ours."""

import math
import struct
from pathlib import Path

import numpy as np

CODES = {
    "u8": 0,
    "i8": 1,
    "u16": 2,
    "i16": 3,
    "u32": 4,
    "i32": 5,
    "f32": 6,
    "bool": 7,
    "u64": 10,
    "i64": 11,
    "f64": 12,
}
FORMATS = dict(zip(CODES, "BbHhIif?Qqd", strict=True))
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144)}
BLOCKS |= {14: (256, 210), 30: (1, 2)}


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(value: object) -> bytes:
    """A metadata value behind its type: str, bool, int (u32), float (f32), ("u64", 3), or a list of one kind."""
    kind, raw = _typed(value)
    return struct.pack("<I", kind) + raw


def _typed(value: object) -> tuple[int, bytes]:
    if isinstance(value, str):
        return 8, text(value)
    if isinstance(value, list):
        parts = [_typed(part) for part in value]
        kind = parts[0][0] if parts else 4
        return 9, struct.pack("<IQ", kind, len(parts)) + b"".join(raw for _, raw in parts)
    if not isinstance(value, tuple):
        value = ({bool: "bool", int: "u32", float: "f32"}[type(value)], value)
    return CODES[value[0]], struct.pack(f"<{FORMATS[value[0]]}", value[1])


def gguf_bytes(
    metadata: dict, tensors: dict, *, version: int = 3, magic: bytes = b"GGUF", alignment: int = 32
) -> bytes:
    """`tensors`: by name a float array (stored as F32), or (shape, kind, raw bytes)."""
    entries, data = b"", b""
    for name, tensor in tensors.items():
        if isinstance(tensor, np.ndarray):
            tensor = (tensor.shape, 0, tensor.astype("<f4").tobytes())
        shape, kind, raw = tensor
        data += b"\0" * (-len(data) % alignment)
        entries += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        entries += struct.pack("<IQ", kind, len(data))
        data += raw
    pairs = b"".join(text(key) + value_bytes(value) for key, value in metadata.items())
    head = magic + struct.pack("<IQQ", version, len(tensors), len(metadata)) + pairs + entries
    return head + b"\0" * (-len(head) % alignment) + data


def random_blocks(shape: tuple[int, ...], kind: int, seed: int = 0) -> tuple[tuple[int, ...], int, bytes]:
    """Blocks of random bytes whose scales are finite."""
    num_values, num_bytes = BLOCKS[kind]
    raw = np.random.default_rng(seed).integers(0, 256, (math.prod(shape) // num_values, num_bytes), np.uint8)
    for high in {2: [1], 3: [1, 3], 6: [1], 7: [1, 3], 8: [1], 12: [1, 3], 14: [209], 1: [1], 0: [3], 30: [1]}[
        kind
    ]:
        raw[:, high] &= 0x3F
    return shape, kind, raw.tobytes()


def write(path: Path, metadata: dict, tensors: dict, **options: object) -> Path:
    path.write_bytes(gguf_bytes(metadata, tensors, **options))
    return path

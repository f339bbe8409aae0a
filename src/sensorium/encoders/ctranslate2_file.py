"""The tensors of a CTranslate2 `model.bin`, without CTranslate2.

Enters: a file.  Leaves: tensors by name, in the types they are stored in.  Layout (little-endian, CTranslate2's
`model_spec.py`, version 6):

    uint32 version | string name of the specification | uint32 its revision | uint32 number of tensors
    each tensor: string name | uint8 rank | uint32 sizes | uint8 type | uint32 number of bytes | the bytes
    uint32 number of aliases | each: string alias | string name

A string is its length with the final zero (uint16), its bytes and that zero.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from sensorium.core.errors import ModelError

VERSION = 6
_TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
_MOST_AXES = 8


class _Reader:
    """Read numbers and strings one after the other; past the end is a ModelError."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.place = data, where, 0

    def take(self, num_bytes: int) -> bytes:
        """Return the next bytes."""
        start, self.place = self.place, self.place + num_bytes
        if self.place > len(self.data):
            raise self.fault(f"ends at {len(self.data):,} bytes, inside a tensor or name")
        return self.data[start : self.place]

    def number(self, kind: str) -> int:
        """Return the next number, of a type of `struct`."""
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return int(value)

    def string(self) -> str:
        """Return the next string."""
        return self.take(self.number("H")).rstrip(b"\0").decode("utf-8", "replace")

    def fault(self, what: str) -> ModelError:
        """Make the error that says what is wrong with the file."""
        return ModelError(f"cannot be read as a CTranslate2 model: {what}", where=self.where)


def read_ctranslate2(path: Path, specification: str) -> dict[str, Tensor]:
    """Read every tensor, aliases too.

    Args:
        path: a `model.bin`.
        specification: what kind of model it has to be, such as "WhisperSpec".

    Raises:
        ModelError: no such file, cut short, another version or kind, or sizes that contradict each other.
    """
    try:
        reader = _Reader(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    version = reader.number("I")
    if version != VERSION:
        raise reader.fault(f"version {version}, this program reads {VERSION}")
    found = reader.string()
    if found != specification:
        raise reader.fault(f"a '{found}', not a '{specification}'")
    reader.number("I")
    tensors = dict(_tensor(reader) for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, name = reader.string(), reader.string()
        if name not in tensors:
            raise reader.fault(f"'{alias}' stands for '{name}', which is missing")
        tensors[alias] = tensors[name]
    return tensors


def _tensor(reader: _Reader) -> tuple[str, Tensor]:
    name, rank = reader.string(), reader.number("B")
    if rank > _MOST_AXES:
        raise reader.fault(f"'{name}' has {rank} axes")
    sizes = [reader.number("I") for _ in range(rank)]
    kind, num_bytes = reader.number("B"), reader.number("I")
    if kind >= len(_TYPES):
        raise reader.fault(f"'{name}' has type {kind}, which is none of {len(_TYPES)} known ones")
    dtype = _TYPES[kind]
    if math.prod(sizes) * dtype.itemsize != num_bytes:
        raise reader.fault(f"'{name}' of {sizes} {dtype} has {num_bytes} bytes")
    data = bytearray(reader.take(num_bytes))
    tensor = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return name, tensor.view(sizes)

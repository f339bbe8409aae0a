"""GGUF, the file of llama.cpp: settings by name, and tensors in blocks of few bits.

Enters: a path.  Leaves: metadata of plain values, and tensors as float32.  The bytes are untrusted: every length is
checked against what is left of the file before anything is made from it, and nothing in the file is run.

Source: the GGUF specification, versions 2 and 3, little-endian (ggml/docs/gguf.md).

    "GGUF"  u32 version  u64 tensors  u64 pairs
    (key, type, value) a pair,  (name, u32 dimensions, u64 each, u32 kind, u64 offset) a tensor
    padding to the alignment, then the tensors' blocks, each at its offset; dimensions are written innermost first
"""

from __future__ import annotations

import math
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import ModelError
from sensorium.core.file_state import file_state
from sensorium.media.gguf_blocks import KINDS

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_MAX_DIMENSIONS, _MAX_NAME_BYTES, _MAX_DEPTH = 4, 1 << 16, 4
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_SMALLEST_PAIR, _SMALLEST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8  # bytes


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where one tensor lies: its shape, outermost dimension first, its kind of block, and its bytes."""

    shape: tuple[int, ...]
    kind: int
    first_byte: int
    num_bytes: int


Header = tuple[dict[str, Any], dict[str, GgufTensor]]
_HEADERS: dict[Path, tuple[list[int], Header]] = {}
"""Headers read in this process, and the state of their files: one config asks for the same one several times."""
_MOST_HEADERS = 4
_SETTLED_NS = 50_000_000
"""A file that was written later than that may be written once more within one tick of its clock."""


class Gguf:
    """An open file; the header of a file that stays as it was is read once.

    Attributes:
        metadata: plain values by key; arrays are lists.  All who open the file share them: they are not changed.
        tensors: where each tensor lies, by name.

    Args:
        path: of the file; it is mapped into memory, and read where a tensor is asked for.

    Raises:
        ModelError: no such file, not GGUF, damaged, or cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                has_bytes = status.st_size > 0
                self._bytes: NDArray[np.uint8] = (
                    np.memmap(file, np.uint8, mode="r") if has_bytes else np.empty(0, np.uint8)
                )
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
        self.metadata, self.tensors = _header(path, status, self._bytes)

    def read(self, name: str) -> NDArray[np.float32]:
        """Return one tensor, dequantised, in its shape.  Raises ModelError: there is none of that name."""
        if name not in self.tensors:
            raise ModelError(f"holds no tensor '{name}'", where=str(self.path))
        tensor = self.tensors[name]
        kind = KINDS[tensor.kind]
        raw = self._bytes[tensor.first_byte : tensor.first_byte + tensor.num_bytes]
        return kind.dequantise(np.asarray(raw).reshape(-1, kind.num_bytes)).reshape(tensor.shape)


def _header(path: Path, status: os.stat_result, data: NDArray[np.uint8]) -> Header:
    place, state = path.absolute(), file_state(status)
    known = _HEADERS.get(place)
    if known is not None and known[0] == state:
        return known[1]
    header = _read_header(_Cursor(data, str(path)))
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
        _HEADERS.pop(place, None)
        _HEADERS[place] = state, header
        if len(_HEADERS) > _MOST_HEADERS:
            del _HEADERS[next(iter(_HEADERS))]
    return header


def _read_header(cursor: _Cursor) -> Header:
    if cursor.take(4).tobytes() != _MAGIC:
        cursor.fail("is not a GGUF file")
    version = cursor.number("I")
    if version not in _VERSIONS:
        cursor.fail(f"is GGUF of version {version}, which is not read here; versions 2 and 3 are")
    num_tensors, num_pairs = cursor.number("Q"), cursor.number("Q")
    cursor.require(num_tensors * _SMALLEST_TENSOR + num_pairs * _SMALLEST_PAIR)
    metadata: dict[str, Any] = {}
    for _ in range(num_pairs):
        key = cursor.text(_MAX_NAME_BYTES)
        if key in metadata:
            cursor.fail(f"has the key '{key}' twice")
        metadata[key] = cursor.value(cursor.number("I"))
    found = [_read_tensor(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment % 8:
        cursor.fail(f"has an alignment of {alignment!r}")
    first = -(-cursor.position // alignment) * alignment
    return metadata, _placed(cursor, found, first)


def _read_tensor(cursor: _Cursor) -> tuple[str, GgufTensor]:
    """Read one tensor's entry; its place is counted from the first tensor's."""
    name = cursor.text(_MAX_NAME_BYTES)
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        cursor.fail(f"gives tensor '{name}' {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    kind, offset = cursor.number("I"), cursor.number("Q")
    if kind not in KINDS:
        known = ", ".join(k.name for k in KINDS.values())
        cursor.fail(f"holds tensor '{name}' in blocks of kind {kind}; read here are {known}")
    block = KINDS[kind]
    if 0 in shape or shape[-1] % block.num_values:
        cursor.fail(f"gives tensor '{name}' the shape {shape}, in blocks of {block.num_values}")
    return name, GgufTensor(shape, kind, offset, math.prod(shape) // block.num_values * block.num_bytes)


def _placed(cursor: _Cursor, found: list[tuple[str, GgufTensor]], first: int) -> dict[str, GgufTensor]:
    placed: dict[str, GgufTensor] = {}
    for name, tensor in found:
        start = first + tensor.first_byte
        if start + tensor.num_bytes > cursor.size:
            cursor.fail(f"ends before tensor '{name}' does: {cursor.size:,} bytes of {start + tensor.num_bytes:,}")
        if name in placed:
            cursor.fail(f"has the tensor '{name}' twice")
        placed[name] = GgufTensor(tensor.shape, tensor.kind, start, tensor.num_bytes)
    return placed


class _Cursor:
    """A place in the bytes; it never passes their end."""

    def __init__(self, data: NDArray[np.uint8], where: str) -> None:
        self._data, self._where = data, where
        self.size, self.position = len(data), 0

    def fail(self, what: str) -> NoReturn:
        raise ModelError(what, where=self._where)

    def require(self, num_bytes: int) -> None:
        if num_bytes > self.size - self.position:
            self.fail(
                f"is cut short or damaged: {num_bytes:,} bytes announced at {self.position:,} of {self.size:,}"
            )

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        self.require(num_bytes)
        start, self.position = self.position, self.position + num_bytes
        return self._data[start : self.position]

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")).tobytes())[0]

    def text(self, max_bytes: int | None = None) -> str:
        num_bytes = self.number("Q")
        if max_bytes is not None and num_bytes > max_bytes:
            self.fail(f"announces a name of {num_bytes:,} bytes at {self.position:,}")
        try:
            return self.take(num_bytes).tobytes().decode()
        except UnicodeDecodeError:
            self.fail(f"holds a text that is not UTF-8 before byte {self.position:,}")

    def value(self, kind: int, depth: int = 0) -> Any:
        """Read a value of a metadata type: number, truth value, text, or an array of one type."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array(depth)
        if kind not in _NUMBERS:
            self.fail(f"holds a value of unknown type {kind} before byte {self.position:,}")
        number = self.number(_NUMBERS[kind])
        return bool(number) if kind == _BOOL else number

    def _array(self, depth: int) -> list[Any]:
        kind, count = self.number("I"), self.number("Q")
        if depth >= _MAX_DEPTH:
            self.fail(f"nests arrays deeper than {_MAX_DEPTH}")
        if kind not in _NUMBERS:
            self.require(count * 8)  # a text, as an array, has a length at least
            return [self.value(kind, depth + 1) for _ in range(count)]
        code = np.dtype(f"<{_NUMBERS[kind]}") if kind != _BOOL else np.dtype(bool)
        self.require(count * code.itemsize)
        raw = self.take(count * code.itemsize)
        return (raw != 0).tolist() if kind == _BOOL else raw.view(code).tolist()  # type: ignore[no-any-return]

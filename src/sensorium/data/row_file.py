"""The row file: rows of text cells in one buffer, and an index of where each row starts.

Enters: (line number, cells), one row after the other.
Leaves: rows by number, as lists of the line number and the cells.
A row is written as UTF-8 'line NUL cell NUL cell ...'; cells hold no NUL.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from sensorium.core.commit import disk_error

_IN_MEMORY_BYTES = 32 << 20
_INDEX_CHUNK = 1 << 16


class RowFile:
    """Rows of text cells by number.

    Args:
        data: all rows, end to end.
        start_N: (N + 1,) uint64, row i is data[start_N[i]:start_N[i + 1]].
    """

    def __init__(self, data: bytes | mmap.mmap, start_N: npt.NDArray[np.uint64]) -> None:
        self._data = data
        self._start_N = start_N

    def __len__(self) -> int:
        return len(self._start_N) - 1

    def __getitem__(self, i: int) -> list[str]:
        """Return row `i` as [line, cell, ...]; a row may end before the last column."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return self._data[int(self._start_N[i]) : int(self._start_N[i + 1])].decode("utf-8").split("\0")

    def __iter__(self) -> Iterator[list[str]]:
        for first in range(0, len(self), _INDEX_CHUNK):
            bounds = self._start_N[first : first + _INDEX_CHUNK + 1].tolist()
            for start, end in zip(bounds, bounds[1:], strict=False):
                yield self._data[start:end].decode("utf-8").split("\0")


class RowFileWriter:
    """Append rows; what outgrows 32 MiB moves to `folder`, or to unlinked temporary files.

    Args:
        folder: where 'rows.bin' and 'starts.bin' go if they go to disk; None = temporary and unlinked.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._rows: BinaryIO = io.BytesIO()
        self._starts: BinaryIO = io.BytesIO()
        self._pending = array("Q", [0])
        self._size = 0

    def add(self, line: int, cells: Sequence[str]) -> None:
        """Append one row.  Raises DiskError."""
        data = "\0".join([str(line), *cells]).encode("utf-8")
        self._size += len(data)
        self._pending.append(self._size)
        try:
            self._rows.write(data)
            if len(self._pending) >= _INDEX_CHUNK:
                self._flush()
        except OSError as error:
            raise disk_error(error, self._folder or Path(tempfile.gettempdir())) from error

    def finish(self) -> RowFile:
        """End the file and open it for reading.  Raises DiskError."""
        try:
            self._flush()
        except OSError as error:
            raise disk_error(error, self._folder or Path(tempfile.gettempdir())) from error
        if isinstance(self._rows, io.BytesIO):
            return RowFile(self._rows.getvalue(), np.frombuffer(_bytes(self._starts), np.uint64))
        return RowFile(_mapped(self._rows), np.frombuffer(_mapped(self._starts), np.uint64))

    def _flush(self) -> None:
        self._starts.write(self._pending.tobytes())
        self._pending = array("Q")
        if isinstance(self._rows, io.BytesIO) and self._size > _IN_MEMORY_BYTES:
            self._rows = self._to_disk(self._rows, "rows.bin")
            self._starts = self._to_disk(self._starts, "starts.bin")

    def _to_disk(self, memory: BinaryIO, name: str) -> BinaryIO:
        file: BinaryIO = (self._folder / name).open("w+b") if self._folder else tempfile.TemporaryFile()  # type: ignore[assignment]  # noqa: SIM115
        file.write(_bytes(memory))
        return file


def _bytes(file: BinaryIO) -> bytes:
    assert isinstance(file, io.BytesIO)
    return file.getvalue()


def _mapped(file: BinaryIO) -> mmap.mmap:
    """Map a file; the map outlives the closed (and unlinked) file."""
    file.flush()
    with file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

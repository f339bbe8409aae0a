"""The row file: rows of text cells in one buffer, and an index of where each row starts.

Enters: (line number, cells), one row after the other.
Leaves: rows by number, as lists of the line number and the cells.
A row is written as UTF-8 'line NUL cell NUL cell ...'; cells hold no NUL.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from sensorium.core.commit import disk_error

_ROWS, _STARTS = "rows.bin", "starts.bin"
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

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the two files that a RowFileWriter left in `folder`.  Raises OSError."""
        with (folder / _ROWS).open("rb") as rows, (folder / _STARTS).open("rb") as starts:
            return cls(_mapped(rows), np.frombuffer(_mapped(starts), np.uint64))

    def __len__(self) -> int:
        return len(self._start_N) - 1

    def __getitem__(self, i: int) -> list[str]:
        """Return row `i` as [line, cell, ...]; a row may end before the last column."""
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return self._data[int(self._start_N[i]) : int(self._start_N[i + 1])].decode("utf-8").split("\0")

    def origin(self, i: int) -> int:
        """Return the number of row `i` itself: it is no part of another row."""
        return i

    def __iter__(self) -> Iterator[list[str]]:
        for first in range(0, len(self), _INDEX_CHUNK):
            bounds = self._start_N[first : first + _INDEX_CHUNK + 1].tolist()
            for start, end in itertools.pairwise(bounds):
                yield self._data[start:end].decode("utf-8").split("\0")


class RowFileWriter:
    """Append rows.

    Args:
        folder: where the two files go; None = memory, and unlinked temporary files beyond 32 MiB.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._rows: BinaryIO = io.BytesIO() if folder is None else (folder / _ROWS).open("w+b")
        self._starts: BinaryIO = io.BytesIO() if folder is None else (folder / _STARTS).open("w+b")
        self._pending = array("Q", [0])
        self._size = 0
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    def add(self, line: int, cells: Sequence[str]) -> None:
        """Append one row.  Raises DiskError."""
        data = "\0".join([str(line), *cells]).encode("utf-8")
        self._size += len(data)
        self._num_rows += 1
        self._pending.append(self._size)
        with self._disk_errors():
            self._rows.write(data)
            if len(self._pending) >= _INDEX_CHUNK:
                self._flush()

    def finish(self) -> RowFile:
        """End the files and open them for reading.  Raises DiskError."""
        with self._disk_errors():
            self._flush()
            rows, starts = _contents(self._rows), _contents(self._starts)
            self._rows.close()
            self._starts.close()
        return RowFile(rows, np.frombuffer(starts, np.uint64))

    def _flush(self) -> None:
        self._starts.write(self._pending.tobytes())
        self._pending = array("Q")
        if isinstance(self._rows, io.BytesIO) and self._size > _IN_MEMORY_BYTES:
            self._rows, self._starts = _on_disk(self._rows), _on_disk(self._starts)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_error(error, self._folder or Path(tempfile.gettempdir())) from error


def _on_disk(memory: BinaryIO) -> BinaryIO:
    file: Any = tempfile.TemporaryFile(prefix="sensorium-")  # noqa: SIM115  the map keeps it alive
    file.write(_contents(memory))
    return cast(BinaryIO, file)


def _contents(file: BinaryIO) -> bytes | mmap.mmap:
    return file.getvalue() if isinstance(file, io.BytesIO) else _mapped(file)


def _mapped(file: BinaryIO) -> bytes | mmap.mmap:
    """Map a file; the map outlives the closed, and unlinked, file."""
    file.flush()
    size = os.fstat(file.fileno()).st_size
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""  # no map is empty

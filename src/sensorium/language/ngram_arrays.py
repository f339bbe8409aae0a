"""Where large arrays live: in memory, or in files mapped into it.

Enters: a length and a type.  Leaves: an array to fill.  Code that walks over arrays block by block and
asks for new ones here is written once for tables that fit into memory and for tables that do not: pages
of a mapped file go back to disk when memory is short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

NewArray = Callable[[int, DTypeLike], NDArray[Any]]
BLOCK = 1 << 18


def in_memory(num: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return `num` uninitialised numbers in memory."""
    return np.empty(num, dtype)


class DiskArrays:
    """Make arrays as numbered files of one folder, which its owner removes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._num_made = 0

    def path(self) -> Path:
        """Return the path of a file that is not there yet."""
        self._num_made += 1
        return self.folder / f"{self._num_made:03}.bin"

    def __call__(self, num: int, dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of `num` zeros in a new file."""
        return np.memmap(self.path(), dtype, "w+", shape=(num,)) if num else np.empty(0, dtype)


def mapped(path: Path, dtype: DTypeLike, start: int = 0, end: int | None = None) -> NDArray[Any]:
    """Map elements `start` to `end` of a file; changes stay in memory."""
    size = np.dtype(dtype).itemsize
    num = (path.stat().st_size // size if end is None else end) - start
    return np.memmap(path, dtype, "c", offset=start * size, shape=(num,)) if num else np.empty(0, dtype)


def spans(start: int, end: int, size: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Cut start..end into spans of at most `size`."""
    for at in range(start, end, size):
        yield at, min(at + size, end)

"""Many tensors end to end in one buffer: the form in which prepared media are kept.

Enters: tensors of one dtype whose shapes differ at most in the first dimension: images (3, S, S),
log-mel frames (T, F), token ids (T,), features (T, D).
Leaves: `PackedTensors`, in memory or memory-mapped from a folder of three files:

    values.bin    all tensors, end to end, row-major, in this machine's byte order
    lengths.npy   (U,) int64 first dimensions
    layout.json   dtype, the other dimensions, the byte order
"""

from __future__ import annotations

import io
import json
import sys
from array import array
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.commit import disk_error
from sensorium.core.errors import DataError, ModelError

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
    )
}  # fmt: skip


class PackedTensors:
    """U tensors by number; each is a view of one buffer, not a copy.

    Attributes:
        flat: (sum of lengths, *tail) all tensors end to end; None where there are none.
        start_U: (U + 1,) int64, tensor u is flat[start_U[u]:start_U[u + 1]].
    """

    def __init__(self, flat: Tensor | None, length_U: npt.NDArray[np.int64], folder: Path | None = None) -> None:
        self.flat = flat
        self.start_U = np.concatenate([[0], np.cumsum(length_U, dtype=np.int64)]).astype(np.int64)
        self._folder = folder
        self.is_fixed = flat is not None and len(length_U) > 0 and bool((length_U == length_U[0]).all())

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the files in `folder`.

        Raises:
            ModelError: the files are missing, of another machine's byte order, or do not fit each other.
        """
        try:
            layout = json.loads((folder / "layout.json").read_text(encoding="utf-8"))
            length_U = np.load(folder / "lengths.npy", allow_pickle=False)
            dtype, tail, order = layout["dtype"], tuple(layout["tail"]), layout["byte_order"]
            flat = None
            if len(length_U):
                # Copy-on-write: the map looks writable to torch, but no write reaches the file.
                data = np.memmap(folder / "values.bin", np.uint8, "c")
                flat = torch.from_numpy(data).view(_DTYPES[dtype]).view(int(length_U.sum()), *tail)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"prepared values cannot be read: {error}", where=str(folder)) from None
        if order != sys.byteorder:
            raise ModelError(f"prepared values are {order}-endian", where=str(folder))
        return cls(flat, length_U, folder)

    def __len__(self) -> int:
        return len(self.start_U) - 1

    def __getitem__(self, unit: int) -> Tensor:
        """Return tensor `unit`, a view (T, *tail)."""
        if self.flat is None or not 0 <= unit < len(self):
            raise IndexError(f"tensor {unit} of {len(self)}")
        return self.flat[int(self.start_U[unit]) : int(self.start_U[unit + 1])]

    def stack(self, unit_K: npt.NDArray[np.int64]) -> Tensor:
        """Copy K tensors of equal shape into (K, T, *tail); only where `is_fixed`."""
        if self.flat is None:
            raise IndexError("no tensors")
        length = int(self.start_U[1])
        return self.flat.view(len(self), length, *self.flat.shape[1:])[torch.from_numpy(unit_K)]

    @property
    def num_bytes(self) -> int:
        """Return the size of the buffer."""
        return 0 if self.flat is None else self.flat.numel() * self.flat.element_size()

    def __getstate__(self) -> dict[str, Any]:
        if self._folder is not None:
            return {"folder": self._folder}
        # Bytes, since plain pickling of a view would carry its whole storage, and numpy has no bfloat16.
        data = None if self.flat is None else self.flat.contiguous().view(-1).view(torch.uint8).numpy()
        shape, dtype = (None, None) if self.flat is None else (tuple(self.flat.shape), self.flat.dtype)
        return {"folder": None, "data": data, "shape": shape, "dtype": dtype, "length_U": np.diff(self.start_U)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["folder"] is not None:
            self.__dict__.update(PackedTensors.open(state["folder"]).__dict__)
            return
        data = state["data"]
        flat = None if data is None else torch.from_numpy(data).view(state["dtype"]).view(state["shape"])
        self.__init__(flat, state["length_U"])  # type: ignore[misc]


class PackedWriter:
    """Append tensors one by one, in memory or into `folder`.

    Args:
        folder: where the three files go (it exists); None = keep them in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: BinaryIO = io.BytesIO() if folder is None else (folder / "values.bin").open("wb")
        self._lengths = array("q")
        self._dtype: torch.dtype | None = None
        self._tail: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, value: Tensor) -> None:
        """Append one tensor.

        Raises:
            DataError: it has no dimension, or another dtype or tail than the ones before.
            DiskError: no room.
        """
        if self._dtype is None and value.ndim and str(value.dtype).removeprefix("torch.") in _DTYPES:
            self._dtype, self._tail = value.dtype, tuple(value.shape[1:])
        if value.ndim == 0 or value.dtype != self._dtype or tuple(value.shape[1:]) != self._tail:
            raise DataError(
                f"a prepared tensor is {_spell(value.dtype, value.shape)}, "
                f"the others are {_spell(self._dtype, ('T', *self._tail))}",
                advice="a preparer gives one dtype, and shapes that differ in the first dimension alone",
            )
        data = value.detach().contiguous().view(-1).view(torch.uint8).numpy()
        try:
            self._file.write(data.data)
        except OSError as error:
            raise disk_error(error, self._folder or Path()) from error
        self._lengths.append(value.shape[0])

    def finish(self) -> PackedTensors:
        """Close the files and return what they hold.  Raises DiskError."""
        length_U = np.array(self._lengths, np.int64)
        if self._folder is not None:
            self._write_layout(self._folder, length_U)
            return PackedTensors.open(self._folder)
        assert isinstance(self._file, io.BytesIO)
        buffer = self._file.getbuffer()
        if not len(length_U) or self._dtype is None:
            return PackedTensors(None, length_U)
        shape = (int(length_U.sum()), *self._tail)
        if not len(buffer):
            return PackedTensors(torch.empty(shape, dtype=self._dtype), length_U)
        return PackedTensors(torch.frombuffer(buffer, dtype=self._dtype).view(shape), length_U)

    def _write_layout(self, folder: Path, length_U: npt.NDArray[np.int64]) -> None:
        dtype = str(self._dtype or torch.uint8).removeprefix("torch.")
        layout = {"dtype": dtype, "tail": self._tail, "byte_order": sys.byteorder}
        try:
            self._file.close()
            np.save(folder / "lengths.npy", length_U)
            (folder / "layout.json").write_text(json.dumps(layout), encoding="utf-8")
        except OSError as error:
            raise disk_error(error, folder) from error


def _spell(dtype: torch.dtype | None, shape: tuple[int | str, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} ({', '.join(str(size) for size in shape)})"

"""Many tensors end to end in few buffers: the form in which prepared media are kept.

Enters: tensors of one dtype whose shapes differ at most in the first dimension: images (3, S, S),
log-mel frames (T, F), token ids (T,), features (T, D).
Leaves: `PackedTensors`: tensors by number, and several at once, padded; in memory, or mapped from folders
of three files each:

    values.bin    all tensors, end to end, row-major, in this machine's byte order
    lengths.npy   (U,) int64 first dimensions
    layout.json   dtype, the other dimensions, the byte order

Numpy does the gathering: for a batch's few hundred pieces it costs less than torch's thread pool.
"""

from __future__ import annotations

import io
import json
import sys
from array import array
from collections.abc import Sequence
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
_STORED_AS = {"bfloat16": "uint16"}  # numpy has no bfloat16; zero is all bits zero in both


class Segment:
    """One buffer.

    Attributes:
        flat: (sum of lengths, *tail) tensors end to end.
        length_U: (U,) int64 their first dimensions.
        dtype: the torch dtype, by name.
    """

    def __init__(
        self, flat: npt.NDArray[Any], length_U: npt.NDArray[np.int64], dtype: str, folder: Path | None = None
    ) -> None:
        self.flat, self.length_U, self.dtype = flat, length_U, dtype
        self._folder = folder

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the files in `folder`.

        Raises:
            ModelError: the files are missing, of another machine's byte order, or do not fit each other.
        """
        try:
            layout = json.loads((folder / "layout.json").read_text(encoding="utf-8"))
            dtype, tail, order = layout["dtype"], tuple(layout["tail"]), layout["byte_order"]
            length_U = np.load(folder / "lengths.npy", allow_pickle=False)
            shape = (int(length_U.sum()), *tail)
            flat = np.empty(shape, _STORED_AS.get(dtype, dtype))
            if flat.size:  # copy-on-write: the map looks writable to torch, but no write reaches the file
                flat = np.asarray(np.memmap(folder / "values.bin", flat.dtype, "c", shape=shape))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"prepared values cannot be read: {error}", where=str(folder)) from None
        if order != sys.byteorder or dtype not in _DTYPES:
            raise ModelError(f"prepared values are {order}-endian {dtype}", where=str(folder))
        return cls(flat, length_U, dtype, folder)

    def __len__(self) -> int:
        return len(self.length_U)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._folder is None else {"_folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A mapped segment travels to a loader process as its folder, and is mapped there again.
        folder = state["_folder"]
        self.__dict__.update(state if folder is None else Segment.open(folder).__dict__)


class PackedTensors:
    """U tensors by number.

    Args:
        segments: the buffers they lie in; all of one dtype and tail.
        segment_U: (U,) which one.
        position_U: (U,) where in it.

    Attributes:
        length_U: (U,) int64 first dimensions.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        segment_U: npt.NDArray[np.int64],
        position_U: npt.NDArray[np.int64],
    ) -> None:
        self._segments = list(segments)
        self._segment_U = segment_U
        starts = [np.concatenate([[0], np.cumsum(part.length_U)]).astype(np.int64) for part in self._segments]
        self._start_U = np.zeros(len(segment_U), np.int64)
        self.length_U = np.zeros(len(segment_U), np.int64)
        for number, part in enumerate(self._segments):
            here = segment_U == number
            self._start_U[here] = starts[number][position_U[here]]
            self.length_U[here] = part.length_U[position_U[here]]

    @classmethod
    def of(cls, segment: Segment) -> Self:
        """Number the tensors of one segment."""
        return cls([segment], np.zeros(len(segment), np.int64), np.arange(len(segment)))

    def __len__(self) -> int:
        return len(self.length_U)

    def __getitem__(self, unit: int) -> Tensor:
        """Return tensor `unit`, a view (T, *tail)."""
        if not 0 <= unit < len(self):
            raise IndexError(f"tensor {unit} of {len(self)}")
        segment, start = self._segments[int(self._segment_U[unit])], int(self._start_U[unit])
        return _tensor(segment.flat[start : start + int(self.length_U[unit])], segment.dtype)

    def padded(self, unit_K: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Copy K >= 1 tensors into (K, T, *tail), padded with zeros on the right, and their mask (K, T)."""
        length_K = self.length_U[unit_K]
        longest = int(length_K.max())
        first = self._segments[int(self._segment_U[unit_K[0]])]
        is_fixed = bool((length_K == longest).all())
        result = (np.empty if is_fixed else np.zeros)(
            (len(unit_K), longest, *first.flat.shape[1:]), first.flat.dtype
        )
        places = zip(
            self._segment_U[unit_K].tolist(), self._start_U[unit_K].tolist(), length_K.tolist(), strict=True
        )
        for k, (segment, start, length) in enumerate(places):
            result[k, :length] = self._segments[segment].flat[start : start + length]
        return _tensor(result, first.dtype), torch.from_numpy(np.arange(longest) < length_K[:, None])


def _tensor(values: npt.NDArray[Any], dtype: str) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.view(_DTYPES[dtype]) if dtype in _STORED_AS else tensor


class PackedWriter:
    """Append tensors one by one, in memory or into `folder`.

    Args:
        folder: where the three files go (it exists); None = keep them in memory.

    Attributes:
        num_bytes: what has been appended.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: BinaryIO = io.BytesIO() if folder is None else (folder / "values.bin").open("wb")
        self._lengths = array("q")
        self._dtype = ""
        self._tail: tuple[int, ...] = ()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, value: Tensor) -> None:
        """Append one tensor.

        Raises:
            DataError: it has no dimension, or another dtype or tail than the ones before.
            DiskError: no room.
        """
        dtype, tail = str(value.dtype).removeprefix("torch."), tuple(value.shape[1:])
        if not self._lengths:
            self._dtype, self._tail = dtype, tail
        if value.ndim == 0 or dtype not in _DTYPES or (dtype, tail) != (self._dtype, self._tail):
            raise DataError(
                f"a prepared tensor is {dtype} {tuple(value.shape)}, "
                f"where {self._dtype} (T{''.join(f', {size}' for size in self._tail)}) is kept",
                advice="a preparer gives one dtype, and shapes that differ in the first dimension alone",
            )
        data = value.detach().contiguous().view(-1).view(torch.uint8).numpy()
        try:
            self._file.write(data.data)
        except OSError as error:
            raise disk_error(error, self._folder or Path()) from error
        self._lengths.append(value.shape[0])
        self.num_bytes += data.nbytes

    def finish(self) -> Segment:
        """Close the files and return what they hold.  Raises DiskError."""
        length_U = np.array(self._lengths, np.int64)
        dtype = self._dtype or "uint8"
        if self._folder is not None:
            self._write_layout(self._folder, length_U, dtype)
            return Segment.open(self._folder)
        assert isinstance(self._file, io.BytesIO)
        stored = np.dtype(_STORED_AS.get(dtype, dtype))
        shape = (int(length_U.sum()), *self._tail)
        buffer = self._file.getbuffer()
        flat = np.frombuffer(buffer, stored).reshape(shape) if self.num_bytes else np.empty(shape, stored)
        return Segment(flat, length_U, dtype)

    def _write_layout(self, folder: Path, length_U: npt.NDArray[np.int64], dtype: str) -> None:
        layout = {"dtype": dtype, "tail": self._tail, "byte_order": sys.byteorder}
        try:
            self._file.close()
            np.save(folder / "lengths.npy", length_U)
            (folder / "layout.json").write_text(json.dumps(layout), encoding="utf-8")
        except OSError as error:
            raise disk_error(error, folder) from error

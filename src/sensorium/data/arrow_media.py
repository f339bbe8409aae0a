"""Arrow files whose rows hold images and sounds: text cells, and cells that say where the bytes lie.

Enters: an Arrow stream or file, or a Parquet file, as the package `datasets` writes them, with its features in the
schema's metadata.
Leaves: rows of text cells.  A medium's cell is 'FILE::NAME@OFFSET+SIZE' (`sensorium.media.address`): Arrow keeps
bytes as they are, so the gateway can read them from the file itself, and nothing is copied or decoded.  A medium
that the row only names by path is that path.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from sensorium.core.commit import KEPT, committed_folder
from sensorium.core.errors import DataError, DiskError
from sensorium.core.file_state import file_state
from sensorium.data.arrow_cells import Moments, holds_bytes
from sensorium.data.cache_place import cache_place
from sensorium.data.cell_values import cell_of
from sensorium.data.locking import exclusive
from sensorium.data.readers_parquet import first_line
from sensorium.media.address import with_range
from sensorium.media.content_type import HEAD, content_type

logger = logging.getLogger(__name__)

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end mark of an Arrow stream; without it, a reader takes a file that is cut short for a whole one."""
_FILE_MAGIC = b"ARROW1"
_UNSAFE = re.compile(r"[^\w.\-]+")
_ENDINGS = {
    "JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "GIF": ".gif", "TIFF": ".tif", "BMP": ".bmp", "WAV": ".wav",
    "FLAC": ".flac", "Ogg": ".ogg", "MP3": ".mp3", "MP4": ".mp4", "Matroska": ".mkv",
}  # fmt: skip
_KEPT = ".sensorium_arrow"
_ADVICE = "copy or fetch the file again (of a clone: git lfs pull)"


@dataclass(frozen=True)
class ArrowFile:
    """One file of rows.

    Attributes:
        path: the file.
        cell: what cells call it.
        columns: names of the columns that can be cells.
    """

    path: Path
    cell: str
    columns: Sequence[str]
    _labels: Mapping[str, Sequence[str]]

    @classmethod
    def open(cls, path: Path, folder: Path) -> ArrowFile:
        """Read the schema of a file; its cells are relative to `folder` if it lies there.

        Raises:
            DataError: not Arrow, or cut short.
        """
        source = _Source.open(path)
        if source.whole is None and any(is_media(field.type) for field in source.schema):
            source = _Source.open(as_arrow(path))
        is_here = source.path.is_absolute() == folder.is_absolute() and source.path.is_relative_to(folder)
        cell = source.path.relative_to(folder).as_posix() if is_here else str(source.path.resolve())
        columns = [field.name for field in source.schema if is_media(field.type) or not holds_bytes(field.type)]
        left_out = [field.name for field in source.schema if field.name not in columns]
        if left_out:
            logger.warning("%s: columns of raw bytes are left out (%s)", path.name, ", ".join(left_out))
        return cls(source.path, cell, columns, _class_names(source.schema))

    def rows(self) -> Iterator[dict[str, str]]:
        """Go through the rows.  Raises DataError: damaged."""
        import pyarrow

        number = 0
        source = _Source.open(self.path)
        try:
            moments = Moments.of(source.schema, lambda _: _Source.open(self.path).batches)
            for batch in source.batches:
                batch.validate(full=True)  # offsets that point outside would be read as they are
                cells = [
                    self._cells(name, batch.column(name), source.whole, number, moments) for name in self.columns
                ]
                number += batch.num_rows
                for values in zip(*cells, strict=True):
                    yield dict(zip(self.columns, values, strict=True))
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            what = f"cannot be read further after row {number:,}: {first_line(error)}"
            raise DataError(what, where=str(self.path), advice=_ADVICE) from None

    def _cells(self, name: str, array: Any, whole: Any, number: int, moments: Moments) -> list[str]:
        if is_media(array.type):
            return self._media(array, whole, number)
        if name in self._labels:
            return [cell_of(_label(value, self._labels[name])) for value in array.to_pylist()]
        return moments.cells(name, array)

    def _media(self, array: Any, whole: Any, number: int) -> list[str]:
        from pyarrow import types

        if not types.is_struct(array.type):  # a list of media
            start_N = array.offsets.to_numpy()
            parts = self._media(array.values, whole, number)
            lists = [parts[a:b] for a, b in itertools.pairwise(start_N.tolist())]
            return [cell_of(part) if part else "" for part in lists]
        data, paths = array.field("bytes"), array.field("path").to_pylist()
        has_bytes = np.asarray(data.is_valid()) & np.asarray(array.is_valid())
        _, offsets, values = data.buffers()
        kind = np.int64 if types.is_large_binary(data.type) else np.int32
        offset_N = np.frombuffer(offsets, kind)[data.offset : data.offset + len(data) + 1].tolist()
        first = values.address - whole.address if values is not None else 0
        if has_bytes.any() and not 0 <= first <= whole.size - offset_N[-1]:
            raise DataError("is compressed", where=str(self.path), advice="write it without compression")
        cells = []
        for i, (path, is_here) in enumerate(zip(paths, has_bytes.tolist(), strict=True)):
            start, end = offset_N[i], offset_N[i + 1]
            head = memoryview(values)[start : min(end, start + HEAD)].tobytes() if is_here else b""
            name = _name(path or "", head, number + i)
            cells.append(with_range(self.cell, name, first + start, end - start) if is_here else path or "")
        return cells


def is_media(kind: Any) -> bool:
    """Say whether an Arrow type is that of an image or a sound, {bytes, path}, or of a list of them."""
    from pyarrow import types

    if types.is_list(kind):
        return is_media(kind.value_type)
    if not types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    data = kind.field("bytes").type
    return bool(types.is_binary(data) or types.is_large_binary(data))


def as_arrow(parquet_file: Path) -> Path:
    """Return a Parquet file as an Arrow stream, which is kept in a folder beside it until the file changes.

    Raises:
        DataError: not Parquet, cut short or damaged.
        DiskError: no room, or the folder may not be written.
    """
    import pyarrow
    from pyarrow import parquet

    state = ":".join(map(str, [parquet_file.name, *file_state(parquet_file.stat())]))
    key = hashlib.blake2b(state.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    place = cache_place(parquet_file.parent / _KEPT)
    if place is None:
        advice = "grant one of them, or set XDG_CACHE_HOME"
        raise DiskError("neither its folder nor ~/.cache can be written", where=str(parquet_file), advice=advice)
    folder = place / f"{parquet_file.stem}-{key}"
    kept = folder / f"{parquet_file.stem}.arrow"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.parent / f".{folder.name}.lock"):
        if kept.is_file():
            return kept
        with committed_folder(folder, KEPT) as draft:
            try:
                source = parquet.ParquetFile(parquet_file, memory_map=True)
                with pyarrow.ipc.new_stream(str(draft / kept.name), source.schema_arrow) as writer:
                    for batch in source.iter_batches(batch_size=1000):
                        writer.write_batch(batch)
            except (pyarrow.ArrowException, OSError) as error:
                advice = "fetch the file again (git lfs pull)"
                raise DataError(
                    f"cannot be read: {first_line(error)}", where=str(parquet_file), advice=advice
                ) from None
    return kept


class _Source(NamedTuple):
    """An open file: its bytes (None where they are compressed, in Parquet), its schema, its batches."""

    path: Path
    whole: Any
    schema: Any
    batches: Iterator[Any]

    @classmethod
    def open(cls, path: Path) -> _Source:
        import pyarrow
        from pyarrow import parquet

        is_parquet = path.suffix == ".parquet"
        try:
            if is_parquet:
                table = parquet.ParquetFile(path, memory_map=True)
                return cls(path, None, table.schema_arrow, table.iter_batches(batch_size=1000))
            whole = pyarrow.memory_map(str(path)).read_buffer()
            if whole.slice(0, min(len(_FILE_MAGIC), whole.size)).to_pybytes() == _FILE_MAGIC:
                file = pyarrow.ipc.open_file(whole)
                return cls(path, whole, file.schema, map(file.get_batch, range(file.num_record_batches)))
            stream = pyarrow.ipc.open_stream(whole)
        except (pyarrow.ArrowException, OSError) as error:
            what = f"is not {'Parquet' if is_parquet else 'Arrow'}: {first_line(error)}"
            raise DataError(what, where=str(path), advice=_ADVICE) from None
        if whole.slice(whole.size - len(_END)).to_pybytes() != _END:
            raise DataError("is cut short: it has no end mark", where=str(path), advice=_ADVICE)
        return cls(path, whole, stream.schema, iter(stream))


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the labels of each column of them, from what `datasets` notes in the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        labels = {name: _of_labels(feature) for name, feature in features.items()}
        return {name: [str(label) for label in known["names"]] for name, known in labels.items() if known}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _of_labels(feature: Any) -> Any:
    """Return the feature of labels that a column consists of, or its lists do; else None."""
    if isinstance(feature, list) and len(feature) == 1:  # how older versions write a list
        return _of_labels(feature[0])
    if not isinstance(feature, dict):
        return None
    return feature if feature.get("_type") == "ClassLabel" else _of_labels(feature.get("feature"))


def _label(value: Any, names: Sequence[str]) -> Any:
    """Return the name of a label, or the names of a list of them; '' where there is none."""
    if isinstance(value, list):
        return [_label(part, names) for part in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else ""


def _name(path: str, head: bytes, number: int) -> str:
    name = _UNSAFE.sub("_", PurePosixPath(path).name)
    return name if "." in name else f"{name or number}{_ENDINGS.get(content_type(head), '')}"

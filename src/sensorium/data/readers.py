"""Readers: a table on disk -> a stream of rows of text cells, each with its line number.

Enters: the path of a CSV, TSV, JSONL or Parquet file, or of a folder of class folders.
Leaves: `RowStream`: column names, and one `Row` or `BadLine` after the other; never the whole table.

Policies, the same for every format:
- a cell is text; missing (JSON null, NaN, an absent key, a Parquet null) is the empty text;
- numbers, booleans and dates are written as pandas writes them into a CSV file; lists and objects stay what
  they are, to be read by what their column means (`sensorium.data.cell_values`);
- a row that cannot be read is a `BadLine` with its number and reason; a file whose rows cannot be told
  apart (a quote never closed, no header, not UTF-8 at all) is a DataError;
- a cell has no NUL character and at most 10 MB.

A reader named by prefix may have options, written behind the path: 'coco:captions.json?images=../train2017'.
Paths in options start in the table's folder, as those in its cells do; '%26' stands for '&'.

Third parties add a format under the entry-point group "sensorium.readers", named by suffix (".arrow")
or prefix ("coco:"); it is a function from a path, and its options by keyword, to a RowStream.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from sensorium.core import registry
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.names import nearest, nearest_place

ENTRY_POINTS = "sensorium.readers"

_MAY_BE_PACKED = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
"""Files read as text, which their opener unpacks; see `core.text_file`."""

READERS: dict[str, str] = {
    ".csv": "sensorium.data.readers_delimited:read_csv",
    ".tsv": "sensorium.data.readers_delimited:read_tsv",
    ".jsonl": "sensorium.data.readers_json:read_jsonl",
    ".ndjson": "sensorium.data.readers_json:read_jsonl",
    ".json": "sensorium.data.readers_json:read_json",
    ".parquet": "sensorium.data.readers_parquet:read_parquet",
    "folder:": "sensorium.data.readers_folder:read_class_folders",
    "conll:": "sensorium.data.readers_conll:read_conll",
    "lines:": "sensorium.data.readers_lines:read_lines",
    "easy-vqa:": "sensorium.data.readers_easy_vqa:read_easy_vqa",
    "spoken-easy-vqa:": "sensorium.data.readers_easy_vqa:read_spoken_easy_vqa",
    "spoken-captions:": "sensorium.data.readers_spoken_captions:read_spoken_captions",
    "fsdd:": "sensorium.data.readers_fsdd:read_fsdd",
    "av_digits:": "sensorium.data.readers_av_digits:read_av_digits",
    "nlvr:": "sensorium.data.readers_nlvr:read_nlvr",
    "windows:": "sensorium.data.readers_windows:read_windows",
    "coco:": "sensorium.data.readers_coco:read_coco",
    "vqa:": "sensorium.data.readers_vqa:read_vqa",
    "flickr:": "sensorium.data.readers_flickr:read_flickr",
    "commonvoice:": "sensorium.data.readers_commonvoice:read_commonvoice",
    "librispeech:": "sensorium.data.readers_librispeech:read_librispeech",
    "kaldi:": "sensorium.data.readers_kaldi:read_kaldi",
    "webdataset:": "sensorium.data.readers_webdataset:read_webdataset",
    "hf:": "sensorium.data.readers_hf:read_hf",
    "subtitles:": "sensorium.data.readers_subtitles:read_subtitles",
}

HUB = frozenset({"hf:"})
"""Readers whose specs may name something that is no file here; such a name stays as it is."""

_OPTIONS = re.compile(r"\?(\w+=[^?]*)$")

_SHOWN = 80
MAX_CELL_BYTES = 10_000_000


class Row(NamedTuple):
    """One row: its line number from 1 (row number where a format has no lines) and its cells."""

    line: int
    cells: dict[str, str]


class BadLine(NamedTuple):
    """One row that cannot be read, and why."""

    line: int
    message: str


@dataclass(frozen=True)
class RowStream:
    """An open table.

    Attributes:
        columns: the names; where a format has no header the list grows while rows are read.
        rows: the rows, once.
        files: further files that the rows come from, beside the one that the spec names.
    """

    columns: list[str]
    rows: Iterator[Row | BadLine]
    files: tuple[Path, ...] = ()


Reader = Callable[..., RowStream]


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table spec such as 'train.csv' or 'folder:pets' means.

    Attributes:
        name: the spec as messages show it.
        path: the file or folder.
        kind: its name in READERS.
        options: what stands behind '?', by name.
    """

    name: str
    path: Path
    kind: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str, folder: Path) -> TableSpec:
        """Resolve `spec` relative to `folder`.

        Raises:
            ConfigError: no reader for its prefix or suffix.
            DataError: no file can be called so.
        """
        kinds = registry.names(READERS, ENTRY_POINTS)
        for kind in kinds:
            if kind.endswith(":") and spec.startswith(kind):
                rest, options = split_options(spec.removeprefix(kind))
                return cls(spec, _placed(kind, rest, folder), kind, options)
        path = _nameable(spec, folder)
        kind = path.suffix.lower()
        if kind == ".gz" and (packed := Path(path.stem).suffix.lower()) in _MAY_BE_PACKED:
            kind = packed
        if kind in kinds:
            return cls(spec, path, kind)
        if path.is_dir():
            raise ConfigError("is a folder", where=spec, advice=f"for class folders write 'folder:{spec}'")
        raise ConfigError(
            f"no reader for '{path.suffix or path.name}' tables", where=spec, advice=f"known: {', '.join(kinds)}"
        )

    def seen_from(self, folder: Path) -> str:
        """Return the spec that means the same table relative to `folder`."""
        if self.kind in HUB and not self.path.exists():
            return self.name
        prefix = self.kind if self.kind.endswith(":") else ""
        options = _OPTIONS.search(self.name) if prefix else None
        return prefix + os.path.relpath(self.path.resolve(), folder.resolve()) + (options[0] if options else "")

    @property
    def media_folder(self) -> Path:
        """Return the folder that relative paths in the table's cells start from."""
        return self.path if self.path.is_dir() else self.path.parent


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """Part 'captions.json?images=photos&x=y' into the path and its options.

    Raises:
        ConfigError: an option without a name, or given twice.
    """
    found = _OPTIONS.search(text)
    if found is None:
        return text, {}
    pairs = [part.partition("=") for part in found[1].split("&")]
    options = {name: unquote(value) for name, _, value in pairs}
    if len(options) < len(pairs) or not all(name and equals for name, equals, _ in pairs):
        raise ConfigError(f"its options '{found[1]}' cannot be told apart", where=text, advice="write ?a=1&b=2")
    return text[: found.start()], options


def absolute_spec(spec: str, folder: Path) -> str:
    """Make the path of a spec absolute, relative to `folder`; its options, and names on a hub, stay as they are.

    Raises:
        DataError: no file can be called so.
    """
    prefix, colon, rest = spec.partition(":")
    if not colon or "/" in prefix or "\\" in prefix:
        return str(_nameable(spec, folder).resolve())
    text = split_options(rest)[0]
    path = _placed(f"{prefix}:", text, folder)
    return spec if path == Path(text) else f"{prefix}:{path.resolve()}{rest[len(text) :]}"


def _placed(kind: str, text: str, folder: Path) -> Path:
    path = _nameable(text, folder)
    return Path(text) if kind in HUB and not path.exists() else path


def _nameable(text: str, folder: Path) -> Path:
    """Return the path that `text` is.  Raises DataError where the system can have no such file."""
    where = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    try:
        path = folder / Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # for its reader, or whoever writes it, to say
    except OSError as error:
        raise DataError(f"no such table: {error.strerror}", where=where) from None
    except ValueError:
        raise DataError("no such table: its name is no file's name", where=repr(where)) from None
    except RuntimeError as error:
        raise DataError(f"no such table: {error}", where=where) from None
    return path


def open_rows(spec: TableSpec) -> RowStream:
    """Open a table for streaming.

    Raises:
        ConfigError: an option that its reader does not have.
        DataError: no such file, not readable, empty, or not of its format; while rows are read, too.
    """
    reader: Reader = registry.load(READERS, ENTRY_POINTS, spec.kind, where=spec.name)
    _check_options(spec, reader)
    with _told(spec):
        stream = reader(spec.path, **spec.options)
        return replace(stream, rows=_guarded(spec, stream.rows))


def _guarded(spec: TableSpec, rows: Iterator[Row | BadLine]) -> Iterator[Row | BadLine]:
    """Go through the rows; readers are lazy, so files may fail only now."""
    with _told(spec):
        yield from rows


@contextlib.contextmanager
def _told(spec: TableSpec) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        is_it = error.filename is None or str(error.filename) == str(spec.path)
        what = "no such table" if is_it else f"lacks its file '{error.filename}'"
        raise DataError(what, where=str(spec.path), advice=nearest_place(spec.path) if is_it else "") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(spec.path)) from None


def _check_options(spec: TableSpec, reader: Reader) -> None:
    parameters = inspect.signature(reader).parameters.values() if spec.options else ()
    known = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    for name in spec.options:
        if name not in known:
            advice = nearest(name, known) if known else "it has none"
            raise ConfigError(f"'{spec.kind}' tables have no option '{name}'", where=spec.name, advice=advice)


def cell_fault(cell: str) -> str:
    """Return why `cell` is refused, or ''."""
    if "\0" in cell:
        return "holds a NUL character"
    if len(cell) * 4 > MAX_CELL_BYTES and len(cell.encode("utf-8", "surrogatepass")) > MAX_CELL_BYTES:
        return f"is larger than {MAX_CELL_BYTES // 1_000_000} MB"
    if not cell.isascii() and not _is_encodable(cell):
        return "is not valid UTF-8 text"
    return ""


def row_of(line: int, cells: dict[str, str]) -> Row | BadLine:
    """Make the row, or name its first refused cell."""
    for name, cell in cells.items():
        if fault := cell_fault(cell):
            return BadLine(line, f"the cell of '{name}' {fault}")
    return Row(line, cells)


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

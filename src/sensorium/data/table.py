"""A table: random access to rows of text cells, larger than memory if need be.

Enters: a table spec ('train.csv', 'folder:pets'), streamed once through its reader.
Leaves: rows by number, columns as streams, and 'train.csv:812' for every row.

Rows are kept in a row file: each row is its line number and its cells, joined by NUL (which no cell may
hold), in UTF-8; an index holds where each row starts.  Small tables keep both in memory; larger ones
keep them in a folder under `cache` (commit contract, reused until the table changes) or, without a cache,
in unlinked temporary files; either is memory-mapped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sensorium.core.commit import KEPT, committed_folder, verify
from sensorium.core.errors import DataError, ModelError
from sensorium.core.file_state import file_state
from sensorium.core.names import nearest
from sensorium.data.cell_values import MARK, shown
from sensorium.data.list_cells import ListedRows, Means
from sensorium.data.locking import exclusive
from sensorium.data.quarantine import Quarantine
from sensorium.data.readers import Row, TableSpec, open_rows, row_of
from sensorium.data.row_file import RowFile, RowFileWriter
from sensorium.data.written_lists import Written

logger = logging.getLogger(__name__)

_KEPT_BYTES = 32 << 20  # smaller files are read again in about a second
_HOPELESS_ROWS = 1000
_ROW_FILE_VERSION = 4


class Table:
    """Rows of text cells.

    Attributes:
        name: how messages call it.
        columns: column names in order.
        folder: where relative media paths in its cells start.
        quarantine: the rows that could not be read.
        path: what tells it from other tables of its name: its whole path, and its reader's options; '' in memory.
        structured: the columns some of whose cells hold lists or objects; they are shown as JSON, unless `read_as`
            says what they mean.
        written: the columns of texts all of which write lists, and whether there are texts in those.
        num_unreadable: how many of its rows could not be read.
    """

    def __init__(
        self,
        name: str,
        columns: Iterable[str],
        rows: RowFile | ListedRows,
        folder: Path,
        quarantine: Quarantine | None = None,
        path: str = "",
        structured: Collection[str] = (),
        num_unreadable: int = 0,
        written: Mapping[str, bool] | None = None,
    ) -> None:
        self.name = name
        self.written = dict(written or {})
        self.structured = frozenset(structured)
        self.num_unreadable = num_unreadable
        self.path = path
        self.columns = tuple(columns)
        self.folder = folder
        self.quarantine = quarantine if quarantine is not None else Quarantine()
        self._rows = rows
        self._position = {column: i for i, column in enumerate(self.columns, start=1)}

    @classmethod
    def open(
        cls,
        spec: str,
        folder: Path,
        cache: Path | None = None,
        *,
        quarantine: Quarantine | None = None,
        max_bad_fraction: float | None = None,
    ) -> Table:
        """Read the table that `spec` names, relative to `folder`.

        Args:
            cache: keep the row file of a large table here, to open it at once the next time.
            quarantine: collects unreadable rows; by default one that stops at 1 %.
            max_bad_fraction: the share of bad rows that is tolerated in this table; None = the quarantine's.

        Raises:
            ConfigError: no reader for the spec.
            DataError: the table is absent, empty or broken, or too many rows are bad.
            DiskError: no room for the row file.
        """
        parsed = TableSpec.parse(spec, folder)
        quarantine = quarantine if quarantine is not None else Quarantine()
        content = _kept(parsed, cache) if cache and _is_worth_keeping(parsed) else _read(parsed, RowFileWriter())
        short, path = parsed.path.name, _whole_name(parsed)
        for line, message in content.bad:
            quarantine.add(f"{short}:{line}", "", message, path)
        quarantine.opened(path, len(content.rows) + len(content.bad), max_bad_fraction)
        quarantine.check()
        logger.info("%s: %s rows, columns %s", parsed.name, f"{len(content.rows):,}", ", ".join(content.columns))
        return cls(
            short,
            content.columns,
            content.rows,
            parsed.media_folder,
            quarantine,
            path,
            content.structured,
            len(content.bad),
            content.written,
        )

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, str]], folder: Path | None = None, name: str = "rows") -> Table:
        """Build a table from rows in memory; columns in order of first appearance.

        Raises:
            DataError: a cell holds NUL, is too large or is not Unicode text.
        """
        columns: dict[str, None] = {}
        structured: set[str] = set()
        writer = RowFileWriter()
        for number, cells in enumerate(rows, start=1):
            row = row_of(number, dict(cells))
            if not isinstance(row, Row):
                raise DataError(row.message, where=f"{name}:{number}")
            columns.update(dict.fromkeys(row.cells))
            structured.update(name for name, cell in row.cells.items() if cell.startswith(MARK))
            writer.add(number, [row.cells.get(column, "") for column in columns])
        return cls(name, columns, writer.finish(), folder or Path(), structured=structured)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, i: int) -> dict[str, str]:
        """Return row `i` (from 0): every column, missing cells empty.  Raises IndexError."""
        cells = dict.fromkeys(self.columns, "")
        cells.update(zip(self.columns, self._rows[i][1:], strict=False))
        for column in self.structured:
            cells[column] = shown(cells[column])
        return cells

    def where(self, i: int) -> str:
        """Return the place of row `i` in its file, such as 'train.csv:812'."""
        return f"{self.name}:{self._rows[i][0]}"

    def column(self, name: str) -> Iterator[str]:
        """Stream the cells of one column.  Raises DataError: no such column."""
        position = self.position(name)
        cells = (row[position] if position < len(row) else "" for row in self._rows)
        return map(shown, cells) if name in self.structured else cells

    def read_as(self, means: Mapping[str, Means]) -> Table:
        """Return the table with lists in its cells read as `means` says, by column; others are shown as JSON.

        A text of one cell that is a row of its own has the place of that cell's row.
        """
        written = {  # numbers in brackets may be a text, but not where tags and their words are meant
            name for name, has_texts in self.written.items() if has_texts or means.get(name) == "items"
        }
        listed = self.structured | written
        told = {self._position[name]: meaning for name, meaning in means.items() if name in listed}
        if not told:
            return self
        others = self.structured.difference(means)
        rows = ListedRows(self._rows, told, {self._position[name] for name in written})
        return Table(
            self.name, self.columns, rows, self.folder, self.quarantine, self.path, others, self.num_unreadable
        )

    def origin(self, i: int) -> int:
        """Return a number that row `i` shares with the rows of the same cells alone."""
        return self._rows.origin(i)

    def position(self, name: str) -> int:
        """Return where a column stands, from 1.  Raises DataError: no such column."""
        if name in self._position:
            return self._position[name]
        raise DataError(f"no column '{name}'", where=self.name, advice=nearest(name, self.columns, listed="it has"))

    def require(self, columns: Mapping[str, str]) -> None:
        """Refuse the table before anything is read from its rows, if it lacks a column.

        Args:
            columns: column names, by what reads them ("[inputs.photo]").

        Raises:
            DataError: no such column; with the near one, or all that there are.
        """
        for reader, column in columns.items():
            if column not in self._position:
                advice = nearest(column, self.columns, listed="it has")
                raise DataError(f"no column '{column}', which {reader} reads", where=self.name, advice=advice)


@dataclass(frozen=True)
class _Content:
    """What a reader found."""

    columns: Sequence[str]
    rows: RowFile
    bad: Sequence[tuple[int, str]]
    files: Sequence[Path] = ()
    structured: Collection[str] = ()
    written: Mapping[str, bool] = field(default_factory=dict)


def _whole_name(spec: TableSpec) -> str:
    options = "&".join(f"{name}={value}" for name, value in sorted(spec.options.items()))
    return str(spec.path.resolve()) + (f"?{options}" if options else "")


def _read(spec: TableSpec, writer: RowFileWriter) -> _Content:
    stream = open_rows(spec)
    bad: list[tuple[int, str]] = []
    structured: set[str] = set()
    written = Written()
    for row in stream.rows:
        if isinstance(row, Row):
            writer.add(row.line, [row.cells.get(column, "") for column in stream.columns])
            for name, cell in row.cells.items():
                if cell.startswith(MARK):
                    structured.add(name)
            written.see(row.cells)
        else:
            bad.append((row.line, row.message))
            _give_up_early(spec, bad, len(writer))
    return _Content(tuple(stream.columns), writer.finish(), bad, stream.files, structured, dict(written.columns()))


def _give_up_early(spec: TableSpec, bad: Sequence[tuple[int, str]], num_good: int) -> None:
    """Stop reading what is plainly no table, before its bad rows fill the memory."""
    if len(bad) >= _HOPELESS_ROWS and len(bad) > num_good:
        line, message = bad[0]
        raise DataError(
            f"{len(bad):,} of its first {len(bad) + num_good:,} rows cannot be read; the first one {message}",
            where=f"{spec.path.name}:{line}",
        )


def _is_worth_keeping(spec: TableSpec) -> bool:
    return spec.path.is_file() and spec.path.stat().st_size > _KEPT_BYTES


def _kept(spec: TableSpec, cache: Path) -> _Content:
    """Read the table, or reuse the row file that an earlier run kept of its present content."""
    identity = _identity(spec)
    key = "\0".join([str(spec.path.resolve()), *itertools.chain(*sorted(spec.options.items()))])
    folder = cache / "tables" / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    with exclusive(folder.with_suffix(".lock")):
        if folder.is_dir():
            try:
                return _reopen(folder, identity)
            except ModelError as error:
                logger.warning("%s: reading it again, since its kept row file %s", spec.name, error.what)
        with committed_folder(folder, KEPT) as draft:
            content = _read(spec, RowFileWriter(draft))
            states = [[str(file), *_state(file)] for file in content.files]
            facts = {"identity": identity, "columns": content.columns, "bad": content.bad, "files": states}
            lists = {"structured": sorted(content.structured), "written": dict(content.written)}
            (draft / "table.json").write_text(json.dumps(facts | lists), encoding="utf-8")
    return content


def _reopen(folder: Path, identity: Sequence[str | int]) -> _Content:
    verify(folder)
    facts = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    if facts["identity"] != list(identity) or any(_state(Path(file)) != state for file, *state in facts["files"]):
        raise ModelError("is of an older content")
    bad = [(line, message) for line, message in facts["bad"]]
    structured, written = facts["structured"], facts["written"]
    return _Content(facts["columns"], RowFile.open(folder), bad, structured=structured, written=written)


def _identity(spec: TableSpec) -> list[str | int]:
    """Name the file's present content as it is known without reading it."""
    return [_ROW_FILE_VERSION, spec.kind, str(spec.path.resolve()), *_state(spec.path)]


def _state(file: Path) -> list[int]:
    if not file.is_file():
        return []
    return file_state(file.stat())

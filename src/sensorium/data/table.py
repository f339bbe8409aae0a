"""A table: random access to rows of text cells, larger than memory if need be.

Enters: a table spec ('train.csv', 'folder:pets'), streamed once through its reader.
Leaves: rows by number, columns as streams, and 'train.csv:812' for every row.

Rows are kept in a row file: each row is its line number and its cells, joined by NUL (which no cell may
hold), in UTF-8; an index holds where each row starts.  Small tables keep both in memory; larger ones
keep them in a folder under `cache` (commit contract, reused until the table changes) or, without a cache,
in unlinked temporary files; both are memory-mapped.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.data.quarantine import Quarantine
from sensorium.data.readers import BadLine, Row, TableSpec, open_rows, row_of
from sensorium.data.row_file import RowFile, RowFileWriter

logger = logging.getLogger(__name__)


class Table:
    """Rows of text cells.

    Attributes:
        name: how messages call it.
        columns: column names in order.
        folder: where relative media paths in its cells start.
        quarantine: the rows that could not be read.
    """

    def __init__(
        self, name: str, columns: Iterable[str], rows: RowFile, folder: Path, quarantine: Quarantine | None = None
    ) -> None:
        self.name = name
        self.columns = tuple(columns)
        self.folder = folder
        self.quarantine = quarantine if quarantine is not None else Quarantine()
        self._rows = rows
        self._position = {column: i for i, column in enumerate(self.columns, start=1)}

    @classmethod
    def open(
        cls, spec: str, folder: Path, cache: Path | None = None, *, quarantine: Quarantine | None = None
    ) -> Table:
        """Read the table that `spec` names, relative to `folder`.

        Args:
            cache: keep the row file of a large table here, to open it at once the next time.
            quarantine: collects unreadable rows; by default one that stops at 1 %.

        Raises:
            ConfigError: no reader for the spec.
            DataError: the table is absent, empty or broken, or too many rows are bad.
            DiskError: no room for the row file.
        """
        parsed = TableSpec.parse(spec, folder)
        quarantine = quarantine if quarantine is not None else Quarantine()
        stream = open_rows(parsed)
        writer = RowFileWriter()
        num_bad = 0
        short = parsed.path.name
        for row in stream.rows:
            if isinstance(row, BadLine):
                num_bad += 1
                quarantine.add(f"{short}:{row.line}", "", row.message)
            else:
                writer.add(row.line, [row.cells.get(column, "") for column in stream.columns])
        rows = writer.finish()
        quarantine.check(len(rows) + num_bad)
        logger.info("%s: %s rows, columns %s", parsed.name, f"{len(rows):,}", ", ".join(stream.columns))
        return cls(short, stream.columns, rows, parsed.media_folder, quarantine)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, str]], folder: Path | None = None, name: str = "rows") -> Table:
        """Build a table from rows in memory; columns in order of first appearance.

        Raises:
            DataError: a cell holds NUL, is too large or is not Unicode text.
        """
        columns: dict[str, None] = {}
        writer = RowFileWriter()
        for number, cells in enumerate(rows, start=1):
            row = row_of(number, dict(cells))
            if not isinstance(row, Row):
                raise DataError(row.message, where=f"{name}:{number}")
            columns.update(dict.fromkeys(row.cells))
            writer.add(number, [row.cells.get(column, "") for column in columns])
        return cls(name, columns, writer.finish(), folder or Path())

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, i: int) -> dict[str, str]:
        """Return row `i` (from 0): every column, missing cells empty.  Raises IndexError."""
        cells = dict.fromkeys(self.columns, "")
        cells.update(zip(self.columns, self._rows[i][1:], strict=False))
        return cells

    def where(self, i: int) -> str:
        """Return the place of row `i` in its file, such as 'train.csv:812'."""
        return f"{self.name}:{self._rows[i][0]}"

    def column(self, name: str) -> Iterator[str]:
        """Stream the cells of one column.  Raises DataError: no such column."""
        position = self.position(name)
        return (row[position] if position < len(row) else "" for row in self._rows)

    def keys(self, position: int | None) -> Iterator[str]:
        """Stream what identifies each row: its cell at `position`, or all its cells where that is empty."""
        for row in self._rows:
            cell = row[position] if position is not None and position < len(row) else ""
            yield cell or "\0".join(["", *row[1:]])

    def position(self, name: str) -> int:
        """Return where a column stands, from 1.  Raises DataError: no such column."""
        if name in self._position:
            return self._position[name]
        close = difflib.get_close_matches(name, self.columns, n=1, cutoff=0.6)
        advice = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(self.columns) or 'none'}"
        raise DataError(f"no column '{name}'", where=self.name, advice=advice)

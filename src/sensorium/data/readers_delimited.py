"""CSV and TSV -> rows: RFC 4180 quoting, read strictly, with line numbers that stay true.

Enters: UTF-8 text with or without BOM; lines end in LF, CRLF or CR; the first line names the columns.
Leaves: RowStream.  A ragged row, a row that is not UTF-8, holds NUL or breaks quoting is a BadLine.

CSV: the separator is the comma, or the semicolon where the header has semicolons and no comma.
TSV: by IANA's definition a quote is an ordinary character, yet many programs write quoted cells; so the
file is read with quotes if its first MiB parses strictly that way, else without; the choice is logged.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sensorium.core.errors import DataError
from sensorium.data.readers import MAX_CELL_BYTES, MAX_LINE_BYTES, BadLine, Row, RowStream, cell_fault, row_of

logger = logging.getLogger(__name__)

_SNIFF_CHARACTERS = 1 << 20
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_csv(path: Path) -> RowStream:
    """Open a CSV file.  Raises DataError: empty, not UTF-8, or a header with duplicates."""
    with _open(path) as file:
        header = file.readline(MAX_LINE_BYTES)
    delimiter = ";" if ";" in header and "," not in header else ","
    return read_delimited(path, {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL})


def read_tsv(path: Path) -> RowStream:
    """Open a TSV file.  Raises DataError: empty, not UTF-8, or a header with duplicates."""
    with _open(path) as file:
        head = file.read(_SNIFF_CHARACTERS)
    quoting = csv.QUOTE_MINIMAL if _parses_quoted(head) else csv.QUOTE_NONE
    if '"' in head:
        logger.info("%s: quotes are %s", path.name, "cell marks" if quoting == csv.QUOTE_MINIMAL else "characters")
    return read_delimited(path, {"delimiter": "\t", "quoting": quoting})


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        if file.read(2) in _UTF16_MARKS:
            raise DataError("is UTF-16 text", where=str(path), advice="save it as UTF-8")
    # Undecodable bytes become lone surrogates, so that one bad row does not hide the rows after it.
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _parses_quoted(head: str) -> bool:
    """Say whether text that holds quotes is consistent with RFC 4180 quoting by tabs."""
    if '"' not in head:
        return False
    lines = head.splitlines(keepends=True)
    whole = lines if len(head) < _SNIFF_CHARACTERS else lines[:-1]
    widths = set()
    try:
        for cells in csv.reader(whole, delimiter="\t", strict=True):
            widths.add(len(cells))
    except csv.Error as error:
        cut_inside_a_cell = len(head) == _SNIFF_CHARACTERS and "unexpected end" in str(error)
        return cut_inside_a_cell and len(widths - {0}) == 1
    return len(widths - {0}) == 1


def read_delimited(path: Path, dialect: dict[str, Any]) -> RowStream:
    """Open a file of the dialect that is given, in `csv`'s words.  Raises DataError: as `read_csv`."""
    file = _open(path)
    try:
        rows = _LineCountingReader(file, path, dialect)
        columns = _header(rows, path)
    except BaseException:
        file.close()
        raise
    return RowStream(columns, _rows(file, rows, columns))


class _LineCountingReader:
    """Iterate (first line number, cells or the reason there are none) over an open file."""

    def __init__(self, file: TextIO, path: Path, dialect: dict[str, Any]) -> None:
        self._file, self._path, self._dialect = file, path, dialect
        self._csv = csv.reader(self._lines(), strict=True, **dialect)

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                raise DataError(f"a line is longer than {MAX_LINE_BYTES // 1_000_000} MB", where=str(self._path))
            yield line

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while True:
            first = self._csv.line_num + 1
            try:
                cells: list[str] | str = self._next()
            except StopIteration:
                return
            except csv.Error as error:
                cells = self._fault(error, first)
            yield first, cells

    def _next(self) -> list[str]:
        previous = csv.field_size_limit(MAX_CELL_BYTES)  # process-wide, so it is put back at once
        try:
            return next(self._csv)
        finally:
            csv.field_size_limit(previous)

    def _fault(self, error: csv.Error, first: int) -> str:
        """Name a fault inside one row; raise where it hides the rows that follow."""
        text = str(error)
        if "unexpected end of data" in text or "field larger" in text:
            raise DataError(
                "a quoted cell that begins in this row never ends" if "end" in text else "a cell exceeds 10 MB",
                where=f"{self._path.name}:{first}",
                advice='close the quote; inside a quoted cell a quote is written twice ("")',
            )
        return f"its quoting is broken: {text}"


def _header(rows: _LineCountingReader, path: Path) -> list[str]:
    for line, cells in rows:
        if cells and not isinstance(cells, str):
            return _column_names(cells, f"{path.name}:{line}")
        if cells:
            raise DataError(f"the header cannot be read: {cells}", where=f"{path.name}:{line}")
    raise DataError("is empty: it has no header", where=str(path))


def _column_names(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(cells, start=1)]
    for name in names:
        if fault := cell_fault(name):
            raise DataError(f"the header {fault}", where=where, advice="is this a text file in UTF-8?")
        if names.count(name) > 1:
            raise DataError(f"two columns are called '{name}'", where=where, advice="rename one")
    return names


def _rows(file: TextIO, rows: _LineCountingReader, columns: list[str]) -> Iterator[Row | BadLine]:
    width = len(columns)
    with file:
        for line, cells in rows:
            if isinstance(cells, str):
                yield BadLine(line, cells)
            elif not cells:
                continue  # a blank line is no row
            elif len(cells) != width:
                yield BadLine(line, f"has {len(cells)} cells, the header has {width}")
            else:
                yield row_of(line, dict(zip(columns, cells, strict=True)))

"""CSV and TSV -> rows: RFC 4180 quoting, read strictly, with line numbers that stay true.

Enters: UTF-8 text with or without BOM; lines end in LF, CRLF or CR; the first line names the columns.  Before it
may stand the line 'sep=;' that spreadsheets write, which says what parts the cells.
Leaves: RowStream.  A ragged row, a row that is not UTF-8, holds NUL, breaks quoting or is too large is a BadLine.

CSV: the separator is the comma, or the semicolon where that parts the header into more columns.  A header that tabs
or bars part is refused: read by commas, it would be one column.  Where the header's quotes stand behind a blank
('"text", "label"'), blanks behind a separator are no part of a cell.
TSV: by IANA's definition a quote is an ordinary character, yet many programs write quoted cells; so the
file is read with quotes if its first MiB parses strictly that way, else without; the choice is logged.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.core.text_file import MAX_LINE_BYTES, Line
from sensorium.data.readers import BadLine, Row, RowStream, cell_fault, row_of

logger = logging.getLogger(__name__)

_SNIFF_CHARACTERS = 1 << 20
_DIRECTIVE = re.compile(r'("?)sep=([^\w"\r\n])\2*\1\s*', re.IGNORECASE)
_SIGNS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
_ENDINGS = {"\t": ".tsv", ",": ".csv", ";": ".csv", "|": ".csv"}


def read_csv(path: Path) -> RowStream:
    """Open a CSV file.  Raises DataError: empty, not UTF-8, not parted by commas, or a header with duplicates."""
    lines, _ = _beginning(path)
    delimiter = _delimiter(lines, path, ",;")
    dialect = {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL}
    return read_delimited(path, {**dialect, "skipinitialspace": _has_quotes_behind_blanks(lines, delimiter)})


def read_tsv(path: Path) -> RowStream:
    """Open a TSV file.  Raises DataError: empty, not UTF-8, not parted by tabs, or a header with duplicates."""
    lines, is_whole = _beginning(path)
    delimiter = _delimiter(lines, path, "\t")
    quoting = csv.QUOTE_MINIMAL if _parses_quoted(lines, delimiter, is_whole) else csv.QUOTE_NONE
    if any('"' in line for line in lines):
        logger.info("%s: quotes are %s", path.name, "cell marks" if quoting == csv.QUOTE_MINIMAL else "characters")
    return read_delimited(path, {"delimiter": delimiter, "quoting": quoting})


def _beginning(path: Path) -> tuple[list[str], bool]:
    """Return the first lines of a file, and whether they are all of it."""
    text_file.refuse_page(path)
    lines, size = [], 0
    for line in text_file.lines_with_faults(path, keep_ends=True):
        lines.append(line.text)
        size += len(line.text)
        if size >= _SNIFF_CHARACTERS:
            return lines, False
    return lines, True


def _delimiter(lines: Sequence[str], path: Path, usual: str) -> str:
    """Return what parts the cells: what the file says, else that of the `usual` signs which parts the header most.

    Raises:
        DataError: another sign does it better, so that cells would stand in one column.
    """
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return usual[0]
    if told := _DIRECTIVE.fullmatch(lines[first]):
        return told[2]
    width = {sign: _header_width(lines[first:], sign) for sign in _SIGNS}
    best = max(width, key=lambda sign: width[sign])  # of equals the first
    chosen = max(usual, key=lambda sign: width[sign])
    if best in usual or width[best] <= 1 or (best != "\t" and width[chosen] > 1):
        return chosen
    is_one = "one column" if width[chosen] == 1 else "a column with tabs in its name"
    ending = _ENDINGS[best]
    cure = f"save it as {ending}" if ending != path.suffix.lower() else f"write the line 'sep={best}' before it"
    what = f"{is_one}, {lines[first].rstrip()!r}: is it parted by {_SIGNS[best]}?"
    raise DataError(what, where=f"{path.name}:{first + 1}", advice=cure)


def _header_width(lines: Sequence[str], delimiter: str) -> int:
    try:
        return len(next(csv.reader(lines, delimiter=delimiter, strict=True)))
    except csv.Error:
        return 0


def _has_quotes_behind_blanks(lines: Sequence[str], delimiter: str) -> bool:
    header = next((line for line in lines if line.strip() and not _DIRECTIVE.fullmatch(line)), "")
    return re.search(rf'{re.escape(delimiter)} +"[^"\n]*"\s*({re.escape(delimiter)}|$)', header) is not None


def _parses_quoted(lines: Sequence[str], delimiter: str, is_whole: bool) -> bool:
    """Say whether text that holds quotes is consistent with RFC 4180 quoting."""
    if not any('"' in line for line in lines):
        return False
    rows = [line for line in lines if not _DIRECTIVE.fullmatch(line)]
    widths = set()
    try:
        for cells in csv.reader(rows if is_whole else rows[:-1], delimiter=delimiter, strict=True):
            widths.add(len(cells))
    except csv.Error as error:
        cut_inside_a_cell = not is_whole and "unexpected end" in str(error)
        return cut_inside_a_cell and len(widths - {0}) == 1
    return len(widths - {0}) == 1


def read_delimited(path: Path, dialect: dict[str, Any]) -> RowStream:
    """Open a file of the dialect that is given, in `csv`'s words.  Raises DataError: as `read_csv`."""
    rows = _NumberedRows(path, dialect)
    columns = _header(rows, path)
    return RowStream(columns, _rows(rows, columns))


class _TooLongError(csv.Error):
    """A line beyond the cap."""


class _Feed:
    """The lines of a file as `csv.reader` takes them; `number` is that of the last one."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.number = 0
        self._is_first = True

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.number, text, fault = next(self._lines)
        if not text:  # every other line has at least its end
            raise _TooLongError(fault)
        is_directive = self._is_first and _DIRECTIVE.fullmatch(text)
        self._is_first = self._is_first and not text.strip()
        return "\n" if is_directive else text


class _NumberedRows:
    """Iterate (first line number, cells or the reason there are none) over a file."""

    def __init__(self, path: Path, dialect: dict[str, Any]) -> None:
        self._path = path
        self._feed = _Feed(text_file.lines_with_faults(path, keep_ends=True))
        self._csv = csv.reader(self._feed, strict=True, **dialect)

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while True:
            first = self._feed.number + 1
            try:
                cells: list[str] | str = self._next()
            except StopIteration:
                return
            except _TooLongError as error:
                cells = str(error)
            except csv.Error as error:
                cells = self._fault(error, first)
            yield first, cells

    def _next(self) -> list[str]:
        # Process-wide, so it is put back at once.  It is that of lines: a cell beyond its own cap is a bad row.
        previous = csv.field_size_limit(MAX_LINE_BYTES)
        try:
            return next(self._csv)
        finally:
            csv.field_size_limit(previous)

    def _fault(self, error: csv.Error, first: int) -> str:
        """Name a fault inside one row; raise where it hides the rows that follow."""
        text = str(error)
        if "unexpected end of data" in text or "field larger" in text:
            what = "never ends" if "end" in text else f"is longer than {MAX_LINE_BYTES // 1_000_000} MB"
            raise DataError(
                f"a quoted cell that begins in this row {what}",
                where=f"{self._path.name}:{first}",
                advice='close the quote; inside a quoted cell a quote is written twice ("")',
            )
        return f"its quoting is broken: {text}"


def _header(rows: _NumberedRows, path: Path) -> list[str]:
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


def _rows(rows: _NumberedRows, columns: list[str]) -> Iterator[Row | BadLine]:
    width = len(columns)
    for line, cells in rows:
        if isinstance(cells, str):
            yield BadLine(line, cells)
        elif not cells:
            continue  # a blank line is no row
        elif len(cells) != width:
            yield BadLine(line, f"has {len(cells)} cells, the header has {width}")
        else:
            yield row_of(line, dict(zip(columns, cells, strict=True)))

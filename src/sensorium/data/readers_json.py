"""JSON -> rows: one object a line, or one list of objects; the columns are the keys in order of first appearance.

Enters: UTF-8 text with or without BOM; blank lines are no rows.  A list of objects is one value, which is held in
memory, and its rows are counted from 1; what goes on for long belongs in lines.
Leaves: RowStream whose `columns` grow as new keys appear.  Anything but one object with distinct keys is
a BadLine.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.core.text_file import Line
from sensorium.data.cell_values import cell_of
from sensorium.data.readers import BadLine, Row, RowStream, row_of


def read_jsonl(path: Path) -> RowStream:
    """Open a file of objects, one a line, or of one list of objects.

    Raises:
        DataError: the file is empty, no text in UTF-8, a page of HTML, or begins a list that is not JSON.
    """
    text_file.refuse_page(path)
    lines = text_file.lines_with_faults(path)
    first = next((line for line in lines if line.fault or line.text.strip()), None)
    if first is None:
        raise DataError("is empty", where=str(path))
    rows = _listed(path) if first.text.lstrip().startswith("[") else _lines(itertools.chain([first], lines))
    names: list[str] = []
    return RowStream(names, _named(rows, names))


def read_json(path: Path) -> RowStream:
    """Open a `.json` file, as `read_jsonl`.

    Raises:
        DataError: as there; or the whole file is one object, which has no rows.
    """
    text_file.refuse_page(path)
    lines = (line.text for line in text_file.lines_with_faults(path) if line.text.strip())
    first, second = next(lines, "["), next(lines, None)
    if not first.lstrip().startswith("[") and (second is None or isinstance(_row(1, first), BadLine)):
        advice = "write a list of objects, or one object a line (pandas: to_json(orient='records', lines=True))"
        raise DataError("is one JSON object, not rows", where=str(path), advice=advice)
    return read_jsonl(path)


def _named(rows: Iterator[Row | BadLine], names: list[str]) -> Iterator[Row | BadLine]:
    """Yield the rows; `names` grows as new keys appear."""
    columns: dict[str, None] = {}
    for row in rows:
        if isinstance(row, Row):
            for name in row.cells:
                if name not in columns:
                    columns[name] = None
                    names.append(name)
        yield row


def _lines(lines: Iterator[Line]) -> Iterator[Row | BadLine]:
    for number, text, fault in lines:
        if fault:
            yield BadLine(number, fault)
        elif text.strip():
            yield _row(number, text)


def _listed(path: Path) -> Iterator[Row | BadLine]:
    """Yield the objects of the list that a file is; numbered from 1."""
    try:
        values = json.loads(text_file.whole(path), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is no JSON list: {error}", where=str(path), advice="write one object a line") from None
    for number, value in enumerate(values, start=1):
        yield _checked(number, value)


def _row(number: int, text: str) -> Row | BadLine:
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        return BadLine(number, f"is not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return BadLine(number, "is nested too deeply")
    except ValueError as error:  # a key twice, or an integer of thousands of digits
        return BadLine(number, str(error))
    return _checked(number, value)


def _checked(number: int, value: Any) -> Row | BadLine:
    if not isinstance(value, dict):
        return BadLine(number, f"is a JSON {type(value).__name__}, not an object")
    return row_of(number, {key: cell_of(cell) for key, cell in value.items()})


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("has a key twice")
    return value

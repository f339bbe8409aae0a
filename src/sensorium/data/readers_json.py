"""JSONL -> rows: one JSON object a line, UTF-8; the columns are the keys in order of first appearance.

Enters: UTF-8 text with or without BOM; blank lines are no rows.
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
    """Open a JSONL file.  Raises DataError: the file is empty, or no text in UTF-8."""
    lines = text_file.lines_with_faults(path)
    first = next(lines, None)
    if first is None:
        raise DataError("is empty", where=str(path))
    columns: dict[str, None] = {}
    names: list[str] = []
    return RowStream(names, _rows(itertools.chain([first], lines), columns, names))


def _rows(lines: Iterator[Line], columns: dict[str, None], names: list[str]) -> Iterator[Row | BadLine]:
    for number, text, fault in lines:
        if fault:
            yield BadLine(number, fault)
            continue
        if not text.strip():
            continue
        row = _row(number, text)
        if isinstance(row, Row):
            for name in row.cells:
                if name not in columns:
                    columns[name] = None
                    names.append(name)
        yield row


def _row(number: int, text: str) -> Row | BadLine:
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        return BadLine(number, f"is not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return BadLine(number, "is nested too deeply")
    except ValueError as error:  # a key twice, or an integer of thousands of digits
        return BadLine(number, str(error))
    if not isinstance(value, dict):
        return BadLine(number, f"is a JSON {type(value).__name__}, not an object")
    return row_of(number, {key: cell_of(cell) for key, cell in value.items()})


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("has a key twice")
    return value

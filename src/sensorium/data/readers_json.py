"""JSONL -> rows: one JSON object a line, UTF-8; the columns are the keys in order of first appearance.

Enters: UTF-8 text with or without BOM; blank lines are no rows.
Leaves: RowStream whose `columns` grow as new keys appear.  Anything but one object with distinct keys is
a BadLine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sensorium.core.errors import DataError
from sensorium.data.readers import MAX_LINE_BYTES, BadLine, Row, RowStream, row_of

_BOM = b"\xef\xbb\xbf"


def read_jsonl(path: Path) -> RowStream:
    """Open a JSONL file.  Raises DataError: the file is empty."""
    file = path.open("rb")
    if file.read(len(_BOM)) != _BOM:
        file.seek(0)
    if path.stat().st_size <= file.tell():
        file.close()
        raise DataError("is empty", where=str(path))
    columns: dict[str, None] = {}
    names: list[str] = []
    return RowStream(names, _rows(file, columns, names))


def json_cell(value: Any) -> str:
    """Return a JSON value as a cell: text as it is, null and NaN empty, all else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return json.dumps(value, ensure_ascii=False)


def _rows(file: BinaryIO, columns: dict[str, None], names: list[str]) -> Iterator[Row | BadLine]:
    with file:
        for number, line in _lines(file):
            if line is None:
                yield BadLine(number, f"is longer than {MAX_LINE_BYTES // 1_000_000} MB")
                continue
            if not line.strip():
                continue
            row = _row(number, line)
            if isinstance(row, Row):
                for name in row.cells:
                    if name not in columns:
                        columns[name] = None
                        names.append(name)
            yield row


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number the lines from 1; None stands for a line beyond the cap, which is skipped over."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        else:
            yield number, line


def _row(number: int, line: bytes) -> Row | BadLine:
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        return BadLine(number, f"is not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadLine(number, f"is not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return BadLine(number, "is nested too deeply")
    except ValueError as error:  # a key twice, or an integer of thousands of digits
        return BadLine(number, str(error))
    if not isinstance(value, dict):
        return BadLine(number, f"is a JSON {type(value).__name__}, not an object")
    return row_of(number, {key: json_cell(cell) for key, cell in value.items()})


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("has a key twice")
    return value

"""Parquet -> rows, one record batch at a time, by pyarrow (extra `parquet`).

Cells: text as it is; null and NaN empty; numbers, booleans, lists and structs as JSON; dates, times and
decimals as text.  Columns of raw bytes cannot be text cells: they are left out, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.data.readers import BadLine, Row, RowStream, row_of
from sensorium.data.readers_json import json_cell

logger = logging.getLogger(__name__)

_BATCH_ROWS = 4096


def read_parquet(path: Path) -> RowStream:
    """Open a Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: not Parquet, or two columns of one name.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(
            "reading Parquet needs pyarrow", where=str(path), advice="pip install 'sensorium[parquet]'"
        ) from None
    with path.open("rb"):
        pass  # an absent or forbidden file is the caller's OSError, not an Arrow error
    try:
        file = parquet.ParquetFile(path, memory_map=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"is not Parquet: {first_line(error)}", where=str(path)) from None
    columns = _text_columns(file.schema_arrow, path)
    return RowStream(columns, _rows(file, columns, path))


def _text_columns(schema: Any, path: Path) -> list[str]:
    names = [field.name for field in schema]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two columns are called '{name}'", where=str(path), advice="rename one")
    raw = [field.name for field in schema if holds_bytes(field.type)]
    if raw:
        logger.warning(
            "%s: columns of raw bytes are left out (%s); of images and sounds, 'hf:FOLDER' reads them",
            path.name,
            ", ".join(raw),
        )
    return [name for name in names if name not in raw]


def holds_bytes(kind: Any) -> bool:
    """Say whether an Arrow type holds bytes that are not text."""
    from pyarrow import types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    children = [kind.field(i) for i in range(kind.num_fields)]
    return any(holds_bytes(child.type) for child in children)


def _rows(file: Any, columns: list[str], path: Path) -> Iterator[Row | BadLine]:
    import pyarrow

    number = 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            cells = [text_cells(batch.column(name)) for name in columns]
            for values in zip(*cells, strict=True):
                number += 1
                yield row_of(number, dict(zip(columns, values, strict=True)))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        where = f"{path.name}:{number + 1}"
        raise DataError(f"cannot be read further: {first_line(error)}", where=where) from None
    finally:
        file.close()


def text_cells(column: Any) -> list[str]:
    """Turn an Arrow column into text cells."""
    return [value if isinstance(value, str) else _cell(value) for value in column.to_pylist()]


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return json_cell(value)
    return json_cell(_plain(value))


def _plain(value: Any) -> Any:
    """Turn what JSON does not know (dates, decimals) into text, inside lists and structs too."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def first_line(error: BaseException) -> str:
    """Return what an error says, without its traces."""
    return (str(error).splitlines() or [type(error).__name__])[0]

"""Parquet -> rows, one record batch at a time, by pyarrow (extra `parquet`).

Cells: as pandas writes the same frame into a CSV file (`sensorium.data.arrow_cells`); lists and structs keep what
they are (`sensorium.data.list_cells`).  Columns of raw bytes cannot be text cells: they are left out, and the log
says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.data.arrow_cells import Moments, holds_bytes
from sensorium.data.readers import BadLine, Row, RowStream, row_of
from sensorium.media.content_type import HEAD, sniffed

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
        with path.open("rb") as start:
            kind = sniffed(start.read(HEAD)).kind
        raise DataError(f"is not Parquet but {kind}: {first_line(error)}", where=str(path)) from None
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


def _rows(file: Any, columns: list[str], path: Path) -> Iterator[Row | BadLine]:
    import pyarrow

    number = 0
    try:
        schema = file.schema_arrow
        moments = Moments.of(schema, lambda names: file.iter_batches(batch_size=_BATCH_ROWS, columns=list(names)))
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            cells = [moments.cells(name, batch.column(name)) for name in columns]
            for values in zip(*cells, strict=True):
                number += 1
                yield row_of(number, dict(zip(columns, values, strict=True)))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        where = f"{path.name}:{number + 1}"
        raise DataError(f"cannot be read further: {first_line(error)}", where=where) from None
    finally:
        file.close()


def first_line(error: BaseException) -> str:
    """Return what an error says, without its traces."""
    return (str(error).splitlines() or [type(error).__name__])[0]

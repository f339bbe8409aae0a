"""Tables that are made here: rows out as CSV, and media paths that stay true in another folder."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sensorium.core.commit import write_atomic
from sensorium.core.errors import UsageError
from sensorium.data.table import Table

_LOOKED_AT = 20


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> int:
    """Write rows as CSV in one go; returns their number.  Raises DiskError."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    number = 0
    for row in rows:
        writer.writerow(row)
        number += 1
    write_atomic(path, text.getvalue().encode("utf-8"))
    return number


def require_new(path: Path, option: str = "--out") -> None:
    """Refuse to write over what is there.  Raises UsageError."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError("exists already", where=str(path), advice=f"choose another {option}")


def media_columns(table: Table) -> set[str]:
    """Name the columns whose first filled cells are all files that are there."""
    found = set()
    for name in table.columns:
        cells = list(itertools.islice((cell for cell in table.column(name) if cell.strip()), _LOOKED_AT))
        if cells and all(_is_file(table.folder, cell) for cell in cells):
            found.add(name)
    return found


def moved(cell: str, old: Path, new: Path) -> str:
    """Rewrite a media path relative to folder `old` as one relative to `new`; absolute ones stay."""
    if not cell.strip() or Path(cell).is_absolute():
        return cell
    return Path(os.path.relpath((old / cell).resolve(), new.resolve())).as_posix()


def _is_file(folder: Path, cell: str) -> bool:
    try:
        return (folder / cell).is_file()
    except (OSError, ValueError):  # a text too long for a name, or no name at all
        return False

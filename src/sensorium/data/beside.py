"""What published layouts keep beside a table: a folder of images, a second file.

Enters: the table, what the user named (relative to the table's folder), the places where it usually lies.
Leaves: its path; and cells that name files in it, relative to the table's folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sensorium.core.errors import DataError


def folder_beside(table: Path, given: str, places: Sequence[str], option: str) -> Path:
    """Return the folder that was named, or else the first of `places` that there is.

    Args:
        given: as the option says, '' = not named.
        places: relative to the table's folder.
        option: what the option is called, for messages.

    Raises:
        DataError: there is none.
    """
    for place in (given,) if given else places:
        if (table.parent / Path(place).expanduser()).is_dir():
            return table.parent / Path(place).expanduser()
    raise _not_found(table, given, places, f"the folder of its {option}", f"?{option}=FOLDER")


def file_beside(table: Path, given: str, places: Sequence[str], option: str) -> Path | None:
    """Return the file that was named, or else the first of `places` that there is, or None.

    Raises:
        DataError: the one that was named is not there.
    """
    for place in (given,) if given else places:
        if (table.parent / Path(place).expanduser()).is_file():
            return table.parent / Path(place).expanduser()
    if given:
        raise _not_found(table, given, places, f"the file of its {option}", f"?{option}=FILE")
    return None


def cell_prefix(folder: Path, table: Path) -> str:
    """Return what a cell of `table` writes before the name of a file in `folder`."""
    relative = Path(os.path.relpath(folder, table.parent)).as_posix()
    return "" if relative == "." else f"{relative}/"


def _not_found(table: Path, given: str, places: Sequence[str], what: str, advice: str) -> DataError:
    tried = f"'{given}'" if given else ", ".join(f"'{place}'" for place in places)
    return DataError(
        f"{what} is not there (tried {tried})",
        where=str(table),
        advice=f"write {advice} behind it, seen from the folder it lies in",
    )

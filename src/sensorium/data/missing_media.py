"""When none of an input's files is there, their paths start elsewhere: say where.

Enters: what an input's cells name, and the table's folder.
Leaves: the cure, as a clause; '' where any file is there.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from sensorium.core.types import Item, Media

_SOUGHT_NAMES = 20
_SEEN_FILES = 200_000
"""So many files are looked at, a second's work; further ones are not."""


def cure_of_missing(name: str, items: Iterable[Item], folder: Path, table: Path) -> str:
    """Say how the files of input `name` would be found, if none of them is where its cells say.

    Args:
        folder: where relative paths start now.
        table: the folder of the table, below which the files are sought.
    """
    missing: list[Path] = []
    for item in items:
        if not isinstance(item, Media) or item.path is None or os.path.exists(item.path):  # noqa: PTH110  any name
            return ""
        missing.append(item.path)
    if not missing:
        return ""
    told = f"none of the {len(missing):,} files that '{name}' names is there"
    found = _found_below(table, missing[:_SOUGHT_NAMES])
    if found is None:
        return f"{told}: set folder in [data] to the folder that their paths start in"
    path, file = found
    return f"{told}: {_cure(path, file, folder, table)}"


def _cure(path: Path, file: Path, folder: Path, table: Path) -> str:
    written = path.relative_to(folder) if path.is_relative_to(folder) else path
    depth = len(written.parts)
    if not written.is_absolute() and _alike("/".join(file.parts[-depth:])) == _alike(written.as_posix()):
        return f'set folder = "{Path(*file.parts[:-depth])}" in [data]'
    return f"a file of that name is '{file}': write paths as seen from '{table}', or set folder in [data]"


def _found_below(folder: Path, missing: list[Path]) -> tuple[Path, Path] | None:
    """Return a missing path, and a file below `folder` that agrees with the end of it the longest."""
    sought = {_alike(path.name): path for path in reversed(missing)}
    hits = (
        (sought[key], file) for file in islice(_files(folder), _SEEN_FILES) if (key := _alike(file.name)) in sought
    )
    return max(islice(hits, _SOUGHT_NAMES), key=lambda hit: _num_common(*hit), default=None)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files)


def _num_common(path: Path, file: Path) -> int:
    pairs = zip(reversed(path.parts), reversed(file.parts), strict=False)
    differs = (i for i, (one, other) in enumerate(pairs) if _alike(one) != _alike(other))
    return next(differs, min(len(path.parts), len(file.parts)))


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()

"""How a table's cell names a medium: a file, a part of one, or some seconds of either.

    clips/a.flac                              a file
    lecture.mp4#t=12.5,17                     its seconds 12.5 to 17; '#t=12.5' from there on, '#t=,17' up to there
    shard-000.tar::000123.jpg                 a member of a tar archive
    data.arrow::000123.jpg@1536+20480         the 20,480 bytes from byte 1,536 on; the name is for readers

Enters: a cell, and the folder that relative paths start in.  Leaves: a `Media`.
A file that really is called so comes first.  Times are in seconds, as in W3C Media Fragments URI 1.0, 4.2.1.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sensorium.core.errors import MediaError

if TYPE_CHECKING:  # core.types imports torch, which a loader process need not pay for
    from sensorium.core.types import Media

MEMBER = "::"
_SPAN = re.compile(r"#t=(?:npt:)?(\d+(?:\.\d+)?)?(?:,(\d+(?:\.\d+)?))?$")
_RANGE = re.compile(r"@(\d{1,18})\+(\d{1,18})$")


def media_at(cell: str, folder: Path) -> Media:
    """Return the medium that `cell` names, relative to `folder`.

    Raises:
        MediaError: seconds that end before they begin.
    """
    from sensorium.core.types import Media

    name, span_s = cell.strip(), None
    if ("#t=" in name or MEMBER in name) and not (folder / name).is_file():
        name, span_s = _span(name)
        path, _, member = name.partition(MEMBER)
        return Media(path=folder / path, member=member, span_s=span_s)
    return Media(path=folder / name)


def with_span(cell: str, start_s: float, end_s: float | None) -> str:
    """Return `cell` with the seconds that are meant of it; from 0 to the end is all of it."""
    if not start_s and end_s is None:
        return cell
    return f"{cell}#t={_seconds(start_s)}" + ("" if end_s is None else f",{_seconds(end_s)}")


def with_range(cell: str, name: str, offset: int, num_bytes: int) -> str:
    """Return the cell that names some bytes of the file that `cell` names."""
    return f"{cell}{MEMBER}{name}@{offset}+{num_bytes}"


def range_of(member: str) -> tuple[int, int] | None:
    """Return the first byte and the number of bytes that a member's name states, if it does."""
    found = _RANGE.search(member)
    return (int(found[1]), int(found[2])) if found else None


def ending(cell: str) -> str:
    """Return the file name ending of what a cell names, such as '.jpg'; in lower case, '' where there is none."""
    name = _RANGE.sub("", _SPAN.sub("", cell.strip()))
    return PurePosixPath(name.rpartition(MEMBER)[2]).suffix.lower()


def _span(name: str) -> tuple[str, tuple[float, float | None] | None]:
    found = _SPAN.search(name)
    if found is None or not (found[1] or found[2]):
        return name, None
    start_s, end_s = float(found[1] or 0), float(found[2]) if found[2] else None
    if end_s is not None and end_s <= start_s:
        raise MediaError(f"names the seconds {start_s:g} to {end_s:g}, which are none", where=f"'{name}'")
    return name[: found.start()], (start_s, end_s)


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")

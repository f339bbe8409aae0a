"""How a table's cell names a medium: a file, a part of one, or some seconds of either.

    clips/a.flac                              a file
    lecture.mp4#t=12.5,17                     its seconds 12.5 to 17; '#t=12.5' from there on, '#t=,17' up to there
    shard-000.tar::000123.jpg                 a member of a tar archive
    data.arrow::000123.jpg@1536+20480         the 20,480 bytes from byte 1,536 on; the name is for readers

Enters: a cell, and the folder that relative paths start in.  Leaves: a `Media`.
A file that really is called so comes first.  Paths are also read as other programs write them, where there is such
a file: in quotes, with backslashes, as file: addresses, with %20, below ~, and in the other normal form of Unicode
(tables made on macOS).  Nothing is fetched from the web.
Times are in seconds, as in W3C Media Fragments URI 1.0, 4.2.1.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from sensorium.core.errors import MediaError

if TYPE_CHECKING:  # core.types imports torch, which a loader process need not pay for
    from sensorium.core.types import Media

MEMBER = "::"
_SPAN = re.compile(r"#t=(?:npt:)?(\d+(?:\.\d+)?)?(?:,(\d+(?:\.\d+)?))?$")
_WEB = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://|data:[^,]*,", re.IGNORECASE)
_FILE = re.compile(r"file:(//(localhost)?(?=/))?/*", re.IGNORECASE)
_FOREIGN = re.compile(r"^[\"'~]|\\|%[0-9A-F]{2}|^file:", re.IGNORECASE)
_FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
_RANGE = re.compile(r"@(\d{1,18})\+(\d{1,18})$")


def media_at(cell: str, folder: Path) -> Media:
    """Return the medium that `cell` names, relative to `folder`.

    Raises:
        MediaError: seconds that end before they begin, or an address in the web.
    """
    from sensorium.core.types import Media

    name, span_s = cell.strip(), None
    if ("#t=" in name or MEMBER in name) and not _is_file(folder / name):
        name, span_s = _span(name)
        path, _, member = name.partition(MEMBER)
        return Media(path=_placed(path, folder), member=member, span_s=span_s)
    return Media(path=_placed(name, folder))


def _placed(name: str, folder: Path) -> Path:
    """Return the path that a name means: as it stands, or as another program wrote it if that is a file."""
    if _WEB.match(name):
        advice = "download it and name the file"
        raise MediaError("is a web address, and nothing is fetched", where=f"'{name[:200]}'", advice=advice)
    if not _FOREIGN.search(name) and (name.isascii() or not _has_two_forms(name)):
        return folder / name
    found = next(filter(_is_file, (folder / reading for reading in _readings(name))), None)
    if found is None and _FILE.match(name):
        advice = "write the path alone, as seen from the table's folder, or set folder in [data]"
        raise MediaError("no such file", where=f"'{name[:200]}'", advice=advice)
    return folder / name if found is None else found


def _readings(name: str) -> Iterator[str]:
    """Give what a name may mean, step by step further from what is written."""
    yield name
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        yield (name := name[1:-1].strip())
    if _FILE.match(name):
        yield (name := unquote(_FILE.sub("/", name)))
    if "\\" in name:
        yield (name := name.replace("\\", "/"))
    if name.startswith("~/"):
        yield (name := os.path.expanduser(name))  # noqa: PTH111  without a home it stays as it is
    if "%" in name:
        yield (decoded := unquote(name))
        yield from (unicodedata.normalize(form, decoded) for form in _FORMS)
    yield from (unicodedata.normalize(form, name) for form in _FORMS)


def _has_two_forms(name: str) -> bool:
    return len({unicodedata.normalize(form, name) for form in _FORMS}) > 1


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  False for any name, where Path raises at one that is too long


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
    name = _RANGE.sub("", _SPAN.sub("", cell.strip())).strip("\"'")
    if _WEB.match(name):
        name = re.split(r"[?#]", name)[0]
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

"""Tar archives: where each member lies in the file; nothing is unpacked.

Enters: an open archive, untrusted.  Leaves: `Member`s, regular files with a safe name alone.
The `tarfile` module reads the headers.  It is told no more than `MAX_HEADER` bytes of one, or a forged length could
fill the memory; and it stops in silence at a damaged header, so the end mark is looked for here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from sensorium.core.errors import MediaError

MAX_HEADER = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5": "zstd"}


class Member(NamedTuple):
    """A file in an archive: its name, where its bytes begin, and how many there are."""

    name: str
    offset: int
    num_bytes: int


def members(file: BinaryIO) -> Iterator[Member | str]:
    """Go through the members in order; one that is not to be opened is a text that says why.

    Folders are passed over.

    Raises:
        MediaError: no tar archive, a compressed one, cut short, or damaged.
    """
    headers = _Headers(file)
    _check_kind(file)
    last = "its beginning"
    try:
        archive: Any
        with tarfile.open(fileobj=cast(Any, headers), mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # else it keeps every header
                last = f"member '{info.name}'"
                if info.isdir():
                    continue
                if info.offset_data + info.size > headers.size and info.isreg():
                    raise MediaError(f"is cut short in {last}")
                yield _fault(info) or Member(info.name, info.offset_data, info.size)
            _check_end(file, archive.offset, last)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise MediaError(f"is damaged or cut short after {last}: {error}") from None


def find(file: BinaryIO, name: str) -> Member:
    """Return the member called `name`.  Raises MediaError: there is none, or as `members`."""
    found: Member | None = None
    for member in members(file):
        if isinstance(member, Member) and member.name.removeprefix("./") == name.removeprefix("./"):
            found = member  # of several the last counts, as when tar unpacks them
    if found is None:
        raise MediaError(f"has no member '{name}' that may be opened")
    return found


class _Headers:
    """A file for `tarfile`, which reads headers from it and nothing long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)

    def read(self, num_bytes: int = -1) -> bytes:
        if not 0 <= num_bytes <= MAX_HEADER:
            raise tarfile.ReadError(f"a header states a length of {num_bytes:,} bytes")
        return self._file.read(num_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _check_kind(file: BinaryIO) -> None:
    head = file.read(4)
    file.seek(0)
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise MediaError(f"is compressed ({kind})", advice="decompress it: places in it cannot be gone to")


def _fault(info: tarfile.TarInfo) -> str:
    path = PurePosixPath(info.name)
    if not info.isreg() or info.issparse():
        return f"member '{info.name}' is a link, a device or sparse, not a plain file"
    if path.is_absolute() or ".." in path.parts:
        return f"member '{info.name}' has a name that leads out of the archive"
    return ""


def _check_end(file: BinaryIO, offset: int, last: str) -> None:
    file.seek(offset)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise MediaError(f"is cut short after {last}: it has no end mark")
    if any(block):
        raise MediaError(f"is damaged after {last}, at byte {offset:,}: the next header is none")

"""Directories of tags, as TIFF files are made of and EXIF blocks too.

Enters: bytes that begin with a TIFF header.  Leaves: the entries of one directory, none decoded.
Source: TIFF 6.0, section 2; BigTIFF; EXIF 2.32, section 4.6.
Decoders read every entry's payload, and nothing in the format keeps a thousand entries from naming
the same megabytes; a directory whose payloads exceed its file is therefore refused here, beforehand.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sensorium.core.errors import MediaError

ORIENTATION = 0x0112
SUBDIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability
MAX_ENTRIES = 4096

# Bytes a value, by type code.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag: its type code, number of values, and where its payload lies."""

    code: int
    count: int
    start: int
    size: int

    def is_inside(self, data: bytes) -> bool:
        """Say whether the whole payload is there."""
        return self.start + self.size <= len(data)


def order_of(data: bytes) -> str:
    """Return the byte order for `struct`: '<' or '>'."""
    return ">" if data[:2] == b"MM" else "<"


def read_directory(data: bytes, at: int | None = None) -> dict[int, Entry] | None:
    """Read the directory at byte `at`, or the first one; None where the bytes end before it does.

    Raises:
        MediaError: more tags, or larger ones, than such a file can hold.
    """
    order = order_of(data)
    is_big = data[2:4] in (b"+\0", b"\0+")
    offset_code, count_code, width = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    inline = struct.calcsize(order + offset_code)
    try:
        first = struct.unpack_from(order + offset_code, data, 8 if is_big else 4)[0] if at is None else at
        num_entries = struct.unpack_from(order + count_code, data, first)[0]
        if num_entries > MAX_ENTRIES:
            raise MediaError(f"declares {num_entries:,} tags in one directory, more than any real file")
        table = first + struct.calcsize(order + count_code)
        entries: dict[int, Entry] = {}
        for place in range(table, table + num_entries * width, width):
            tag, code, count = struct.unpack_from(f"{order}HH{offset_code}", data, place)
            size = count * _SIZES.get(code, 1)
            start = place + 4 + inline
            if size > inline:
                start = struct.unpack_from(order + offset_code, data, start)[0]
            entries[tag] = Entry(code, count, start, size)
    except struct.error:
        return None
    inside = sum(entry.size for entry in entries.values() if entry.is_inside(data))
    if inside > len(data):
        raise MediaError(f"declares {inside:,} bytes of tags in {len(data):,} bytes of file: they overlap")
    return entries


def integers(data: bytes, entry: Entry) -> tuple[int, ...]:
    """Decode an entry of unsigned integers; empty where it is of another type or cut off."""
    code = _INTEGERS.get(entry.code)
    if code is None or not entry.is_inside(data):
        return ()
    return struct.unpack_from(f"{order_of(data)}{entry.count}{code}", data, entry.start)


def orientation(exif: bytes) -> int:
    """Read the orientation, 1..8, of an EXIF block; 0 where it states none.

    One that is no orientation counts as upright.

    Raises:
        MediaError: a block made to exhaust memory.
    """
    entries = read_directory(exif) if exif[:2] in (b"II", b"MM") else None
    if not entries or ORIENTATION not in entries:
        return 0
    values = integers(exif, entries[ORIENTATION])
    return values[0] if len(values) == 1 and 1 <= values[0] <= 8 else 1

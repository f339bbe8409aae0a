"""Two files that share keys, joined while both are read.

Enters: a stream of (key, record), and keys in the order of another file.  Leaves: the record of each key.
Published pairs of files list their keys in one order, and then nothing but the present record is in memory;
records that come before their key is asked for wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Joined(Generic[T]):
    """Give out the records of a stream by key, each once.

    Attributes:
        repeated: keys that came again while their first record waited; the first one counts.
    """

    def __init__(self, records: Iterator[tuple[str, T]]) -> None:
        self._records = records
        self._waiting: dict[str, T] = {}
        self.repeated: list[str] = []

    def pop(self, key: str) -> T | None:
        """Return the record of `key`, None where there is none or it was taken already."""
        if key in self._waiting:
            return self._waiting.pop(key)
        for other, record in self._records:
            if other == key:
                return record
            if other in self._waiting:
                self.repeated.append(other)
            else:
                self._waiting[other] = record
        return None

    def rest(self) -> Iterator[tuple[str, T]]:
        """Go through the records that nobody asked for."""
        yield from self._waiting.items()
        self._waiting = {}
        yield from self._records

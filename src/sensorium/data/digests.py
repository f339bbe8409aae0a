"""What is this file's content? SHA-256, remembered by (path, size, times of writing and of change, inode).

Enters: media.  Leaves: 64 hex digits each, or the reason why one cannot be read.
The memo is a small SQLite file in the cache, safe for many processes; a broken one is made anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sensorium.core.errors import SensoriumError
from sensorium.core.file_state import file_state
from sensorium.core.types import Item, Media
from sensorium.media.bytes import require_allowed, span_digests
from sensorium.media.policy import MediaPolicy

T = TypeVar("T")

logger = logging.getLogger(__name__)

_NUM_THREADS = 4  # hashing and reading both release the interpreter
_UNSETTLED_NS = 2_000_000_000  # a file changed this recently may change again within one clock tick
_CHUNK = 900  # SQLite once allowed 999 values in a query
_SCHEMA = "CREATE TABLE IF NOT EXISTS digest (path BLOB PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)"


class DigestMemo:
    """Digest media, reading only files that are new or have changed.

    Args:
        path: the SQLite file; made when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def digests(self, items: Sequence[Item], policy: MediaPolicy | None = None) -> Iterator[str | SensoriumError]:
        """Yield each medium's digest, or the error that reading it raised."""
        for first in range(0, len(items), _CHUNK):
            chunk = [items[i] for i in range(first, min(first + _CHUNK, len(items)))]
            yield from self._digest_chunk(chunk, policy)

    def _digest_chunk(self, items: Sequence[Item], policy: MediaPolicy | None) -> list[str | SensoriumError]:
        states = [_state(item) for item in items]
        known = self._recall([path for path, state in states if state])
        answers: list[str | SensoriumError | None] = [known.get(place) for place in states]
        missing = [i for i, answer in enumerate(answers) if answer is None]
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            # What is known of a file says nothing of whether it may be opened today.
            answers = list(pool.map(lambda item, known: _allowed(item, known, policy), items, answers))
            together = _by_content(items, missing)
            found = pool.map(lambda some: _digests([items[i] for i in some], policy), together)
        fresh = {
            i: new for some, each in zip(together, found, strict=True) for i, new in zip(some, each, strict=True)
        }
        self._remember([(*states[i], new) for i, new in fresh.items() if isinstance(new, str)])
        for i, new in fresh.items():
            answers[i] = new
        return [answer for answer in answers if answer is not None]

    def _recall(self, paths: Sequence[bytes]) -> dict[tuple[bytes, str], str]:
        marks = ",".join("?" * len(paths))
        query = f"SELECT path, state, sha256 FROM digest WHERE path IN ({marks})"
        none: list[tuple[bytes, str, str]] = []
        rows = self._ask(lambda database: database.execute(query, paths).fetchall(), none)
        return {(path, state): sha256 for path, state, sha256 in rows}

    def _remember(self, rows: Sequence[tuple[bytes, str, str]]) -> None:
        rows = [row for row in rows if row[1]]
        if rows:
            self._ask(
                lambda database: database.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", rows), None
            )

    def _ask(self, ask: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Ask the memo; what goes wrong with it costs time, never the run."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._path, timeout=30)) as database, database:
                database.execute(_SCHEMA)
                return ask(database)
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s: %s; files are digested anew", self._path, error)
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self._path.unlink(missing_ok=True)  # not a database, or a broken one
            return otherwise


def _allowed(
    item: Item, known: str | SensoriumError | None, policy: MediaPolicy | None
) -> str | SensoriumError | None:
    if known is None or policy is None or not isinstance(item, Media):
        return known
    try:
        require_allowed(item, policy)
    except SensoriumError as error:
        return error.at(str(item))
    return known


def _by_content(items: Sequence[Item], numbers: Sequence[int]) -> list[list[int]]:
    """Put together the numbers of items that are spans of one file: a recording may have thousands of them."""
    groups: dict[object, list[int]] = {}
    for i in numbers:
        item = items[i]
        is_file = isinstance(item, Media) and item.path is not None
        groups.setdefault((item.path, item.member) if is_file else i, []).append(i)  # type: ignore[union-attr]
    return list(groups.values())


def _digests(items: Sequence[Item], policy: MediaPolicy | None) -> Sequence[str | SensoriumError]:
    """Digest the spans of one medium."""
    media = [item for item in items if isinstance(item, Media)]
    try:
        return span_digests(media[0], [one.span_s for one in media], policy)
    except SensoriumError as error:
        if len(media) == 1:
            return [error]
        return [_digests([one], policy)[0] for one in media]  # each error names its own span


def _state(item: Item) -> tuple[bytes, str]:
    """Return a medium's absolute address and the state of its file; an empty state is not to be remembered."""
    if not isinstance(item, Media) or item.path is None:
        return b"", ""
    try:
        path = os.fsencode(item.path.absolute())
        if item.member or item.span_s is not None:
            path += os.fsencode(f"\0{item.member}\0{item.span_s}")
        status = item.path.stat()
    except (OSError, ValueError):
        return b"", ""
    state = file_state(status)
    is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _UNSETTLED_NS
    return path, ":".join(map(str, state)) if is_settled else ""

"""Quarantine: bad rows are named, counted and set aside; too many of them stop the run.

Enters: the table, the place, the input and the reason of each bad row, as it is found.
Leaves: a log line for the first ones, a JSONL list, counts, and a DataError once more than the tolerated
share of *one table's* rows are bad: a large table hides no small one that is all bad.  A table is known by its
path, since two files in two folders may have one name, and so the same 'train.csv:812'.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from sensorium.core.commit import disk_error, write_atomic
from sensorium.core.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

_LOGGED_SINGLY = 10  # further ones are counted and listed, not logged one by one
_SHOWN = 3  # rows named in the error that stops a run


@dataclass(frozen=True, slots=True)
class BadRow:
    """One fault: where ('train.csv:812'), the input it concerns ('' = the whole row), and why."""

    where: str
    input: str
    message: str
    table: str = ""
    """The whole path of its table; '' where rows are not of a file."""

    def __str__(self) -> str:
        return f"{self.where} {self.input}: {self.message}" if self.input else f"{self.where}: {self.message}"


class Quarantine:
    """Collect bad rows.

    Args:
        max_fraction: the largest share of bad rows that is tolerated in each table, 0..1; 1 = all of them may be.
        path: a JSONL file that lists them as they are found; None = no list on disk.
        stops: False only lists: no share of bad rows is an error, whatever a table's own limit says.
    """

    def __init__(self, max_fraction: float = 0.01, path: Path | None = None, *, stops: bool = True) -> None:
        if not 0 <= max_fraction <= 1:
            raise ConfigError(f"the tolerated share of bad rows is between 0 and 1, not {max_fraction}")
        self.max_fraction = max_fraction
        self.path = path
        self._stops = stops
        self._bad: dict[tuple[str, str, str], BadRow] = {}
        self._places: dict[str, set[str]] = defaultdict(set)
        self._num_rows: Counter[str] = Counter()
        self._limits: dict[str, float] = {}
        self._cures: dict[str, str] = {}

    def __len__(self) -> int:
        """Count bad rows; a row with two bad inputs is one bad row."""
        return sum(map(len, self._places.values()))

    def __bool__(self) -> bool:
        return True  # an empty quarantine is still a quarantine: `given or Quarantine()` keeps it

    def __iter__(self) -> Iterator[BadRow]:
        """Go through them; where two tables are called alike, a place begins with the whole path."""
        tables_of = defaultdict(set)
        for bad in self._bad.values():
            tables_of[bad.where.rpartition(":")[0]].add(bad.table)
        for bad in self._bad.values():
            name, _, line = bad.where.rpartition(":")
            is_shared = len(tables_of[name]) > 1 and bad.table
            yield dataclasses.replace(bad, where=f"{bad.table}:{line}") if is_shared else bad

    @property
    def count(self) -> int:
        """Count bad rows."""
        return len(self)

    @property
    def counts(self) -> dict[str, int]:
        """Count faults by input name; '' counts rows that could not be read at all."""
        return dict(Counter(bad.input for bad in self._bad.values()))

    def add(self, where: str, input: str, message: str, table: str = "") -> None:
        """Set a row aside; the same place and input of a table again is counted once.  Raises DiskError."""
        key = (table, where, input)
        if key in self._bad:
            return
        bad = BadRow(where, input, message, table)
        self._bad[key] = bad
        self._places[table].add(where)
        self._list(bad)
        if len(self._bad) <= _LOGGED_SINGLY:
            logger.warning("quarantined %s", bad)
        elif len(self._bad) == _LOGGED_SINGLY + 1:
            logger.warning("quarantined more than %d; further ones are only listed", _LOGGED_SINGLY)

    def saw(self, num_rows: int, table: str = "") -> None:
        """Count rows of a table, good and bad, among which its bad ones are judged."""
        self._num_rows[table] += num_rows

    def opened(self, table: str, num_rows: int, max_fraction: float | None = None) -> None:
        """Say how many rows a whole table has, good and bad; opening it again changes nothing.

        Args:
            max_fraction: the share that is tolerated in this table, if it is another one.
        """
        self._num_rows[table] = num_rows
        if max_fraction is not None:
            self._limits[table] = max(max_fraction, self._limits.get(table, 0.0))

    def cure(self, table: str, cure: str) -> None:
        """Say what is to be done about a table's bad rows, where that is known."""
        self._cures.setdefault(table, cure)

    def cure_of(self, table: str) -> str:
        """Return what is to be done about a table's bad rows."""
        return self._cures.get(table, "mend or remove them, or raise max_bad_fraction in [data]")

    def check(self) -> None:
        """Stop when more rows of a table are bad than are tolerated in it, unless all are only to be listed.

        Raises:
            DataError: with the count, the first few rows and the way to see the rest.
        """
        if self._stops:
            self.judge()

    def judge(self) -> None:
        """Say whether a run would stop here.  Raises DataError, as `check`."""
        for table, places in self._places.items():
            limit = self._limits.get(table, self.max_fraction)
            if len(places) > limit * self._num_rows[table]:
                self._stop(table, limit)

    def _stop(self, table: str, limit: float) -> NoReturn:
        rows = [bad for bad in self if bad.table == table]
        shown = "; ".join(map(str, rows[:_SHOWN]))
        more = f"; and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
        told = _told(rows, len(self._places[table]), self._num_rows[table])
        raise DataError(
            f"{told}, more than the {100 * limit:.3g} % that are tolerated: {shown}{more}",
            where=Path(table).name,
            advice=f"{self.cure_of(table)}; `sensorium check` lists all",
        )

    def num_bad(self, table: str) -> int:
        """Count the bad rows of one table."""
        return len(self._places.get(table, ()))

    def summary(self) -> str:
        """Return one clause such as '3 of 20,000 rows quarantined (photo: 2, unreadable: 1)'."""
        return _told(self._bad.values(), len(self), sum(self._num_rows.values()))

    def write(self, path: Path) -> None:
        """Write all bad rows to a JSONL file: where, input, message.  Raises DiskError."""
        write_atomic(path, b"".join(map(_line, self._bad.values())))

    def _list(self, bad: BadRow) -> None:
        if self.path is None:
            return
        try:
            # The first one begins the list anew, so that a resumed run does not list rows twice.
            with self.path.open("wb" if len(self._bad) == 1 else "ab") as file:
                file.write(_line(bad))
        except OSError as error:
            raise disk_error(error, self.path) from error


def _told(rows: Collection[BadRow], num_bad: int, num_rows: int) -> str:
    clause = f"{num_bad:,} of {num_rows:,} rows quarantined"
    counts = Counter(bad.input for bad in rows)
    parts = ", ".join(f"{name or 'unreadable'}: {count:,}" for name, count in sorted(counts.items()))
    return f"{clause} ({parts})" if parts else clause


def _line(bad: BadRow) -> bytes:
    facts = {key: value for key, value in asdict(bad).items() if key != "table" or value}
    return (json.dumps(facts, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

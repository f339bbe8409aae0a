"""Quarantine: bad rows are named, counted and set aside; too many of them stop the run.

Enters: the place, the input and the reason of each bad row, as it is found.
Leaves: a log line for the first ones, a JSONL list, counts, and a DataError once more than
`max_fraction` of all rows are bad.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

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

    def __str__(self) -> str:
        return f"{self.where} {self.input}: {self.message}" if self.input else f"{self.where}: {self.message}"


class Quarantine:
    """Collect bad rows.

    Args:
        max_fraction: the largest share of bad rows a run tolerates, 0..1.
        path: a JSONL file that lists them as they are found; None = no list on disk.
    """

    def __init__(self, max_fraction: float = 0.01, path: Path | None = None) -> None:
        if not 0 <= max_fraction <= 1:
            raise ConfigError(f"the tolerated share of bad rows is between 0 and 1, not {max_fraction}")
        self.max_fraction = max_fraction
        self.path = path
        self._bad: dict[tuple[str, str], BadRow] = {}
        self._places: set[str] = set()
        self._num_rows = 0

    def __len__(self) -> int:
        """Count bad rows; a row with two bad inputs is one bad row."""
        return len(self._places)

    def __bool__(self) -> bool:
        return True  # an empty quarantine is still a quarantine: `given or Quarantine()` keeps it

    def __iter__(self) -> Iterator[BadRow]:
        return iter(self._bad.values())

    @property
    def count(self) -> int:
        """Count bad rows."""
        return len(self)

    @property
    def counts(self) -> dict[str, int]:
        """Count faults by input name; '' counts rows that could not be read at all."""
        return dict(Counter(bad.input for bad in self._bad.values()))

    def add(self, where: str, input: str, message: str) -> None:
        """Set a row aside; the same place and input again is counted once.  Raises DiskError."""
        key = (where, input)
        if key in self._bad:
            return
        bad = BadRow(where, input, message)
        self._bad[key] = bad
        self._places.add(where)
        self._list(bad)
        if len(self._bad) <= _LOGGED_SINGLY:
            logger.warning("quarantined %s", bad)
        elif len(self._bad) == _LOGGED_SINGLY + 1:
            logger.warning("quarantined more than %d; further ones are only listed", _LOGGED_SINGLY)

    def saw(self, num_rows: int) -> None:
        """Count rows, good and bad, among which the bad ones are judged."""
        self._num_rows += num_rows

    def check(self) -> None:
        """Stop when more than `max_fraction` of all rows seen are bad.

        Raises:
            DataError: with the count, the first few rows and the way to see the rest.
        """
        if len(self) <= self.max_fraction * self._num_rows:
            return
        shown = "; ".join(str(bad) for bad in itertools.islice(self, _SHOWN))
        more = f"; and {len(self._bad) - _SHOWN:,} more" if len(self._bad) > _SHOWN else ""
        raise DataError(
            f"{self.summary()}, more than the {100 * self.max_fraction:.3g} % that are tolerated: {shown}{more}",
            advice="mend or remove them, or raise max_bad_fraction in [data]; `sensorium check` lists all",
        )

    def summary(self) -> str:
        """Return one clause such as '3 of 20,000 rows quarantined (photo: 2, unreadable: 1)'."""
        clause = f"{len(self):,} of {self._num_rows:,} rows quarantined"
        parts = ", ".join(f"{name or 'unreadable'}: {count:,}" for name, count in sorted(self.counts.items()))
        return f"{clause} ({parts})" if parts else clause

    def write(self, path: Path) -> None:
        """Write all bad rows to a JSONL file: where, input, message.  Raises DiskError."""
        write_atomic(path, b"".join(_line(bad) for bad in self))

    def _list(self, bad: BadRow) -> None:
        if self.path is None:
            return
        try:
            # The first one begins the list anew, so that a resumed run does not list rows twice.
            with self.path.open("wb" if len(self._bad) == 1 else "ab") as file:
                file.write(_line(bad))
        except OSError as error:
            raise disk_error(error, self.path) from error


def _line(bad: BadRow) -> bytes:
    return (json.dumps(asdict(bad), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

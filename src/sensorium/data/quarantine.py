"""Quarantine: bad rows are named, counted and set aside; too many of them stop the run.

Enters: the place, the input and the reason of each bad row, as it is found.
Leaves: a log line for the first ones, a JSONL list, counts, and a DataError once more than `limit` of
all rows are bad.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sensorium.core.commit import write_atomic
from sensorium.core.errors import DataError

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
        limit: the largest share of bad rows a run tolerates, 0..1.
    """

    def __init__(self, limit: float = 0.01) -> None:
        if not 0 <= limit <= 1:
            raise ValueError(f"limit is a share between 0 and 1, not {limit}")
        self.limit = limit
        self._bad: dict[tuple[str, str], BadRow] = {}
        self._places: set[str] = set()

    def __len__(self) -> int:
        """Count bad rows; a row with two bad inputs is one bad row."""
        return len(self._places)

    def __iter__(self) -> Iterator[BadRow]:
        return iter(self._bad.values())

    @property
    def counts(self) -> dict[str, int]:
        """Count faults by input name; '' counts rows that could not be read at all."""
        return dict(Counter(bad.input for bad in self._bad.values()))

    def add(self, where: str, input: str, message: str) -> None:
        """Set a row aside; the same place and input again is counted once."""
        key = (where, input)
        if key in self._bad:
            return
        bad = BadRow(where, input, message)
        self._bad[key] = bad
        self._places.add(where)
        if len(self._bad) <= _LOGGED_SINGLY:
            logger.warning("quarantined %s", bad)
        elif len(self._bad) == _LOGGED_SINGLY + 1:
            logger.warning("quarantined more than %d rows; further ones are only listed", _LOGGED_SINGLY)

    def extend(self, bad_rows: Iterable[BadRow]) -> None:
        """Set several rows aside."""
        for bad in bad_rows:
            self.add(bad.where, bad.input, bad.message)

    def check(self, num_rows: int) -> None:
        """Stop when more than `limit` of `num_rows` rows (good and bad together) are bad.

        Raises:
            DataError: with the count, the first few rows and the way to see the rest.
        """
        if len(self) <= self.limit * num_rows:
            return
        shown = "; ".join(str(bad) for bad in list(self)[:_SHOWN])
        more = f"; and {len(self._bad) - _SHOWN:,} more" if len(self._bad) > _SHOWN else ""
        raise DataError(
            f"{self.summary(num_rows)}, more than the {self.limit:.3g} share that is tolerated: {shown}{more}",
            advice="mend or remove them, or raise the limit in [data]; `sensorium check --bad` lists all",
        )

    def summary(self, num_rows: int) -> str:
        """Return one clause such as '3 of 20,000 rows quarantined (photo: 2, unreadable: 1)'."""
        if not self._bad:
            return f"0 of {num_rows:,} rows quarantined"
        parts = ", ".join(f"{name or 'unreadable'}: {count:,}" for name, count in sorted(self.counts.items()))
        return f"{len(self):,} of {num_rows:,} rows quarantined ({parts})"

    def write(self, path: Path) -> None:
        """Write all bad rows to a JSONL file: where, input, message.  Raises DiskError."""
        lines = (json.dumps(asdict(bad), ensure_ascii=False) + "\n" for bad in self)
        write_atomic(path, "".join(lines).encode("utf-8", "backslashreplace"))

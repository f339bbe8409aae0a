"""What was left out of rows or cut, counted once and said alike by everything that reads rows.

Enters: counts, made where rows are read (`Corpus`).  Leaves: `Omissions`: plain facts, and clauses for people.
Training, checking, judging, answering, comparing and Python all say these, so none of them can forget one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sensorium.core.errors import UsageError

NO_TARGET = "rows without target"
NO_INPUT = "rows without any input"
CUT_TARGETS = "targets cut short"
QUARANTINED = "rows quarantined"
UNREADABLE = "rows that could not be read"
BEYOND = "rows beyond the first that were asked for"
UNJUDGED = "rows not judged, since there was no time"

BEYOND_FRACTION = "table rows left out by train_fraction"


def of_no_part(column: str) -> str:
    """Name the count of a table's rows that its column of parts gives to none."""
    return f"table rows that '{column}' gives to no part"


def of_named_part(column: str, part: str) -> str:
    """Name the count of a table's rows that its column gives to a part for which another table is named."""
    return f"table rows that '{column}' gives to {part}, for which another table is named"


def without(name: str) -> str:
    """Name the count of rows that lack an input."""
    return f"rows without {name}"


def cut_items(name: str) -> str:
    """Name the count of an input's items that were longer than it takes."""
    return f"{name} items cut to their longest length"


def media_beyond(name: str) -> str:
    """Name the count of an input's media that were more than a row may have."""
    return f"{name} media beyond the most a row may have"


@dataclass(frozen=True)
class Omissions:
    """Counts of what was left out, cut or absent.

    Attributes:
        num_rows: rows that were asked for, those left out included.
        counts: by what they count, zeros included.
    """

    num_rows: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Say whether there is anything to be said."""
        return any(self.counts.values())

    def plus(self, what: str, count: int, *, more_rows: int = 0) -> Omissions:
        """Return these counts and more of one kind; `more_rows` were not among the rows asked for yet."""
        counts = {**self.counts, what: self.counts.get(what, 0) + count}
        return Omissions(self.num_rows + more_rows, counts)

    def facts(self) -> dict[str, int]:
        """Return what there is to be said, as plain values."""
        return {what: count for what, count in self.counts.items() if count}

    def clauses(self) -> list[str]:
        """Return one clause a count, such as '100 of 200 rows without target' or '1 target cut short'."""
        return [self._clause(what, count) for what, count in self.facts().items()]

    def beyond(self, num_judged: int, num_usable: int) -> Omissions:
        """Return these counts and the usable rows beyond the first `num_judged`."""
        return self.plus(BEYOND, num_usable - num_judged) if num_judged < num_usable else self

    def unjudged(self, count: int) -> Omissions:
        """Return these counts and the rows that there was no time for."""
        return self.plus(UNJUDGED, count) if count else self

    def __str__(self) -> str:
        return ", ".join(self.clauses())

    def _clause(self, what: str, count: int) -> str:
        if what.startswith("rows "):
            return f"{count:,} of {self.num_rows:,} {what}"
        return f"{count:,} {_singular(what) if count == 1 else what}"


def omitted(cut: Iterable[Collection[str]], num_unreadable: int = 0) -> Omissions:
    """Count what answers say of their rows.

    Args:
        cut: for each row, the inputs that were cut.
        num_unreadable: rows of the same table that could not be read.
    """
    tally = CutTally()
    for names in cut:
        tally.add(names)
    return tally.omissions(num_unreadable)


@dataclass
class CutTally:
    """Count what answers say of their rows as they come, so that a table may be as long as it is."""

    num_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, names: Collection[str]) -> None:
        """Count a row some of whose inputs were cut."""
        self.num_rows += 1
        self.counts.update(map(cut_items, names))

    def omissions(self, num_unreadable: int = 0) -> Omissions:
        """Return what was counted, and rows of the same table that could not be read."""
        return Omissions(self.num_rows, self.counts).plus(UNREADABLE, num_unreadable, more_rows=num_unreadable)


def counts_by_part(parts: Mapping[str, Omissions]) -> dict[str, int]:
    """Return what there is to be said of all parts of a run, by what and part, as plain values."""
    return {f"{what} ({part})": count for part, one in parts.items() for what, count in one.facts().items()}


def clauses_by_part(parts: Mapping[str, Omissions]) -> list[str]:
    """Return the clauses of all parts of a run, such as '100 of 200 rows without target (train)'."""
    return [f"{clause} ({part})" for part, one in parts.items() for clause in one.clauses()]


def rows_asked(max_rows: int | None, num_rows: int) -> int:
    """Return how many of the first rows are asked for: at most `max_rows`; None = all.

    Raises:
        UsageError: fewer than one.
    """
    if max_rows is not None and max_rows < 1:
        raise UsageError(f"max_rows = {max_rows} leaves no row", advice="1 or more; None takes all")
    return num_rows if max_rows is None else min(max_rows, num_rows)


def _singular(what: str) -> str:
    for many, one in (
        ("targets ", "target "),
        ("table rows", "table row"),
        (" items ", " item "),
        ("their longest", "its longest"),
    ):
        what = what.replace(many, one)
    return what

"""Pair the rows of two tables by what they have in common: `sensorium synth pairs`.

Enters: two tables and the columns that must agree (a label; the split, too, so that nothing crosses it).
Leaves: a table with both rows' columns.  Each row of the first gets rows of the second with the same key, dealt
out like cards: shuffled by the seed, and none a second time before all have been used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.core.commit import require_free
from sensorium.core.errors import DataError, UsageError
from sensorium.data.synthesis.tables import media_columns, moved, write_table
from sensorium.data.table import Table


@dataclass(frozen=True, slots=True)
class Paired:
    """What was written: rows, and how many rows of the first table found no partner."""

    num_rows: int
    num_alone: int


def parse_key(text: str) -> tuple[str, str]:
    """Read "label" (in both tables) or "digit=label" (first=second)."""
    left, _, right = text.partition("=")
    return left, right or left


def pair_tables(
    first: Table, second: Table, on: Sequence[tuple[str, str]], out: Path, *, seed: int = 0, each: int = 1
) -> Paired:
    """Write to `out` every row of `first`, `each` times, beside rows of `second` with equal cells in `on`.

    Columns of `second` that `first` has too, the key's aside, are called NAME_2.

    Raises:
        UsageError: no key, or `out` is there.
        DataError: a column is missing, or no two rows agree.
        DiskError: no room.
    """
    require_free(out)
    if not on:
        raise UsageError("rows are paired by a column that both tables have", advice="--on label")
    for left, right in on:
        first.position(left)
        second.position(right)
    partners = _deal(second, [right for _, right in on], seed)
    names = _names(first, second, {right for _, right in on})
    num_alone = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_alone
        both = (_Mover(first, out.parent), _Mover(second, out.parent))
        for i in range(len(first)):
            cells = first.row(i)
            dealt = partners.get(tuple(cells[left] for left, _ in on))
            if dealt is None:
                num_alone += 1
                continue
            for _ in range(each):
                other = both[1].moved(second.row(next(dealt)))
                yield both[0].moved(cells) | {new: other[old] for old, new in names.items()}

    num_rows = write_table(out, [*first.columns, *names.values()], rows())
    if not num_rows:
        out.unlink()
        key = ", ".join(left if left == right else f"{left}={right}" for left, right in on)
        raise DataError(f"no two rows of {first.name} and {second.name} agree in {key}")
    return Paired(num_rows, num_alone)


def _deal(table: Table, columns: Sequence[str], seed: int) -> dict[tuple[str, ...], Iterator[int]]:
    rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in range(len(table)):
        cells = table.row(i)
        key = tuple(cells[column] for column in columns)
        if all(cell.strip() for cell in key):  # blank is no label: two blanks do not agree
            rows[key].append(i)
    return {key: _dealt(rows[key], np.random.default_rng([seed, n])) for n, key in enumerate(sorted(rows))}


def _dealt(rows: list[int], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(rows).tolist()


def _names(first: Table, second: Table, keys: set[str]) -> dict[str, str]:
    """Say how each column of the second table is called beside the first's."""
    return {name: f"{name}_2" if name in first.columns else name for name in second.columns if name not in keys}


class _Mover:
    """Rewrites the media paths of a table's rows for a table in another folder."""

    def __init__(self, table: Table, folder: Path) -> None:
        self._media = media_columns(table)
        self._old, self._new = table.folder, folder

    def moved(self, cells: dict[str, str]) -> dict[str, str]:
        return {n: moved(cell, self._old, self._new) if n in self._media else cell for n, cell in cells.items()}

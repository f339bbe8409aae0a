"""Splits: which rows train, which validate, which test; the same ones every time.

Enters: a key a row, or a column that names the sides.  Leaves: row positions by side.

By hash: the side of a row is where h(seed, key) in [0, 1) falls among the cumulated fractions, h = BLAKE2b.
The key is what rows share (the photo's path), so that rows that share it are on one side, and appending
rows moves none of the old ones.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import ConfigError
from sensorium.data.table import Table

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]

SIDES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


SPLIT_COLUMNS = frozenset({"split", "set", "subset", "part", "partition", "fold", "dataset_split", "split_name"})
"""How columns that say where a row belongs are usually called, in any case."""


def side_of(cell: str, sides: Mapping[str, Sequence[str]] = SIDES) -> str | None:
    """Return the side that a cell names, in any case; None where it names none."""
    value = cell.strip().casefold()
    return next((side for side, values in sides.items() if value in map(str.casefold, values)), None)


def split_column_of(table: Table) -> str | None:
    """Return the column that says which rows train and which do not, if the table has one; see `split_by_column`.

    A column called "split" is one where some row trains and another does not; of another usual name, where every
    cell names a side beside.
    """
    for column in sorted(table.columns, key=lambda name: name.strip().casefold() != "split"):
        if column.strip().casefold() not in SPLIT_COLUMNS:
            continue
        cells = {cell.strip() for cell in table.column(column)} - {""}
        sides = {side_of(cell) for cell in cells}
        trusted = column.strip().casefold() == "split" or None not in sides
        if trusted and "train" in sides and len(sides) > 1:
            return column
    return None


def split_by_hash(keys: Iterable[str], fractions: Mapping[str, float], *, seed: int) -> dict[str, Rows]:
    """Divide rows among sides at random, but always in the same way.

    Args:
        keys: one a row; rows of equal key stay together.  A row with an empty key is known by its
            position, so it is together with nobody.
        fractions: the expected share of each side; they sum to 1.
        seed: another seed divides otherwise.

    Returns:
        Ascending row positions by side; on a small table a side may be empty.

    Raises:
        ConfigError: fractions that are negative or do not sum to 1.
    """
    if any(share < 0 for share in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"shares of a split are positive and sum to 1, not {dict(fractions)}")
    upper = list(itertools.accumulate(fractions.values()))[:-1]
    place_N = np.fromiter((_place(seed, key or f"\0{i}") for i, key in enumerate(keys)), np.float64)
    side_N = np.searchsorted(upper, place_N, side="right")
    return {name: np.flatnonzero(side_N == i) for i, name in enumerate(fractions)}


def split_by_column(table: Table, column: str, sides: Mapping[str, Sequence[str]] = SIDES) -> dict[str, Rows]:
    """Divide rows by the values of a column; a side whose values do not occur is left out.

    Args:
        sides: the values, in any case, that mean each side.

    Rows of other values are on no side; the log counts them.

    Raises:
        DataError: no such column.
    """
    rows: dict[str, list[int]] = {side: [] for side in sides}
    others: Counter[str] = Counter()
    known: dict[str, str | None] = {}
    for i, cell in enumerate(table.column(column)):
        side = known[cell] if cell in known else known.setdefault(cell, side_of(cell, sides))
        if side is None:
            others[cell] += 1
        else:
            rows[side].append(i)
    if others:
        told = ", ".join(f"'{value}': {count:,}" for value, count in others.most_common(10))
        logger.warning("%s: rows with other values of '%s' are on no side (%s)", table.name, column, told)
    return {side: np.array(numbers, np.int64) for side, numbers in rows.items() if numbers}


def _place(seed: int, key: str) -> float:
    """Hash a key to [0, 1)."""
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8, key=str(seed).encode()).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53  # 53 bits, or the largest would round to 1.0

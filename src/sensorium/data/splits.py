"""Splits: which rows train, which validate, which test; the same ones every time.

Enters: groups of rows, and a key a row; or a column that names the sides.  Leaves: which rows are on which side.

By groups (`part_groups`): a group (`data/groups.py`) is held back where h(seed, key) in [0, 1) falls among the last
fraction, h = BLAKE2b; its key is the least of its rows', so that appending rows moves none of the old ones.  But
where groups are so few or so large that chance would give one side far more or less than it should have, they are
dealt until that is as near as they allow.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sensorium.data.groups import Grouping
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


_LARGEST_GROUP = 0.75
"""With more of the rows in one group, what is counted without them says too little of them."""


class Parting(NamedTuple):
    """Which rows are held back.

    Attributes:
        is_held_N: (N,) bool.
        grouping: the groups that stayed whole.
        by_chance: each group went where its hash fell; else groups were dealt.
        passed_over: stricter groupings that tie too many rows together to be parted.
    """

    is_held_N: npt.NDArray[np.bool_]
    grouping: Grouping
    by_chance: bool
    passed_over: tuple[Grouping, ...] = ()


def part_groups(groupings: Iterable[Grouping], keys: Sequence[str], fraction: float, *, seed: int) -> Parting:
    """Hold back about `fraction` of the rows, in whole groups of the strictest grouping that allows it.

    A grouping allows it if the smaller side gets at least half of its share, and not more than the other
    or twice its share.  The last of them is taken in any case.

    Args:
        groupings: the strictest first.
        keys: a text a row by which chance knows it; a group is known by the least of its rows'.
    """
    passed_over: list[Grouping] = []
    for grouping in groupings:
        place_N = np.array([_place(seed, key) for key in _least(keys, grouping)])
        is_held_N, by_chance = _held(grouping.group_N, place_N, fraction)
        last = Parting(is_held_N, grouping, by_chance, tuple(passed_over))
        share, asked = _smaller(float(is_held_N.mean()), fraction)
        if asked / 2 <= share <= max(0.5, 2 * asked):
            break
        passed_over.append(grouping)
    return last


def fold_groups(groupings: Iterable[Grouping], keys: Sequence[str], num_folds: int) -> tuple[Rows, Grouping]:
    """Deal rows to folds of like size, (N,), in whole groups: the same every time, and in any order of rows.

    Args:
        groupings: the strictest first.
        keys: a text a row by which chance knows it; a group is known by the least of its rows'.

    The strictest grouping is taken of which no group has more than three quarters of the rows, else the last; of
    fewer groups than folds there are as many folds as groups.
    """
    for grouping in groupings:
        size_G = grouping.size_G
        if len(size_G) > 1 and size_G.max() <= _LARGEST_GROUP * size_G.sum():
            break
    _, first_G, group_N = np.unique(grouping.group_N, return_index=True, return_inverse=True)
    place_G = np.array([_place(0, key) for key in _least(keys, grouping)])[first_G]
    order_G = np.lexsort([place_G, -size_G])
    fold_G = np.zeros(len(size_G), np.int64)
    size_K = np.zeros(min(num_folds, len(size_G)), np.int64)
    for group in order_G.tolist():  # the largest first, each to the smallest fold
        fold_G[group] = size_K.argmin()
        size_K[fold_G[group]] += size_G[group]
    return fold_G[group_N], grouping


def _least(keys: Sequence[str], grouping: Grouping) -> list[str]:
    """Return the least key of each row's group, by row."""
    least: dict[int, str] = {}
    group_N = grouping.group_N.tolist()
    for group, key in zip(group_N, keys, strict=True):
        least[group] = min(key, least.get(group, key))
    return [least[group] for group in group_N]


def _smaller(share: float, asked: float) -> tuple[float, float]:
    """Return what the side that should have less rows has and should have."""
    return (share, asked) if asked <= 0.5 else (1 - share, 1 - asked)


def _held(group_N: Rows, place_N: npt.NDArray[np.float64], fraction: float) -> tuple[npt.NDArray[np.bool_], bool]:
    """Hold groups back by where their hash falls, else deal them; say, too, whether chance was enough."""
    is_held_N = place_N >= 1 - fraction
    share, asked = _smaller(float(is_held_N.mean()), fraction)
    if asked / 2 <= share <= 2 * asked:
        return is_held_N, True
    first_G, size_G = np.unique(group_N, return_counts=True)
    order_G = np.argsort(place_N[first_G], kind="stable")[:: -1 if fraction <= 0.5 else 1]
    wanted, num_taken, taken = asked * len(group_N), 0, []
    for group in order_G.tolist():
        if abs(num_taken + size_G[group] - wanted) < abs(num_taken - wanted):
            num_taken += int(size_G[group])
            taken.append(first_G[group])
    if not taken and len(first_G) > 1:
        taken.append(first_G[order_G[np.argmin(size_G[order_G])]])
    is_taken_N = np.isin(group_N, taken)
    return (is_taken_N if fraction <= 0.5 else ~is_taken_N), False


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
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=str(seed).encode()).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53  # 53 bits, or the largest would round to 1.0

"""Splits: which rows train, which validate, which test; the same ones every time.

Enters: a table.  Leaves: row numbers by side.

By hash: side(row) = where h(seed, key(row)) in [0, 1) falls among the cumulated fractions, with h = BLAKE2b.
The key is a group column's cell (the photo), so that rows that share it are on one side, and appending
rows moves none of the old ones.  By column: the table says itself.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.table import Table

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]


def split_by_hash(
    table: Table, fractions: Mapping[str, float], *, seed: int, group: str | None = None
) -> dict[str, Rows]:
    """Divide all rows among sides at random, but always in the same way.

    Args:
        fractions: share of each side; they sum to 1.
        seed: another seed divides otherwise.
        group: rows with the same cell in this column stay together; rows whose cell is empty, and all
            rows where it is None, stay together with rows of exactly the same cells only.

    Raises:
        ConfigError: fractions that are negative or do not sum to 1.
        DataError: no such column, or a side that gets no row.
    """
    if any(share < 0 for share in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"shares of a split are positive and sum to 1, not {dict(fractions)}")
    position = table.position(group) if group is not None else None
    bounds = list(itertools.accumulate(fractions.values()))[:-1]
    place_N = np.fromiter((_place(seed, key) for key in table.keys(position)), np.float64, len(table))
    side_N = np.searchsorted(bounds, place_N, side="right")
    return _named({name: np.flatnonzero(side_N == i) for i, name in enumerate(fractions)}, table, fractions)


def split_by_column(table: Table, column: str, sides: Mapping[str, Sequence[str]]) -> dict[str, Rows]:
    """Divide rows by the values of a column, such as {"train": ["train"], "valid": ["dev", "val"]}.

    Rows with other values are on no side; they are counted in the log.

    Raises:
        ConfigError: a value is listed for two sides.
        DataError: no such column, or a side that gets no row.
    """
    side_of: dict[str, str] = {}
    for side, values in sides.items():
        for value in values:
            if side_of.setdefault(value, side) != side:
                raise ConfigError(f"'{value}' of column '{column}' is both '{side_of[value]}' and '{side}'")
    rows: dict[str, list[int]] = {side: [] for side in sides}
    left_out: dict[str, int] = {}
    for i, cell in enumerate(table.column(column)):
        if cell in side_of:
            rows[side_of[cell]].append(i)
        else:
            left_out[cell] = left_out.get(cell, 0) + 1
    if left_out:
        told = ", ".join(f"'{value}': {count:,}" for value, count in list(left_out.items())[:10])
        logger.warning("%s: rows of other '%s' values are left out (%s)", table.name, column, told)
    return _named(
        {side: np.array(numbers, np.int64) for side, numbers in rows.items()}, table, dict.fromkeys(sides, 1.0)
    )


def _place(seed: int, key: str) -> float:
    """Hash a key to [0, 1)."""
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little") / 2**64


def _named(rows: dict[str, Rows], table: Table, shares: Mapping[str, float]) -> dict[str, Rows]:
    for side, numbers in rows.items():
        if not len(numbers) and shares[side] > 0:
            raise DataError(
                f"no row falls on the side '{side}'", where=table.name, advice="add rows, or give that side more"
            )
    logger.info("%s: %s", table.name, ", ".join(f"{side} {len(numbers):,}" for side, numbers in rows.items()))
    return rows

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.splits import split_by_column, split_by_hash
from sensorium.data.table import Table

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}
KEYS = st.lists(st.sampled_from(["", "a.jpg", "b.jpg", "c.jpg", "d.jpg"]), max_size=40)


def sides_of(keys: list[str], seed: int = 0) -> list[str]:
    sides = split_by_hash(keys, SHARES, seed=seed)
    side_of = {int(row): side for side, rows in sides.items() for row in rows}
    return [side_of[i] for i in range(len(keys))]


@given(KEYS, KEYS, st.integers(0, 5))
def test_rows_stay_where_they_are_when_others_are_appended(keys, more, seed):
    assert sides_of(keys + more, seed)[: len(keys)] == sides_of(keys, seed)


@given(KEYS, st.integers(0, 5))
def test_every_row_is_on_one_side_and_groups_stay_together(keys, seed):
    sides = split_by_hash(keys, SHARES, seed=seed)
    rows = np.concatenate(list(sides.values()))
    assert sorted(rows.tolist()) == list(range(len(keys)))
    assert all((np.diff(part) > 0).all() for part in sides.values())
    found = {}
    for key, side in zip(keys, sides_of(keys, seed), strict=True):
        if key:
            assert found.setdefault(key, side) == side


def test_shares_are_met_within_chance_and_seeds_differ():
    keys = [str(i) for i in range(20_000)]
    sides = split_by_hash(keys, SHARES, seed=1)
    for side, share in SHARES.items():
        deviation = (20_000 * share * (1 - share)) ** 0.5
        assert abs(len(sides[side]) - 20_000 * share) < 5 * deviation
    assert sides_of(keys, 1) != sides_of(keys, 2)


def test_rows_without_a_key_are_spread():
    sides = split_by_hash([""] * 1000, SHARES, seed=0)
    assert all(len(rows) > 20 for rows in sides.values())


def test_a_split_is_the_same_in_every_version():
    """Golden: a change here would move users' test rows into their training sets."""
    assert [side[0] for side in sides_of([f"{i}.jpg" for i in range(24)], seed=7)] == list(GOLDEN)


GOLDEN = "ttvttvtttttvtvttvtvttttv"


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_must_sum_to_one(shares):
    with pytest.raises(ConfigError):
        split_by_hash(["x"], shares, seed=0)


def test_a_column_may_say_it(caplog):
    cells = ["train", "Dev", "val ", "test", "none", "train", ""]
    table = Table.of([{"split": cell} for cell in cells])
    with caplog.at_level(logging.WARNING):
        sides = split_by_column(table, "split")
    assert {side: rows.tolist() for side, rows in sides.items()} == {
        "train": [0, 5],
        "validation": [1, 2],
        "test": [3],
    }
    assert "'none': 1" in caplog.text
    assert set(split_by_column(table, "split", {"a": ["train"], "b": ["missing"]})) == {"a"}
    with pytest.raises(DataError, match="did you mean 'split'"):
        split_by_column(table, "splits")

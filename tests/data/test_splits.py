from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.groups import Grouping
from sensorium.data.splits import Parting, part_groups, split_by_column
from sensorium.data.table import Table

KEYS = st.lists(st.integers(0, 200).map("{}.jpg".format), min_size=1, max_size=120)


def parting_of(keys: list[str], seed: int = 0, fraction: float = 0.3) -> Parting:
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return part_groups([Grouping(("photo",), np.array([first[key] for key in keys]))], keys, fraction, seed=seed)


@given(KEYS, KEYS, st.integers(0, 5))
def test_rows_stay_where_they_are_when_others_are_appended(keys, more, seed):
    before, after = parting_of(keys, seed), parting_of(keys + more, seed)
    if before.by_chance and after.by_chance:
        assert after.is_held_N[: len(keys)].tolist() == before.is_held_N.tolist()


@given(KEYS, st.integers(0, 5))
def test_rows_of_one_key_stay_together(keys, seed):
    side_of: dict[str, bool] = {}
    for key, is_held in zip(keys, parting_of(keys, seed).is_held_N.tolist(), strict=True):
        assert side_of.setdefault(key, is_held) == is_held


def test_shares_are_met_within_chance_and_seeds_differ():
    keys = [str(i) for i in range(20_000)]
    held_N = parting_of(keys, seed=1, fraction=0.1).is_held_N
    assert abs(held_N.sum() - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    assert (held_N != parting_of(keys, seed=2, fraction=0.1).is_held_N).any()


def test_a_split_is_the_same_in_every_version():
    """Golden: a change here would move users' validation rows into their training sets."""
    held_N = parting_of([f"{i}.jpg" for i in range(24)], seed=7).is_held_N
    assert "".join("-v"[int(is_held)] for is_held in held_N) == GOLDEN


GOLDEN = "--v--v-----v-v--vvv---vv"


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

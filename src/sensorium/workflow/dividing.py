"""Divide the rows of a table, so that what belongs together stays together; and say how it went.

Enters: rows of a table, and the config that says which inputs they have.  Leaves: which rows are held back, and a
sentence where the groups of rows were too few or too large for what was asked (`data/groups.py`, `data/splits.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.data.groups import TEXTS, Grouping, Ties, ties_of_table
from sensorium.data.splits import Parting, part_groups
from sensorium.data.table import Table
from sensorium.model.saving import build_preparers
from sensorium.training.console import stage
from sensorium.workflow.config import PretrainingConfig

Rows = npt.NDArray[np.int64]


def ties(config: PretrainingConfig, table: Table, row_N: Rows) -> Ties:
    """Return what ties rows of `table` together by the inputs that the config reads.  Raises DataError."""
    preparers = build_preparers(config.model, config.media)
    inputs = {name: choice.spec(preparers[name]) for name, choice in config.model.read_inputs.items()}
    folder = table.folder if config.data.folder is None else Path(config.resolve(config.data.folder))
    with stage(None, "looking for media that rows share", "steps") as advance:
        return ties_of_table(table, row_N, inputs, folder, config.media, advance)


def divide(
    config: PretrainingConfig, table: Table, row_N: Rows, fraction: float, *, seed: int
) -> tuple[npt.NDArray[np.bool_], str]:
    """Return which rows are held back, (N,) bool, and what is to be said of it; empty where nothing is.

    Raises:
        DataError: an input's column is missing.
    """
    tied = ties(config, table, row_N)
    parting = part_groups(tied.groupings(), _keys(config, table, row_N, tied), fraction, seed=seed)
    return parting.is_held_N, told(parting, tied, fraction)


def _keys(config: PretrainingConfig, table: Table, row_N: Rows, tied: Ties) -> Sequence[str]:
    """Know a row by its first medium's cell, so that rows which are added later move none of the old ones."""
    media = next((name for name in tied.links if name != TEXTS), None)
    if media is None:
        return [str(table.origin(number)) for number in row_N.tolist()]
    column = config.model.inputs[media].column
    return [table.row(number)[column] or f"\0{table.origin(number)}" for number in row_N.tolist()]


def told(parting: Parting, tied: Ties, fraction: float) -> str:
    """Say how rows were held back, where that is not what was asked for; else nothing."""
    grouping, is_held_N = parting.grouping, parting.is_held_N
    num_held, num_rows = int(is_held_N.sum()), len(is_held_N)
    if parting.passed_over:
        said = [
            f"rows hang together by {describe(parting.passed_over[0])}, too coarse to hold back {fraction:.1%}; "
            f"{num_held:,} of {num_rows:,} were held back {way_of(grouping)}"
        ]
        parted = tied.parted(is_held_N)
        said += [f"{count:,} of them share {_name(tie)} with the others" for tie, count in parted.items() if count]
        return "; ".join(said)
    if parting.by_chance or grouping.size_G.max(initial=0) <= 1:
        return ""
    num_groups = len(np.unique(grouping.group_N[is_held_N]))
    return (
        f"{num_held:,} of {num_rows:,} rows ({num_held / num_rows:.1%}, where {fraction:.1%} were asked for): "
        f"{num_groups:,} of {describe(grouping)}"
    )


def describe(grouping: Grouping) -> str:
    """Describe groups, such as '3 groups that share 'photo', the largest with 40 % of the rows'."""
    size_G = grouping.size_G
    names = " or ".join(_name(tie) for tie in grouping.by) or "nothing"
    if len(size_G) == 1:
        return f"one group that shares {names}"
    return (
        f"{len(size_G):,} groups that share {names}, the largest with {size_G.max() / size_G.sum():.0%} of the rows"
    )


def way_of(grouping: Grouping) -> str:
    """Say how rows are parted: by one tie alone, or one by one."""
    return f"by {' or '.join(map(_name, grouping.by))} alone" if grouping.by else "one by one"


def _name(tie: str) -> str:
    return "all their texts" if tie == TEXTS else f"'{tie}'"

"""Prepare many items, here or in worker processes.

Enters: items and their preparer.  Leaves: a `Prepared` for each, in order: its tensor, or why there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from sensorium.core.errors import DataError, SensoriumError
from sensorium.core.protocols import GroupPreparer, Preparer
from sensorium.core.types import Item
from sensorium.data.bare import BareTensor
from sensorium.data.workers import WorkerDied, WorkerPool

_CHUNK_ITEMS = 8  # a task of a worker: long enough to pay for the pipe, short enough to end together
_GROUP_ITEMS = 4  # a frozen network's activations of so many still stay in memory that is reused
_MOST_DEATHS = 20


class Prepared(NamedTuple):
    """An item's tensor, or None and the reason."""

    value: Tensor | None
    failure: str = ""


def prepare_all(items: Sequence[Item], preparer: Preparer, workers: int = 0) -> Iterator[Prepared]:
    """Prepare `items` in order.

    An item whose decoder kills its process is a failure like any other: it is found by preparing the
    items of the dead process's task one by one.

    Raises:
        DataError: processes cannot start, or die again and again.
    """
    if workers == 0:
        yield from _prepare(preparer, items)
        return
    num_deaths = 0
    with WorkerPool(_PrepareChunk(preparer), workers) as pool, WorkerPool(_PrepareChunk(preparer), 1) as retry:
        for outcome in pool.run(_chunks(items)):
            if outcome.value is not None:
                yield from map(_unbare, outcome.value)
                continue
            for single in retry.run([item] for item in outcome.task):
                if isinstance(single.error, WorkerDied):
                    num_deaths += 1
                if num_deaths > _MOST_DEATHS:
                    raise DataError(f"{num_deaths} media ended their loader process; the last: {single.error}")
                yield _unbare(single.value[0]) if single.value is not None else Prepared(None, str(single.error))


def _prepare(preparer: Preparer, items: Sequence[Item]) -> Iterator[Prepared]:
    """Prepare items in order, in groups where the preparer is made for them."""
    if isinstance(preparer, GroupPreparer):
        for first in range(0, len(items), _GROUP_ITEMS):
            group = [items[i] for i in range(first, min(first + _GROUP_ITEMS, len(items)))]
            yield from map(_prepared, preparer.together(group))
        return
    for i in range(len(items)):
        try:
            yield Prepared(preparer(items[i]))
        except SensoriumError as error:
            yield _prepared(error)


def _prepared(answer: Tensor | SensoriumError) -> Prepared:
    return Prepared(answer) if isinstance(answer, Tensor) else Prepared(None, str(answer))


class _PrepareChunk:
    """The work of one process."""

    def __init__(self, preparer: Preparer) -> None:
        self._preparer = preparer

    def __call__(self, items: Sequence[Item]) -> list[BareTensor | str]:
        prepared = _prepare(self._preparer, items)
        return [BareTensor.of(value) if value is not None else failure for value, failure in prepared]


def _unbare(answer: BareTensor | str) -> Prepared:
    return Prepared(None, answer) if isinstance(answer, str) else Prepared(answer.tensor())


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    for first in range(0, len(items), _CHUNK_ITEMS):
        yield [items[i] for i in range(first, min(first + _CHUNK_ITEMS, len(items)))]

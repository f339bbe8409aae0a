"""Prepare many items, here or in worker processes.

Enters: items and their preparer.  Leaves: a `Prepared` for each, in order: its tensor, or why there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from sensorium.core.errors import DataError, SensoriumError
from sensorium.core.protocols import CuttingPreparer, GroupPreparer, Preparer
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
    is_cut: bool = False
    """Whether it was longer than its input takes."""


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
            yield from map(_prepared, preparer.together(group), preparer.were_cut)
        return
    prepare = OneByOne(preparer)
    for i in range(len(items)):
        try:
            yield prepare(items[i])
        except SensoriumError as error:
            yield _prepared(error)


class OneByOne:
    """Prepare items one after the other, and tell of each whether it was cut.

    Whether a preparer cuts at all is asked once: the question costs as much as preparing a short text.
    """

    def __init__(self, preparer: Preparer) -> None:
        self._prepare = preparer
        self._cutting = preparer if isinstance(preparer, CuttingPreparer) else None

    def __call__(self, item: Any) -> Prepared:
        """Prepare an item.  Raises MediaError or DataError."""
        if self._cutting is None:
            return Prepared(self._prepare(item))
        num_before = self._cutting.truncated
        value = self._prepare(item)
        return Prepared(value, is_cut=self._cutting.truncated > num_before)


def _prepared(answer: Tensor | SensoriumError, is_cut: bool = False) -> Prepared:
    return Prepared(answer, is_cut=is_cut) if isinstance(answer, Tensor) else Prepared(None, str(answer))


class _PrepareChunk:
    """The work of one process."""

    def __init__(self, preparer: Preparer) -> None:
        self._preparer = preparer

    def __call__(self, items: Sequence[Item]) -> list[_Bare]:
        prepared = _prepare(self._preparer, items)
        return [(one.failure if one.value is None else BareTensor.of(one.value), one.is_cut) for one in prepared]


_Bare = tuple[BareTensor | str, bool]
"""What a process sends back: a tensor, or why there is none; and whether it was cut."""


def _unbare(answer: _Bare) -> Prepared:
    value, is_cut = answer
    return Prepared(None, value) if isinstance(value, str) else Prepared(value.tensor(), is_cut=is_cut)


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    for first in range(0, len(items), _CHUNK_ITEMS):
        yield [items[i] for i in range(first, min(first + _CHUNK_ITEMS, len(items)))]

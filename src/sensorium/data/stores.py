"""Stores: the prepared values of one input's distinct items, fetched by number for a batch.

Enters: unit numbers.  Leaves: `Fetched`: what the preparer's `collate` makes of these units, and which of
them could not be prepared.

    PackedStore    all prepared beforehand, end to end in memory or mapped from the cache
    ListStore      a few, prepared just now (one prediction)
    LazyStore      none: items are prepared when a batch asks for them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item
from sensorium.data.packed import PackedTensors


@dataclass(frozen=True, slots=True)
class Fetched:
    """K units less the failed ones.

    Attributes:
        values: (K', ...) collated.
        mask: (K', T) bool or None.
        failures: position in the request -> reason, for the K - K' units that could not be prepared.
    """

    values: Tensor
    mask: Tensor | None
    failures: Mapping[int, str] = field(default_factory=dict)


class Store(Protocol):
    """Fetch prepared units."""

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Return the units numbered `unit_K`, in this order."""
        ...


class PackedStore:
    """Units prepared beforehand."""

    def __init__(self, packed: PackedTensors, preparer: Preparer) -> None:
        self._packed = packed
        self._preparer = preparer
        self._stacks = packed.is_fixed and _collate_stacks(packed, preparer)

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Return the units numbered `unit_K`, in this order."""
        if self._stacks and len(unit_K):
            return Fetched(self._packed.stack(unit_K), None)
        return Fetched(*self._preparer.collate([self._packed[unit] for unit in unit_K.tolist()]))


def _collate_stacks(packed: PackedTensors, preparer: Preparer) -> bool:
    """Say whether `collate` of equal shapes is plain stacking, so that one indexing does the same."""
    units = np.arange(min(2, len(packed)))
    values, mask = preparer.collate([packed[unit] for unit in units.tolist()])
    stacked = packed.stack(units)
    return mask is None and values.dtype == stacked.dtype and torch.equal(values, stacked)


class ListStore:
    """A few units, each its own tensor."""

    def __init__(self, values: Sequence[Tensor], preparer: Preparer) -> None:
        self._values = values
        self._preparer = preparer

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Return the units numbered `unit_K`, in this order."""
        return Fetched(*self._preparer.collate([self._values[unit] for unit in unit_K.tolist()]))


class LazyStore:
    """Units prepared when they are fetched; the caller sets the failed ones aside."""

    def __init__(self, items: Sequence[Item], preparer: Preparer) -> None:
        self._items = items
        self._preparer = preparer

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Prepare the units numbered `unit_K`, in this order."""
        values: list[Tensor] = []
        failures: dict[int, str] = {}
        for position, unit in enumerate(unit_K.tolist()):
            try:
                values.append(self._preparer(self._items[unit]))
            except SensoriumError as error:
                failures[position] = str(error)
        return Fetched(*self._preparer.collate(values), failures)

"""Stores: the prepared values of one input's distinct items, fetched by number for a batch.

Enters: unit numbers.  Leaves: `Fetched`: what the preparer's `collate` makes of these units, and which of
them could not be prepared.

    PackedStore    all prepared beforehand, end to end in memory, or mapped from the cache
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
from sensorium.data.preparing import OneByOne


@dataclass(frozen=True, slots=True)
class Fetched:
    """K units less the failed ones.

    Attributes:
        values: (K', ...) collated.
        mask: (K', T) bool or None.
        failures: position in the request -> reason, for the K - K' units that could not be prepared.
        cut: positions in the request of units that were prepared only now, and cut.
    """

    values: Tensor
    mask: Tensor | None
    failures: Mapping[int, str] = field(default_factory=dict)
    cut: frozenset[int] = frozenset()


class Store(Protocol):
    """Fetch prepared units."""

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Return the units numbered `unit_K`, in this order."""
        ...


class PackedStore:
    """Units prepared beforehand.

    Where `collate` does what nearly every one does (stack equal shapes without a mask, or pad with zeros
    on the right), units are gathered in one go instead, an order of magnitude faster.
    """

    def __init__(self, packed: PackedTensors, preparer: Preparer) -> None:
        self._packed = packed
        self._preparer = preparer
        self._is_plain, self._has_mask = _probe(packed, preparer)

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Return the units numbered `unit_K`, in this order."""
        if self._is_plain and len(unit_K):
            values, mask = self._packed.padded(unit_K)
            return Fetched(values, mask if self._has_mask else None)
        return Fetched(*self._preparer.collate([self._packed[unit] for unit in unit_K.tolist()]))


def _probe(packed: PackedTensors, preparer: Preparer) -> tuple[bool, bool]:
    """Say whether `collate` equals plain padding, and whether it gives a mask, from the extreme lengths."""
    if not len(packed):
        return False, False
    ends = [int(packed.length_U.argmin()), int(packed.length_U.argmax())]
    has_mask = False
    for units in (ends[:1], ends[1:], ends, ends[::-1]):
        values, mask = preparer.collate([packed[unit] for unit in units])
        plain, plain_mask = packed.padded(np.array(units))
        has_mask = mask is not None
        if values.dtype != plain.dtype or not torch.equal(values, plain):
            return False, has_mask
        if not torch.equal(plain_mask, mask if mask is not None else torch.ones_like(plain_mask)):
            return False, has_mask
    return True, has_mask


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
        self._prepare = OneByOne(preparer)

    def fetch(self, unit_K: npt.NDArray[np.int64]) -> Fetched:
        """Prepare the units numbered `unit_K`, in this order."""
        values: list[Tensor] = []
        failures: dict[int, str] = {}
        cut = set()
        for position, unit in enumerate(unit_K.tolist()):
            try:
                prepared = self._prepare(self._items[unit])
            except SensoriumError as error:
                failures[position] = str(error)
                continue
            assert prepared.value is not None
            values.append(prepared.value)
            if prepared.is_cut:
                cut.add(position)
        return Fetched(*self._preparer.collate(values), failures, frozenset(cut))

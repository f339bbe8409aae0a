"""Prepare the distinct items of one input, and keep them where they fit.

Enters: items and their preparer.  Leaves: `PreparedUnits`: a Store of those that could be prepared, the
reasons of those that could not, and the new numbers of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item
from sensorium.data.packed import PackedWriter
from sensorium.data.stores import PackedStore, Store


@dataclass(frozen=True)
class PreparedUnits:
    """Units after preparation.

    Attributes:
        items: those that could be prepared, by new number.
        store: their values, by new number.
        number_U: (U,) old number -> new number, -1 = could not be prepared.
        failures: old number -> why.
    """

    items: Sequence[Item]
    store: Store
    number_U: npt.NDArray[np.int32]
    failures: Mapping[int, str]

    def is_bad(self, unit_N: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Say which rows have a unit that could not be prepared."""
        is_bad_U = np.append(self.number_U < 0, False)  # [-1] is an absent item, which is no fault
        return is_bad_U[unit_N]

    def renumber(self, unit_N: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the new numbers of rows' units; absent stays absent."""
        return np.append(self.number_U, np.int32(-1))[unit_N]


class _Chosen(Sequence[Item]):
    """Some of a sequence's items, by new number."""

    def __init__(self, items: Sequence[Item], old_U: npt.NDArray[np.int64]) -> None:
        self._items, self._old_U = items, old_U

    def __len__(self) -> int:
        return len(self._old_U)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._items[int(self._old_U[index])]


def prepare_units(
    items: Sequence[Item], preparer: Preparer, *, cache: Path | None, workers: int, choice: str
) -> PreparedUnits:
    """Prepare all items."""
    writer = PackedWriter()
    failures: dict[int, str] = {}
    for unit in range(len(items)):
        try:
            writer.add(preparer(items[unit]))
        except SensoriumError as error:
            failures[unit] = str(error)
    is_good_U = np.array([unit not in failures for unit in range(len(items))], bool)
    number_U = np.where(is_good_U, np.cumsum(is_good_U) - 1, -1).astype(np.int32)
    return PreparedUnits(
        _Chosen(items, np.flatnonzero(is_good_U)), PackedStore(writer.finish(), preparer), number_U, failures
    )

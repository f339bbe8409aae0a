"""One input of a corpus: which of the distinct items each row has, and where their prepared values are.

Enters: unit numbers by row, items by unit and a store.  Leaves: the `MediaBatch` of any rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.types import Item, MediaBatch
from sensorium.data.scan import ABSENT
from sensorium.data.several import MediaLists
from sensorium.data.stores import Store


@dataclass(frozen=True)
class CorpusInput:
    """One input of all rows.

    Attributes:
        unit_N: (N,) int32 which unit, or which list of units, each row has, -1 = absent.
        items: the distinct items, by unit.
        store: their prepared values.
        lists: the distinct lists, where rows may have several items; else None.
        cut: the units that were longer than the input takes, as far as they are prepared.
    """

    unit_N: npt.NDArray[np.int32]
    items: Sequence[Item]
    store: Store
    lists: MediaLists | None = None
    cut: frozenset[int] = frozenset()

    def is_cut(self, i: int) -> bool:
        """Say whether an item of row `i` was cut."""
        number = int(self.unit_N[i])
        if number == ABSENT:
            return False
        return not self.cut.isdisjoint([number] if self.lists is None else self.lists[number].tolist())

    def fetch(self, row_B: npt.NDArray[np.int64]) -> tuple[MediaBatch, dict[int, str], list[int]]:
        """Fetch what rows have; also returns why items failed, by position in `row_B`, and units cut now."""
        number_S, position_B = _distinct(self.unit_N[row_B])
        unit_U, list_SK = number_S, np.arange(len(number_S))[:, None]
        if self.lists is not None:
            unit_U, list_SK = _distinct(self.lists.padded(number_S))
        fetched = self.store.fetch(unit_U)
        cut = [int(unit_U[u]) for u in fetched.cut]
        failures: dict[int, str] = {}
        if fetched.failures:
            bad = fetched.failures
            reason_S = {s: bad[u] for s, units in enumerate(list_SK.tolist()) for u in units if u in bad}
            failures = {b: reason_S[s] for b, s in enumerate(position_B.tolist()) if s in reason_S}
            is_good_U = np.array([u not in bad for u in range(len(unit_U))])
            list_SK = np.append(np.where(is_good_U, np.cumsum(is_good_U) - 1, ABSENT), ABSENT)[list_SK]
        if self.lists is not None:
            lists = torch.from_numpy(list_SK)
            return MediaBatch(fetched.values, fetched.mask, torch.from_numpy(position_B), lists), failures, cut
        position_B = np.append(list_SK[:, 0], ABSENT)[position_B]
        return MediaBatch(fetched.values, fetched.mask, torch.from_numpy(position_B)), failures, cut


def _distinct(number_X: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct numbers, ascending, and where each of `number_X` stands among them; absent stays -1."""
    distinct_U, position_X = np.unique(number_X, return_inverse=True)
    position_X = position_X.reshape(number_X.shape).astype(np.int64, copy=False)
    if len(distinct_U) and distinct_U[0] == ABSENT:
        distinct_U, position_X = distinct_U[1:], position_X - 1
    return distinct_U.astype(np.int64), position_X

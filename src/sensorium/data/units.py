"""Prepare the distinct items of one input, and keep the values where they fit.

Enters: items and their preparer.  Leaves: `PreparedUnits`: a Store of those that could be prepared, the
reasons of those that could not, and the new numbers of the rest.

Texts are prepared here, and kept in memory: tokenising costs less than a cache would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import ConfigError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Media
from sensorium.data.cache import PreparedCache, Progress
from sensorium.data.packed import PackedTensors, PackedWriter
from sensorium.data.preparing import Prepared, prepare_all
from sensorium.data.scan import CellItems
from sensorium.data.stores import LazyStore, PackedStore, Store

logger = logging.getLogger(__name__)

StoreChoice = Literal["auto", "memory", "cache", "none"]

_PROBED_ITEMS = 16
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True)
class PreparedUnits:
    """Units after preparation.

    Attributes:
        items: those that could be prepared, by new number.
        store: their values, by new number.
        number_U: (U,) old number -> new number, -1 = could not be prepared.
        failures: old number -> why.
        cut: the old numbers of those that were cut; None = not known, since they are prepared at batch time.
    """

    items: CellItems
    store: Store
    number_U: npt.NDArray[np.int32]
    failures: Mapping[int, str]
    cut: frozenset[int] | None = None

    @classmethod
    def of(
        cls, items: CellItems, store: Store, failures: Mapping[int, str], cut: frozenset[int] | None = None
    ) -> PreparedUnits:
        """Number the items anew, without those that failed."""
        is_good_U = np.ones(len(items), bool)
        is_good_U[list(failures)] = False
        number_U = np.where(is_good_U, np.cumsum(is_good_U) - 1, -1).astype(np.int32)
        good = items.only(np.flatnonzero(is_good_U)) if failures else items
        return cls(good, store, number_U, failures, cut)

    def is_bad(self, unit_N: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Say which rows have a unit that could not be prepared."""
        return np.append(self.number_U < 0, False)[unit_N]  # [-1] is an absent item, which is no fault

    def renumber(self, unit_N: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the new numbers of rows' units; absent stays absent."""
        return np.append(self.number_U, np.int32(-1))[unit_N]


def prepare_units(
    items: CellItems,
    preparer: Preparer,
    *,
    cache: Path | None = None,
    workers: int = 0,
    choice: StoreChoice = "auto",
    progress: Progress | None = None,
) -> PreparedUnits:
    """Prepare all items now, or arrange for it at batch time.

    Raises:
        ConfigError: `choice` is "cache", but there is none.
        LockedError, DiskError: the cache cannot be used.
        DataError: loader processes cannot start, or die again and again.
    """
    if choice == "cache" and cache is None:
        raise ConfigError("prepared media are to be kept in the cache, but no cache folder is set")
    if not items or not isinstance(items[0], Media):
        return _in_memory(items, preparer, prepare_all(items, preparer), progress)
    if choice == "none":
        return PreparedUnits.of(items, LazyStore(items, preparer), {})
    if cache is not None and choice in ("auto", "cache"):
        warmed = PreparedCache(cache).warm(items, preparer, workers, progress=progress)
        return PreparedUnits.of(items, PackedStore(warmed.tensors, preparer), warmed.failures, warmed.cut)
    if choice == "auto" and not _fits(items, preparer):
        return PreparedUnits.of(items, LazyStore(items, preparer), {})
    return _in_memory(items, preparer, prepare_all(items, preparer, workers), progress)


def _in_memory(
    items: CellItems, preparer: Preparer, prepared: Iterator[Prepared], progress: Progress | None
) -> PreparedUnits:
    writer = PackedWriter()
    failures: dict[int, str] = {}
    cut = set()
    for unit, one in enumerate(prepared):
        if one.value is None:
            failures[unit] = one.failure
        else:
            writer.add(one.value)
        if one.is_cut:
            cut.add(unit)
        if progress is not None:
            progress(unit + 1, len(items))
    store = PackedStore(PackedTensors.of(writer.finish()), preparer)
    return PreparedUnits.of(items, store, failures, frozenset(cut))


def _fits(items: CellItems, preparer: Preparer) -> bool:
    """Say whether all items, as large as the first few, take at most half of the free memory."""
    values = [prepared.value for prepared in prepare_all(items[:_PROBED_ITEMS], preparer)]
    sizes = [value.numel() * value.element_size() for value in values if value is not None]
    needed = len(items) * (sum(sizes) / len(sizes)) if sizes else 0.0
    available = available_bytes()
    if available is None or needed <= _SHARE_OF_MEMORY * available:
        return True
    logger.warning(
        "%s prepared media need %.1f GiB of %.1f GiB free memory: they are prepared anew for every batch, "
        "and those that are cut are counted as they are met; a cache folder in [data] would keep them",
        f"{len(items):,}", needed / 2**30, available / 2**30,
    )  # fmt: skip
    return False


def available_bytes() -> int | None:
    """Return the memory this process may still take, by /proc and its control group; None if unknown."""
    bounds = [bound for probe in (_free_in_machine, _free_in_group) if (bound := _try(probe)) is not None]
    return min(bounds, default=None)


def _free_in_machine() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _free_in_group() -> int:
    group = Path("/sys/fs/cgroup")
    limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    return max(0, limit - used)


def _try(probe: Callable[[], int]) -> int | None:
    try:
        return probe()
    except (OSError, ValueError, StopIteration):  # another system, or no limit ("max")
        return None

"""Batches of several tasks in one order, drawn by temperature over data sets of different size.

    p_k ~ n_k^(1/T),  n_k the batches of task k        (Aharoni et al. 2019; Arivazhagan et al. 2019, section 4.2)

T = 1 draws each data set as often as it is large; a larger T draws small ones more often.  An epoch has as many
batches as all data sets together, each task a fixed share of them (largest remainders, one at least) in an order
that the epoch decides.  Each task goes through its own rows in epochs of its own.  So a batch is a function of
(seed, epoch, number) alone, and a resumed run sees what the whole one would have.

Enters: a loader a task.  Leaves: batches that name their task.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sensorium.core.types import Batch


class EpochLoader(Protocol):
    """Batches in an order that is a function of the epoch alone."""

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        ...

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield batches start_batch..num_batches-1 of that epoch."""
        ...


class TaskLoader:
    """Mix the batches of several tasks.

    Args:
        loaders: by task, each of one batch or more.
        seed: of the order.
        temperature: T, at least 1.
    """

    def __init__(self, loaders: Mapping[str, EpochLoader], seed: int, temperature: float = 1.0) -> None:
        self._loaders, self._seed = dict(loaders), seed
        size_K = np.array([loader.num_batches for loader in loaders.values()])
        self.quota_K = quotas(size_K, temperature)
        self.last_task = ""

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        return int(self.quota_K.sum())

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of that epoch, from number `start_batch` on."""
        whose_N = np.repeat(np.arange(len(self.quota_K)), self.quota_K)
        np.random.default_rng((self._seed, epoch)).shuffle(whose_N)
        done_K = epoch * self.quota_K + np.bincount(whose_N[:start_batch], minlength=len(self.quota_K))
        names = list(self._loaders)
        sources = [_onwards(self._loaders[n], int(done)) for n, done in zip(names, done_K, strict=True)]
        try:
            for whose in whose_N[start_batch:].tolist():
                batch = next(sources[whose])
                self.last_task = names[whose]
                yield replace(batch, task=names[whose])
        finally:
            for source in sources:
                source.close()


def quotas(size_K: npt.NDArray[np.int64], temperature: float) -> npt.NDArray[np.int64]:
    """Share out sum(size_K) batches in proportion to size^(1/T), one at least a task, by largest remainders."""
    if (size_K < 1).any():
        raise ValueError(f"a task has no batch: {size_K.tolist()}")
    total = int(size_K.sum())
    share_K = size_K ** (1 / temperature)
    # One batch a task comes first, the others are shared out.
    exact_K = np.maximum(share_K / share_K.sum() * total - 1, 0)
    exact_K *= (total - len(size_K)) / max(exact_K.sum(), 1e-12)
    whole_K = np.floor(exact_K + 1e-9).astype(np.int64)
    rest = total - len(size_K) - int(whole_K.sum())
    whole_K[np.argsort(whole_K - exact_K, kind="stable")[:rest]] += 1
    quota_K: npt.NDArray[np.int64] = whole_K + 1
    return quota_K


def _onwards(loader: EpochLoader, done: int) -> Generator[Batch, None, None]:
    """Yield a loader's batches from number `done` on, epoch after epoch, without end."""
    epoch, batch = divmod(done, loader.num_batches)
    while True:
        with closing(loader.epoch(epoch, batch)) as source:  # type: ignore[type-var]
            yield from source
        epoch, batch = epoch + 1, 0

"""Batches in an order that is a pure function of (seed, epoch).

Enters: a corpus.  Leaves: `core.types.Batch`, the same ones in the same order for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus


class BatchOrder:
    """Cut rows into batches; shuffle groups as wholes, so that rows that share a medium meet in a batch.

    Args:
        num_rows: rows to cut, numbered from 0.
        batch_rows: rows a batch; the last one may be smaller.
        seed: of the shuffle.
        group_N: (N,) group of each row, negative = a group of its own; None = every row its own.
        shuffle: False gives the rows as they are numbered, in every epoch.
    """

    def __init__(
        self,
        num_rows: int,
        batch_rows: int,
        seed: int,
        group_N: npt.NDArray[np.integer] | None = None,
        shuffle: bool = True,
    ) -> None:
        if batch_rows < 1:
            raise ValueError(f"batch_rows is at least 1, not {batch_rows}")
        if group_N is not None and len(group_N) != num_rows:
            raise ValueError(f"{len(group_N)} groups for {num_rows} rows")
        self.num_rows = num_rows
        self.batch_rows = batch_rows
        self._seed = seed
        self._shuffle = shuffle
        self._group_N = None if group_N is None else _numbered(group_N)

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        return -(-self.num_rows // self.batch_rows)

    def batches(self, epoch: int, start: int = 0) -> Iterator[npt.NDArray[np.int64]]:
        """Iterate over the row numbers of each batch of `epoch`, from batch `start` on."""
        row_N = self.rows(epoch)
        for batch in range(start, self.num_batches):
            yield row_N[batch * self.batch_rows : (batch + 1) * self.batch_rows]

    def rows(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return all row numbers in the order of `epoch`."""
        if not self._shuffle:
            return np.arange(self.num_rows)
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, epoch])))
        row_N = random.permutation(self.num_rows)
        if self._group_N is None:
            return row_N
        rank_G = random.permutation(int(self._group_N.max(initial=-1)) + 1)
        return row_N[np.argsort(rank_G[self._group_N[row_N]], kind="stable")]


def _numbered(group_N: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Number groups from 0 without gaps, giving each ungrouped row a group of its own."""
    is_alone_N = group_N < 0
    _, number_N = np.unique(group_N, return_inverse=True)
    number_N = number_N.astype(np.int64)
    number_N[is_alone_N] = number_N.max(initial=-1) + 1 + np.arange(int(is_alone_N.sum()))
    return np.unique(number_N, return_inverse=True)[1].astype(np.int64)


class Loader:
    """Load a corpus's batches in order."""

    def __init__(self, corpus: Corpus, order: BatchOrder, workers: int = 0) -> None:
        self.corpus = corpus
        self.order = order
        self.workers = workers

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        return self.order.num_batches

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of `epoch`, from `start_batch` on."""
        for row_N in self.order.batches(epoch, start_batch):
            yield self.corpus.batch(row_N)

    def close(self) -> None:
        """End the loader's processes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

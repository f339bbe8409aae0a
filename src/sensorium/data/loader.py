"""Batches in an order that is a pure function of (seed, epoch).

Enters: a corpus.  Leaves: `core.types.Batch`, the same ones in the same order for any number of workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sensorium.core.types import Batch
from sensorium.data.bare import BareBatch
from sensorium.data.corpus import Corpus, Met
from sensorium.data.workers import WorkerPool

logger = logging.getLogger(__name__)


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
    """Load a corpus's batches in order, with processes where that helps.

    Args:
        workers: processes that prepare batches ahead; 0 = none.  A corpus whose media are all prepared is
            indexed here whatever the number: a batch would take longer to travel than to make.

    Rows whose media fail are quarantined by the corpus; a batch that loses all its rows is left out.
    """

    def __init__(self, corpus: Corpus, order: BatchOrder, workers: int = 0) -> None:
        self.corpus = corpus
        self.order = order
        self.workers = 0 if corpus.is_prepared else workers
        self._pool: WorkerPool[npt.NDArray[np.int64], Loaded] | None = None

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        return self.order.num_batches

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of `epoch`, from `start_batch` on.

        A batch whose rows are all bad comes empty: a position in training is a count of batches.

        Raises:
            DataError: too many rows turn out bad, or a process ends before its time.
        """
        for row_N, batch, met in self._loaded(self.order.batches(epoch, start_batch)):
            self.corpus.note(met)
            if not batch.num_rows and len(row_N):
                logger.warning("a batch is empty: none of its %d rows can be used", len(row_N))
            yield batch

    def _loaded(
        self, orders: Iterator[npt.NDArray[np.int64]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Batch, Met]]:
        if self.workers == 0:
            for row_N in orders:
                yield (row_N, *self.corpus.load(row_N))
            return
        if self._pool is None:
            self._pool = WorkerPool(_LoadRows(self.corpus), self.workers)
        for outcome in self._pool.run(orders):
            if outcome.value is None:
                assert outcome.error is not None
                first = self.corpus.where(int(outcome.task[0]))
                raise outcome.error.at(f"a batch of {len(outcome.task)} rows that begins with {first}")
            yield outcome.task, outcome.value.batch.batch(), outcome.value.met

    def close(self) -> None:
        """End the loader's processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Loaded(NamedTuple):
    """What a process sends back."""

    batch: BareBatch
    met: Met


class _LoadRows:
    """The work of one process."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __call__(self, row_N: npt.NDArray[np.int64]) -> Loaded:
        batch, met = self._corpus.load(row_N)
        return Loaded(BareBatch.of(batch), met)

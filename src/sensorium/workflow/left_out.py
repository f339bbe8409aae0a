"""Counts that leave rows out, for training through them: folds of training rows, and a scorer for each.

Enters: a model whose counts are fitted, and its training corpus.  Leaves: `Through`, the loss.
The counts of the folds live in memory while the network is trained, K times what the counting scorers need, and are
not saved: they are a function of the rows, so that a resumed run counts the same again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.errors import DataError
from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus
from sensorium.language.left_out import LeftOut
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.through import Through

log = logging.getLogger(__name__)

Folds = npt.NDArray[np.int64]


def through_counts(model: MultimodalLM, train: Corpus, batch_rows: int) -> Through:
    """Count every fold's other rows.  Raises DataError: too few groups of rows for two folds."""
    language = model.config.language
    fold_N = folds(train, language.folds)
    num_folds = int(fold_N.max()) + 1
    log.info("counting %d times, each time without one fold of the %d training rows", num_folds, len(fold_N))
    counted = []
    for fold in range(num_folds):
        kept_N = np.flatnonzero(fold_N != fold)
        counted.append(model.counted(_targets(train, fold_N != fold), _batches(train, kept_N, batch_rows)))
    left_out = {k: LeftOut([scorers[k] for scorers in counted]) for k in counted[0]}
    numbers = [train.row_number(i) for i in range(train.num_rows)]
    fold_of_number = torch.full((max(numbers) + 1,), -1)
    fold_of_number[torch.tensor(numbers)] = torch.from_numpy(fold_N)
    return Through(model.scorer, left_out, fold_of_number, language.weights)


def folds(corpus: Corpus, num_folds: int) -> Folds:
    """Deal rows to folds of like size, (N,): the same every time, and rows that share a medium stay together.

    Raises:
        DataError: all rows share one medium, or there is one row.
    """
    shared = next((name for name in corpus.inputs if corpus.is_media(name)), None)
    group_N = np.arange(corpus.num_rows) if shared is None else corpus.group_N(shared).astype(np.int64)
    alone_N = np.flatnonzero(group_N < 0)  # rows without the medium are together with nobody
    group_N = group_N.copy()
    group_N[alone_N] = group_N.max(initial=0) + 1 + np.arange(len(alone_N))
    _, group_N = np.unique(group_N, return_inverse=True)
    num_groups = int(group_N.max(initial=-1)) + 1
    if num_groups < 2:
        raise DataError(
            f"{corpus.num_rows} training rows that cannot be parted into folds",
            advice='add rows, or set language.train = "alone"',
        )
    dealt: Folds = np.random.default_rng(0).permutation(num_groups) % min(num_folds, num_groups)
    return dealt[group_N]


def _targets(corpus: Corpus, is_kept_N: npt.NDArray[np.bool_]) -> Iterator[list[int]]:
    return (ids for ids, kept in zip(corpus.targets(), is_kept_N.tolist(), strict=True) if kept)


def _batches(corpus: Corpus, row_N: Folds, batch_rows: int) -> Iterator[Batch]:
    return (corpus.batch(row_N[start : start + batch_rows]) for start in range(0, len(row_N), batch_rows))

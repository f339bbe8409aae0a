"""Counts that leave rows out, for training through them: folds of training rows, and a scorer for each.

Enters: a model whose counts are fitted, and its training corpus.  Leaves: `Through`, the loss.
The counts of the folds live in memory while the network is trained, K times what the counting scorers need, and are
not saved: they are a function of the rows, so that a resumed run counts the same again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.errors import DataError
from sensorium.core.types import Batch, Item, Items, Media
from sensorium.data.corpus import Corpus
from sensorium.data.groups import ties_of_corpus
from sensorium.data.splits import fold_groups
from sensorium.language.left_out import LeftOut
from sensorium.media.policy import MediaPolicy
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.through import Through
from sensorium.training.console import stage
from sensorium.workflow.dividing import describe, way_of

log = logging.getLogger(__name__)

Folds = npt.NDArray[np.int64]


def through_counts(
    model: MultimodalLM, train: Corpus, batch_rows: int, policy: MediaPolicy | None = None
) -> Through:
    """Count every fold's other rows.  Raises DataError: too few rows for two folds."""
    language = model.config.language
    fold_N = folds(train, language.folds, policy)
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


def folds(corpus: Corpus, num_folds: int, policy: MediaPolicy | None = None) -> Folds:
    """Deal rows to folds of like size, (N,): rows that belong together stay together, in any order of rows.

    Where too few groups of rows share nothing, the log says how they are parted instead.

    Raises:
        DataError: there is one row.
    """
    if corpus.num_rows < 2:
        raise DataError(
            f"{corpus.num_rows} training rows that cannot be parted into folds",
            advice='add rows, or set language.train = "alone"',
        )
    with stage(None, "looking for media that rows share", "steps") as advance:
        groupings = list(ties_of_corpus(corpus, policy, advance).groupings())
    fold_N, grouping = fold_groups(groupings, _keys(corpus), num_folds)
    if grouping is not groupings[0]:
        hanging, way = describe(groupings[0]), way_of(grouping)
        log.warning("training rows hang together by %s: they are parted into folds %s", hanging, way)
    elif (found := int(fold_N.max()) + 1) < num_folds:
        log.warning("%d folds instead of %d: the rows are %s", found, num_folds, describe(grouping))
    return fold_N


def _keys(corpus: Corpus) -> list[str]:
    """Know a row by what it holds, wherever it stands in its table and the table's folder on its machine."""
    rows = [[_items(value) for value in corpus.sample(i).inputs.values()] for i in range(corpus.num_rows)]
    paths = [
        str(item.path) for row in rows for items in row for item in items if isinstance(item, Media) and item.path
    ]
    start = len(os.path.commonpath(list(map(os.path.dirname, paths)))) if paths else 0
    return [
        repr(([[_key(item, start) for item in items] for items in row], corpus.target_text(i)))
        for i, row in enumerate(rows)
    ]


def _key(item: Item, start: int) -> object:
    if not isinstance(item, Media):
        return item
    content = str(item.path)[start:] if item.path else hashlib.sha256(item.data or b"").hexdigest()
    return content, item.member, item.span_s


def _items(value: Item | Items) -> Items | tuple[Item]:
    return value if isinstance(value, tuple) else (value,)


def _targets(corpus: Corpus, is_kept_N: npt.NDArray[np.bool_]) -> Iterator[list[int]]:
    return (ids for ids, kept in zip(corpus.targets(), is_kept_N.tolist(), strict=True) if kept)


def _batches(corpus: Corpus, row_N: Folds, batch_rows: int) -> Iterator[Batch]:
    return (corpus.batch(row_N[start : start + batch_rows]) for start in range(0, len(row_N), batch_rows))

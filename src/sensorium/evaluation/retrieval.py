"""Judge retrieval: every input of the rows searches every other, in both directions.

Enters: a model that aligns inputs, and a corpus.  Leaves: metrics named `QUERY_to_FOUND_recall_at_1`, ... and
`recall_at_1`, the mean over directions.  Distinct items search and are found, so a photo with five captions is one
query with five right answers, and a caption of two photos is right for both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import DataError, UsageError
from sensorium.data.corpus import Corpus
from sensorium.evaluation.metrics_ranking import ranking_metrics, ranks
from sensorium.model.multimodal import MultimodalLM

_QUERIES_AT_ONCE = 256
Units = npt.NDArray[np.int64]


def judge(
    model: MultimodalLM, corpus: Corpus, rows: Units, batch_rows: int, only: frozenset[str] | None = None
) -> dict[str, float]:
    """Return the metrics of every direction between aligned inputs, over `rows`.

    Args:
        only: judge the directions between these inputs.

    Raises:
        DataError: no row has two aligned inputs.
        UsageError: `only` leaves no two inputs.
    """
    names = _judged_inputs(model, only)
    unit_K = {name: _distinct(corpus, name, rows) for name in names}
    vector_KD = {name: embed_units(model, corpus, name, unit_K[name], batch_rows) for name in names}
    return _judge(corpus, rows, unit_K, vector_KD)


def judge_chance(model: MultimodalLM, corpus: Corpus, rows: Units, seed: int = 0) -> dict[str, float]:
    """Return the same metrics for vectors drawn by chance."""
    random = torch.Generator().manual_seed(seed)
    unit_K = {name: _distinct(corpus, name, rows) for name in _judged_inputs(model, None)}
    return _judge(corpus, rows, unit_K, {n: torch.randn(len(k), 8, generator=random) for n, k in unit_K.items()})


def embed_units(model: MultimodalLM, corpus: Corpus, name: str, unit_K: Units, batch_rows: int) -> Tensor:
    """Return the unit vectors of some distinct items of an input, or lists of them, float32 (K, D) on the CPU.

    Raises:
        ModelError: the model does not align this input.
        MediaError: an item that cannot be prepared.
    """
    known_U, first_U = np.unique(corpus.group_N(name), return_index=True)
    row_K = first_U[np.searchsorted(known_U, unit_K)]
    vectors = [torch.zeros(0, model.config.fusion.width)]
    with torch.inference_mode():
        for start in range(0, len(unit_K), batch_rows):
            row_N = row_K[start : start + batch_rows]
            media, failures = corpus.inputs[name].fetch(row_N)
            for position, reason in failures.items():
                raise DataError(reason, where=f"{name} of {corpus.place(corpus.row_number(int(row_N[position])))}")
            vectors.append(model.embed(name, media).cpu())
    return torch.cat(vectors)


def _judged_inputs(model: MultimodalLM, only: frozenset[str] | None) -> list[str]:
    aligned = model.alignment.names if model.alignment is not None else ()
    names = [name for name in aligned if only is None or name in only]
    if len(names) < 2:
        advice = f"aligned inputs: {', '.join(aligned) or 'none'}"
        raise UsageError("one input searches another: two aligned inputs are needed", advice=advice)
    return names


def _distinct(corpus: Corpus, name: str, rows: Units) -> Units:
    unit_N = corpus.group_N(name)[rows]
    return np.unique(unit_N[unit_N >= 0]).astype(np.int64)


def _judge(corpus: Corpus, rows: Units, unit_K: dict[str, Units], vector_KD: dict[str, Tensor]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    first: list[float] = []
    for query, found in itertools.permutations(unit_K, 2):
        pair_2P = np.stack([corpus.group_N(query)[rows], corpus.group_N(found)[rows]])
        pair_2P = pair_2P[:, (pair_2P >= 0).all(0)]
        if not pair_2P.shape[1]:
            continue
        found_ranks = _ranks(pair_2P, unit_K[found], vector_KD[query], unit_K[query], vector_KD[found])
        direction = ranking_metrics(found_ranks)
        first.append(direction["recall_at_1"])
        metrics |= {f"{query}_to_{found}_{name}": value for name, value in direction.items()}
    if not first:
        raise DataError("no row has two aligned inputs, so nothing is known to be right")
    return {"recall_at_1": float(np.mean(first)), **metrics}


def _ranks(
    pair_2P: npt.NDArray[np.int32], found_N: Units, query_KD: Tensor, query_K: Units, found_ND: Tensor
) -> Iterator[Tensor]:
    """Yield the ranks of the right answers of each query that has one; scores are made a few queries at a time."""
    asked_Q = np.unique(pair_2P[0])
    column_P = np.searchsorted(found_N, pair_2P[1])
    for start in range(0, len(asked_Q), _QUERIES_AT_ONCE):
        some_Q = asked_Q[start : start + _QUERIES_AT_ONCE]
        is_asked_P = np.isin(pair_2P[0], some_Q)
        is_right_QN = torch.zeros(len(some_Q), len(found_N), dtype=torch.bool)
        is_right_QN[np.searchsorted(some_Q, pair_2P[0][is_asked_P]), column_P[is_asked_P]] = True
        score_QN = query_KD[torch.from_numpy(np.searchsorted(query_K, some_Q))] @ found_ND.T
        yield from ranks(score_QN, is_right_QN)

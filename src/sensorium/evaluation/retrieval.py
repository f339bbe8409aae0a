"""Judge retrieval: every input of the rows searches every other, in both directions.

Enters: a model that aligns inputs, and a corpus.  Leaves: metrics named `QUERY_to_FOUND_recall_at_1`, ... and
`recall_at_1`, the mean over directions.  Distinct items search and are found, so a photo with five captions is one
query with five right answers, and a caption of two photos is right for both.  Similarities that are equal to five
decimals tie (see `metrics_ranking`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import DataError, UsageError
from sensorium.data.corpus import Corpus, Met
from sensorium.evaluation.metrics_ranking import order, ranking_metrics
from sensorium.model.multimodal import MultimodalLM

_QUERIES_AT_ONCE = 256
SHOWN_HITS = 5
_TIED = 1e5
"""Similarities that are equal to so many parts of 1 tie: which is more is rounding, and changes with the batch."""
Units = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hit:
    """One item that was found: a row that holds it, its similarity, and whether it is right."""

    row: int
    score: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class Searched:
    """What became of one query.

    Attributes:
        row: one that holds the query.
        rank_R: of its right answers, from 1, ascending.
        right_row: one that holds the right answer that was found first.
        hits: what was found first.
        margin: how much more similar the best right answer is than the best wrong one.
    """

    row: int
    rank_R: Tensor
    right_row: int
    hits: tuple[Hit, ...]
    margin: float


@dataclass(frozen=True, slots=True)
class Direction:
    """One input searching another: all queries that have a right answer among `num_candidates`."""

    query: str
    found: str
    num_candidates: int
    searched: list[Searched]

    def metrics(self) -> dict[str, float]:
        """Return the metrics over queries, by name."""
        return ranking_metrics(one.rank_R for one in self.searched)


def judge(
    model: MultimodalLM, corpus: Corpus, rows: Units, batch_rows: int, only: frozenset[str] | None = None
) -> dict[str, float]:
    """Return the metrics of every direction between aligned inputs, over `rows`; see `search` and `summarise`.

    Args:
        only: judge the directions between these inputs.

    Raises:
        DataError: no row has two aligned inputs.
        UsageError: `only` leaves no two inputs.
    """
    return summarise(search(model, corpus, rows, batch_rows, only))


def search(
    model: MultimodalLM, corpus: Corpus, rows: Units, batch_rows: int, only: frozenset[str] | None = None
) -> list[Direction]:
    """Let every aligned input search every other, over `rows`.  Raises as `judge`."""
    names = _judged_inputs(model, only)
    unit_K = {name: _distinct(corpus, name, rows) for name in names}
    vector_KD = {name: embed_units(model, corpus, name, unit_K[name], batch_rows) for name in names}
    return _directions(corpus, rows, unit_K, vector_KD)


def search_by_chance(model: MultimodalLM, corpus: Corpus, rows: Units, seed: int = 0) -> list[Direction]:
    """Return the same directions for vectors drawn by chance."""
    random = torch.Generator().manual_seed(seed)
    unit_K = {name: _distinct(corpus, name, rows) for name in _judged_inputs(model, None)}
    by_chance = {n: torch.randn(len(k), 8, generator=random) for n, k in unit_K.items()}
    return _directions(corpus, rows, unit_K, by_chance)


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
            media, failures, cut = corpus.inputs[name].fetch(row_N)
            for position, reason in failures.items():
                raise DataError(reason, where=f"{name} of {corpus.place(corpus.row_number(int(row_N[position])))}")
            corpus.note(Met([], {name: cut}))
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


def _directions(
    corpus: Corpus, rows: Units, unit_K: dict[str, Units], vector_KD: dict[str, Tensor]
) -> list[Direction]:
    found_ways = []
    for query, found in itertools.permutations(unit_K, 2):
        pair_2P = np.stack([corpus.group_N(query)[rows], corpus.group_N(found)[rows]])
        pair_2P = pair_2P[:, (pair_2P >= 0).all(0)]
        if pair_2P.shape[1]:
            row_of = {name: _row_of_units(corpus, name, rows) for name in (query, found)}
            searched = _searched(pair_2P, unit_K[found], vector_KD[query], unit_K[query], vector_KD[found], row_of)
            found_ways.append(Direction(query, found, len(unit_K[found]), list(searched)))
    if not found_ways:
        raise DataError("no row has two aligned inputs, so nothing is known to be right")
    return found_ways


def summarise(directions: Sequence[Direction]) -> dict[str, float]:
    """Return `recall_at_1`, the mean over directions, then every metric of each, named QUERY_to_FOUND_METRIC."""
    each = [direction.metrics() for direction in directions]
    named = {
        f"{direction.query}_to_{direction.found}_{name}": value
        for direction, metrics in zip(directions, each, strict=True)
        for name, value in metrics.items()
    }
    return {"recall_at_1": float(np.mean([metrics["recall_at_1"] for metrics in each])), **named}


def _row_of_units(corpus: Corpus, name: str, rows: Units) -> dict[int, int]:
    """Return a row that holds each distinct item, by item: the first."""
    return {int(unit): int(row) for unit, row in zip(corpus.group_N(name)[rows][::-1], rows[::-1], strict=True)}


def _searched(
    pair_2P: npt.NDArray[np.int32],
    found_N: Units,
    query_KD: Tensor,
    query_K: Units,
    found_ND: Tensor,
    row_of: dict[str, dict[int, int]],
) -> Iterator[Searched]:
    """Yield what became of each query that has a right answer; scores are made a few queries at a time."""
    of_query, of_found = row_of.values()
    asked_Q = np.unique(pair_2P[0])
    column_P = np.searchsorted(found_N, pair_2P[1])
    for start in range(0, len(asked_Q), _QUERIES_AT_ONCE):
        some_Q = asked_Q[start : start + _QUERIES_AT_ONCE]
        is_asked_P = np.isin(pair_2P[0], some_Q)
        is_right_QN = torch.zeros(len(some_Q), len(found_N), dtype=torch.bool)
        is_right_QN[np.searchsorted(some_Q, pair_2P[0][is_asked_P]), column_P[is_asked_P]] = True
        score_QN = query_KD[torch.from_numpy(np.searchsorted(query_K, some_Q))] @ found_ND.T
        order_QN = order((score_QN * _TIED).round(), is_right_QN)
        for unit, score_N, order_N, is_right_N in zip(some_Q, score_QN, order_QN, is_right_QN, strict=True):
            rank_R = torch.nonzero(is_right_N[order_N])[:, 0] + 1
            first_right = int(order_N[int(rank_R[0]) - 1])
            wrong_N = score_N[~is_right_N]
            yield Searched(
                of_query[int(unit)],
                rank_R,
                of_found[int(found_N[first_right])],
                tuple(
                    Hit(of_found[int(found_N[n])], float(score_N[n]), bool(is_right_N[n]))
                    for n in order_N[:SHOWN_HITS].tolist()
                ),
                float(score_N[first_right] - wrong_N.max()) if len(wrong_N) else float("inf"),
            )

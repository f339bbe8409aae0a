"""Which queries of a retrieval a report shows, and how its ranks are spread.

Enters: an evaluation's directions and the corpus that was searched.  Leaves: `report.facts.Search`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sensorium.data.corpus import Corpus
from sensorium.evaluation.retrieval import Direction, Searched
from sensorium.report.facts import Found, Query, Search, Shown
from sensorium.report.inline_media import Inliner

SHOWN = 24
"""Queries of each gallery, over all directions."""
_RANK_ENDS = (1, 5, 10, 50, 100, 1_000)


def searches(
    directions: Sequence[Direction],
    corpus: Corpus,
    inliner: Inliner,
    modality: Mapping[str, str],
    *,
    show_rows: bool,
) -> list[Search]:
    """Return what the report shows of each direction.

    Args:
        modality: of each input, by name.
        show_rows: show single queries.
    """
    shows = _Shows(corpus, inliner, modality)
    number = SHOWN // max(len(directions), 1) if show_rows else 0
    return [_search(direction, shows, number) for direction in directions]


class _Shows:
    """Shows one input of a row."""

    def __init__(self, corpus: Corpus, inliner: Inliner, modality: Mapping[str, str]) -> None:
        self._corpus, self._inliner, self._modality = corpus, inliner, modality

    def item(self, name: str, row: int) -> list[Shown]:
        item = self._corpus.sample(row).inputs[name]
        return self._inliner.show(name, self._modality.get(name, "text"), item)

    def place(self, row: int) -> str:
        return self._corpus.sample(row).id


def _search(direction: Direction, shows: _Shows, number: int) -> Search:
    ordered = sorted(direction.searched, key=lambda one: (int(one.rank_R[0]), -one.margin))
    number = min(number, len(ordered) // 2)
    return Search(
        query=direction.query,
        found=direction.found,
        num_queries=len(ordered),
        num_candidates=direction.num_candidates,
        metrics=direction.metrics(),
        rank_counts=rank_counts([int(one.rank_R[0]) for one in ordered], direction.num_candidates),
        best=[_query(one, direction, shows) for one in ordered[:number]],
        worst=[_query(one, direction, shows) for one in ordered[::-1][:number]],
    )


def rank_counts(ranks: Sequence[int], num_candidates: int) -> list[tuple[str, int]]:
    """Count ranks by their size: 1, 2–5, 6–10 and so on, up to the number of candidates."""
    ends = [end for end in _RANK_ENDS if end < num_candidates]
    starts = [1, *(end + 1 for end in ends)]
    pairs = zip(starts, [*ends, num_candidates], strict=True)
    return [
        (f"{first:,}" if first == last else f"{first:,}–{last:,}", sum(first <= rank <= last for rank in ranks))
        for first, last in pairs
    ]


def _query(one: Searched, direction: Direction, shows: _Shows) -> Query:
    is_found = any(hit.is_right for hit in one.hits)
    return Query(
        where=shows.place(one.row),
        shown=shows.item(direction.query, one.row),
        rank=int(one.rank_R[0]),
        right=[] if is_found else shows.item(direction.found, one.right_row),
        found=[
            Found(shown=shows.item(direction.found, hit.row), score=hit.score, is_right=hit.is_right)
            for hit in one.hits
        ],
    )

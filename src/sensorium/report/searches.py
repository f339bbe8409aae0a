"""The parts of a retrieval's page: how early each input finds another, and what single queries found."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.report.facts import Found, Query, RunFacts, Search
from sensorium.report.markup import Markup, tag
from sensorium.report.row_cards import shown
from sensorium.report.sections import bar, scrolled, section
from sensorium.report.wording import metric_name, number


def ranks(facts: RunFacts) -> Markup | None:
    """Show each direction's metrics, and how its queries are spread over ranks."""
    if not facts.searches:
        return None
    return section(
        "ranks",
        "How early the right one comes",
        tag("p", "The rank of a query is that of its first right answer among all candidates; 1 is best."),
        _table(facts.searches),
        tag("div", [_spread(search) for search in facts.searches], class_="figures"),
    )


def queries(facts: RunFacts) -> Markup | None:
    """Show the worst queries of every direction, then the best, each with what it found."""
    if not any(search.best or search.worst for search in facts.searches):
        return None
    worst, best = (
        [
            (f"{search.query} → {search.found}", rows)
            for search, rows in zip(facts.searches, chosen, strict=True)
            if rows
        ]
        for chosen in ([s.worst for s in facts.searches], [s.best for s in facts.searches])
    )
    last_first = tag("p", "Ordered by rank, the last first.")
    first_first = tag("p", "Ordered by rank; of equals, what is furthest ahead of every wrong answer comes first.")
    return Markup(
        section("worst-queries", "The worst queries", last_first, _galleries(worst))
        + section("best-queries", "The best queries", first_first, _galleries(best))
    )


def _table(searches: Sequence[Search]) -> Markup:
    names = list(dict.fromkeys(name for search in searches for name in search.metrics))
    titles = ["", *map(metric_name, names), "Queries", "Candidates"]
    body = [
        tag(
            "tr",
            tag("th", f"{search.query} → {search.found}", scope="row"),
            [tag("td", number(n, search.metrics[n]) if n in search.metrics else "–") for n in names],
            tag("td", f"{search.num_queries:,}"),
            tag("td", f"{search.num_candidates:,}"),
        )
        for search in searches
    ]
    head = tag("tr", [tag("th", title, scope="col") for title in titles])
    return scrolled(tag("table", tag("thead", head), tag("tbody", body)), "Metrics of every direction")


def _spread(search: Search) -> Markup:
    most = max((count for _, count in search.rank_counts), default=0) or 1
    lines = [
        tag(
            "li",
            tag("span", f"rank {ranks}", class_="name"),
            bar(count / most, "model"),
            tag("span", f"{count:,}", class_="value"),
        )
        for ranks, count in search.rank_counts
    ]
    caption = f"{search.query} → {search.found}: queries by rank"
    return tag("figure", tag("figcaption", caption), tag("ul", lines, class_="bars"))


def _galleries(named: Sequence[tuple[str, Sequence[Query]]]) -> list[Markup]:
    return [
        Markup(tag("h3", f"{name} ({len(rows)})") + tag("div", [_card(row) for row in rows], class_="cards"))
        for name, rows in named
    ]


def _card(query: Query) -> Markup:
    return tag(
        "article",
        [shown(one) for one in query.shown],
        tag(
            "dl",
            tag("dt", "rank"),
            tag("dd", f"{query.rank:,}"),
            tag("dt", "found"),
            [tag("dd", _found(one)) for one in query.found],
            [tag("dt", "right"), tag("dd", [shown(one) for one in query.right])] if query.right else None,
        ),
        tag("p", query.where, class_="fine where"),
        class_="card " + ("hit" if query.rank == 1 else "miss"),
    )


def _found(one: Found) -> list[object]:
    mark = "✓ right" if one.is_right else "✗"
    return [[shown(item) for item in one.shown], tag("span", f" {one.score:.2f} {mark}", class_="fine")]

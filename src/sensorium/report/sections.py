"""The parts of a report's page, each from the facts that it tells; None where there is nothing to tell."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.report.charts import line_chart
from sensorium.report.facts import Confusion, Curve, RunFacts, System
from sensorium.report.markup import Markup, tag
from sensorium.report.row_cards import row_card
from sensorium.report.wording import (
    best_baseline,
    duration,
    interval,
    is_share,
    metric_name,
    number,
    standing,
    verdict,
)

_STANDING = {
    "better": "Better than its baselines",
    "worse": "Behind a baseline",
    "open": "No clear gain over its baselines",
}


def section(name: str, heading: str, *children: object) -> Markup:
    """Return one part of the page under its heading."""
    title = tag("h2", heading, id=f"{name}-heading")
    return tag("section", title, *children, id=name, aria_labelledby=f"{name}-heading")


def opening(facts: RunFacts) -> Markup:
    """Say what the run is and how it stands."""
    return tag(
        "header",
        tag("p", "Sensorium run report", class_="kicker"),
        tag("h1", facts.name),
        tag(
            "div",
            tag(
                "p",
                _STANDING[standing(facts)]
                if facts.baselines
                else "Pretrained"
                if facts.objectives
                else "Not compared",
                class_=f"badge {standing(facts)}",
            ),
            tag("p", verdict(facts), class_="sentence"),
            class_="verdict",
        ),
        tag("dl", [_tile(name, facts) for name in facts.model.scores], class_="tiles"),
        [tag("p", note, class_="note") for note in facts.notes],
    )


def _tile(name: str, facts: RunFacts) -> Markup:
    score = facts.model.scores[name]
    around = interval(name, score)
    less = "less is better" if name in facts.lower_is_better else None
    return tag(
        "div",
        tag("dt", metric_name(name)),
        tag("dd", number(name, score.value)),
        tag("dd", f"95\u00a0%: {around}", class_="fine") if around else None,
        tag("dd", less, class_="fine") if less else None,
        class_="tile",
    )


def baselines(facts: RunFacts) -> Markup | None:
    """Hold the model against its baselines, by the metric that decides and all others."""
    if not facts.baselines:
        return None
    best = best_baseline(facts)
    systems = [*facts.baselines, facts.model]
    return section(
        "baselines",
        "Beside its baselines",
        tag(
            "p",
            "A baseline is what can be had for less: the most frequent answer, one scorer of the model alone, "
            "or the same model with one input, trained anew on a share of the budget.",
        ),
        _bars(systems, facts, facts.model, best),
        _table(systems, facts),
    )


def objectives(facts: RunFacts) -> Markup | None:
    """Show what each objective of a pretraining run came to, beside what it does without the other inputs."""
    if not facts.objectives:
        return None
    names = ("Objective", "Measure", "With the other inputs", "Alone")
    head = tag("tr", [tag("th", text, scope="col") for text in names])
    body = [
        tag(
            "tr",
            tag("th", one.objective, scope="row"),
            tag("td", one.measure),
            tag("td", number(one.measure, one.value)),
            tag("td", "–" if one.alone is None else number(one.measure, one.alone)),
        )
        for one in facts.objectives
    ]
    return section(
        "objectives",
        "What it was trained by",
        tag("p", f"On {facts.model.rows:,} {facts.judged_on} rows. Alone: all other inputs of the row are hidden."),
        scrolled(tag("table", tag("thead", head), tag("tbody", body)), "Objectives"),
    )


def patterns(facts: RunFacts) -> Markup | None:
    """Show what is left when inputs are missing."""
    if len(facts.patterns) < 2:
        return None
    rows = facts.patterns[0].rows
    return section(
        "patterns",
        "When inputs are missing",
        tag(
            "p",
            f"The same model and the same {rows:,} rows; inputs that are not named are hidden. "
            "Nothing is filled in for them.",
        ),
        _bars(facts.patterns, facts, facts.patterns[0]),
    )


def contributions(facts: RunFacts) -> Markup | None:
    """Show what each modality gave."""
    if not facts.contributions:
        return None
    largest = max(abs(value) for _, value in facts.contributions) or 1.0
    lines = [
        tag(
            "li",
            tag("span", name, class_="name"),
            bar(abs(value) / largest, "negative" if value < 0 else "model"),
            tag("span", f"{value:+.3f}", class_="value"),
        )
        for name, value in facts.contributions
    ]
    return section(
        "contributions",
        "What each input gave",
        tag(
            "p",
            "The Shapley value of each input: its gain, on average over all orders in which inputs can be added. "
            "Together they are what the model gains from all inputs over none.",
        ),
        tag("figure", tag("figcaption", facts.contribution_unit), tag("ul", lines, class_="bars")),
    )


def _bars(systems: Sequence[System], facts: RunFacts, highlighted: System, best: System | None = None) -> Markup:
    """Draw one bar a system, by the metric that decides; the interval, if known, lies over its end."""
    name = facts.metric
    judged = [system for system in systems if name in system.scores]
    ends = [s.scores[name].high or s.scores[name].value for s in judged]
    largest = 1.0 if is_share(name) and max(ends) <= 1 else max(ends) or 1.0
    lines = []
    for system in judged:
        score = system.scores[name]
        kind = "model" if system is highlighted else "best" if system is best else "other"
        whisker = None
        if score.low is not None and score.high is not None:
            left, width = 100 * score.low / largest, 100 * (score.high - score.low) / largest
            whisker = tag("span", class_="whisker", style=f"left:{left:.2f}%;width:{max(width, 0.3):.2f}%")
        lines.append(
            tag(
                "li",
                tag("span", system.name, class_="name"),
                bar(score.value / largest, kind, whisker),
                tag("span", number(name, score.value), class_="value"),
            )
        )
    caption = f"{metric_name(name)}{', less is better' if name in facts.lower_is_better else ''}"
    return tag("figure", tag("figcaption", caption), tag("ul", lines, class_="bars"))


def bar(share: float, kind: str, *children: object) -> Markup:
    """Draw a bar of a share of the width."""
    width = 100 * min(max(share, 0.0), 1.0)
    fill = tag("span", class_=f"fill {kind}", style=f"width:{width:.2f}%")
    return tag("span", fill, *children, class_="bar", aria_hidden="true")


def _table(systems: Sequence[System], facts: RunFacts) -> Markup:
    names = list(facts.model.scores)
    head = tag(
        "tr", [tag("th", text, scope="col") for text in ("", *map(metric_name, names), "Rows", "Fitted for")]
    )
    body = [
        tag(
            "tr",
            tag("th", system.name, scope="row"),
            [tag("td", number(n, system.scores[n].value) if n in system.scores else "–") for n in names],
            tag("td", f"{system.rows:,}"),
            tag("td", "–" if system.seconds is None else duration(system.seconds)),
            class_="model" if system is facts.model else None,
        )
        for system in systems
    ]
    return scrolled(tag("table", tag("thead", head), tag("tbody", body)), "All metrics of model and baselines")


def scrolled(content: Markup, label: str) -> Markup:
    """Let wide content scroll by itself, by keyboard too, so that the page never does."""
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def curves(facts: RunFacts) -> Markup | None:
    """Draw how the run went."""
    figures = [_figure(title, lines) for title, lines in facts.curves.items() if any(len(c.points) for c in lines)]
    return section("curves", "How it learned", tag("div", figures, class_="figures")) if figures else None


def _figure(title: str, lines: Sequence[Curve]) -> Markup:
    shown = [line for line in lines if len(line.points)]
    key = [tag("li", line.name, class_=f"line-{i % 6}") for i, line in enumerate(shown)]
    return tag(
        "figure",
        tag("figcaption", title),
        tag("ul", key, class_="key") if len(key) > 1 else None,
        line_chart(shown, x_label="steps", title=title),
    )


def confusion(facts: RunFacts) -> Markup | None:
    """Show what was said for what was right; each cell with rows leads to some of them."""
    found = facts.confusion
    if found is None:
        return None
    head = tag("tr", tag("td", "right ↓ said →"), [tag("th", tag("span", n), scope="col") for n in found.answers])
    body = []
    for i, name in enumerate(found.answers):
        total = sum(found.counts[i])
        cells = [_cell(found, i, j, total) for j in range(len(found.answers))]
        body.append(tag("tr", tag("th", name, scope="row"), cells, tag("td", f"{total:,}", class_="total")))
    folded = None
    if found.num_folded:
        folded = tag("p", f"“(others)” stands for {found.num_folded:,} rarer answers together.", class_="fine")
    return section(
        "confusion",
        "What it takes for what",
        tag("p", "Rows are what was right, columns what was said. Choose a cell to see some of its rows."),
        scrolled(tag("table", tag("thead", head), tag("tbody", body), class_="confusion"), "Confusion matrix"),
        folded,
        [_cell_rows(found, i, j) for i, j in sorted(found.samples)],
    )


def _cell(found: Confusion, i: int, j: int, total: int) -> Markup:
    count = found.counts[i][j]
    if not count:
        return tag("td", "·", class_="none")
    share = count / max(total, 1)
    told = f"{count:,} rows of {found.answers[i]}, said {found.answers[j]}"
    content: object = f"{count:,}"
    if (i, j) in found.samples:
        content = tag("a", content, href=f"#cell-{i}-{j}", aria_label=f"{told}: show rows")
    strength = round(100 * (0.1 + 0.45 * share))
    return tag("td", content, class_="right" if i == j else "wrong", style=f"--share:{strength}%")


def _cell_rows(found: Confusion, i: int, j: int) -> Markup:
    rows = found.samples[i, j]
    heading = f"Right: {found.answers[i]} · said: {found.answers[j]} ({len(rows)} of {found.counts[i][j]:,} rows)"
    return tag(
        "div",
        tag("h3", heading),
        tag("div", [row_card(row) for row in rows], class_="cards"),
        tag("p", tag("a", "Close", href="#confusion")),
        id=f"cell-{i}-{j}",
        class_="cell-rows",
        tabindex=-1,
    )


def galleries(facts: RunFacts) -> Markup | None:
    """Show the worst rows, then the best."""
    if not facts.best and not facts.worst:
        return None
    by = f"by {metric_name(facts.metric)} on the row alone"
    worst = section(
        "worst",
        f"The worst {len(facts.worst)} rows",
        tag("p", f"Ordered {by}; of equals, the surest mistake comes first."),
        tag("div", [row_card(row) for row in facts.worst], class_="cards"),
    )
    best = section(
        "best",
        f"The best {len(facts.best)} rows",
        tag("p", f"Ordered {by}; of equals, the surest comes first."),
        tag("div", [row_card(row) for row in facts.best], class_="cards"),
    )
    return Markup((worst if facts.worst else "") + (best if facts.best else ""))


def left_out(facts: RunFacts) -> Markup:
    """Count what was left out, and name the bad rows."""
    counted = [tag("li", f"{count:,} {what}") for what, count in facts.left_out.items() if count]
    parts: list[object] = [tag("ul", counted) if counted else tag("p", "No row was left out, cut or absent.")]
    if facts.bad_rows:
        more = facts.num_bad - len(facts.bad_rows)
        head = tag("tr", [tag("th", text, scope="col") for text in ("Row", "Input", "What is wrong")])
        body = [
            tag("tr", tag("th", place, scope="row"), tag("td", name or "–"), tag("td", message))
            for place, name, message in facts.bad_rows
        ]
        table = tag("table", tag("thead", head), tag("tbody", body), class_="texts")
        parts.append(
            tag(
                "details",
                tag("summary", f"{facts.num_bad:,} quarantined rows"),
                scrolled(table, "Quarantined rows"),
                tag("p", f"… and {more:,} more in bad_rows.jsonl.") if more > 0 else None,
            )
        )
    return section("left-out", "Rows left out", parts)


def again(facts: RunFacts) -> Markup:
    """Tell how to make the run again: command, facts, data, config."""
    about = [tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.about.items()]
    digests = [tag("div", tag("dt", part), tag("dd", tag("code", value))) for part, value in facts.digests.items()]
    return section(
        "again",
        "Make it again",
        scrolled(tag("pre", tag("code", facts.command)), "Command"),
        tag("dl", about, class_="facts"),
        tag("h3", "Data (SHA-256 of the tables)") if digests else None,
        tag("dl", digests, class_="facts digests") if digests else None,
        tag(
            "details", tag("summary", "The whole config"), scrolled(tag("pre", tag("code", facts.config)), "Config")
        ),
    )

"""One judged row as a card: its media, what was expected, what was said."""

from __future__ import annotations

from collections.abc import Callable

from sensorium.report.facts import Row, Shown
from sensorium.report.markup import Markup, tag


def row_card(row: Row) -> Markup:
    """Show a row."""
    sure = _probability(row, row.probability)
    return tag(
        "article",
        [shown(one) for one in row.inputs],
        tag(
            "dl",
            tag("dt", "expected"),
            [tag("dd", text) for text in dict.fromkeys(row.expected)],
            tag("dt", "said"),
            tag(
                "dd",
                row.answer or "(nothing)",
                tag("span", f" {sure}", class_="fine"),
            ),
            _runners_up(row),
        ),
        tag("p", row.where, class_="fine where"),
        class_="card " + ("hit" if row.answer in row.expected else "miss"),
    )


def _runners_up(row: Row) -> list[Markup]:
    others = [(text, p) for text, p in row.alternatives if text != row.answer][:2]
    if not others:
        return []
    said = ", ".join(f"{text}\u00a0{_probability(row, p)}" for text, p in others)
    return [tag("dt", "or"), tag("dd", said, class_="fine")]


def shown(one: Shown) -> Markup:
    """Show one input of a row."""
    if one.source is None:
        return tag("p", tag("b", one.name), " ", tag("i", one.note), class_="input")
    return _KINDS.get(one.kind, _text)(one)


def _picture(one: Shown) -> Markup:
    name = f"{one.name}: {one.note}"
    return tag("img", src=one.source, alt=name, title=name, loading="lazy", decoding="async")


def _sound(one: Shown) -> Markup:
    name = f"{one.name}: {one.note}"
    return tag("audio", controls=True, preload="none", src=one.source, aria_label=name, title=name)


def _text(one: Shown) -> Markup:
    return tag("p", tag("b", one.name), " ", one.source, class_="input")


_KINDS: dict[str, Callable[[Shown], Markup]] = {"image": _picture, "audio": _sound, "video": _picture}


def _probability(row: Row, p: float) -> str:
    return f"{'at least ' if row.is_bound else ''}{_per_cent(p)}"


def _per_cent(p: float) -> str:
    return f"{100 * p:.0f}\u00a0%" if p >= 0.1 else f"{100 * p:.2g}\u00a0%"

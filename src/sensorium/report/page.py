"""The whole page: one HTML file that needs nothing else, on any width, in light and dark.

Enters: `RunFacts`.  Leaves: HTML5 text.  There is no script on it, and its policy forbids every one, as well as
every request: what stands in a table can be shown, and can do nothing.  Cells of the confusion matrix are links to
parts of the page that are hidden until they are chosen (`:target`).
"""

from __future__ import annotations

from importlib.resources import files

from sensorium.report import searches, sections
from sensorium.report.facts import RunFacts
from sensorium.report.markup import Markup, tag
from sensorium.report.wording import verdict
from sensorium.version import __version__

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
MAX_BYTES = 10_000_000

_PARTS = (
    ("baselines", "Baselines", sections.baselines),
    ("ranks", "Ranks", searches.ranks),
    ("objectives", "Objectives", sections.objectives),
    ("patterns", "Missing inputs", sections.patterns),
    ("contributions", "Inputs", sections.contributions),
    ("curves", "Curves", sections.curves),
    ("confusion", "Confusions", sections.confusion),
    ("worst", "Rows", sections.galleries),
    ("worst-queries", "Queries", searches.queries),
    ("left-out", "Left out", sections.left_out),
    ("again", "Again", sections.again),
)


def begins_page(begins: bytes) -> bool:
    """Say whether a file that begins with these bytes is a report, as `write_page` writes it."""
    return begins.startswith(b"<!DOCTYPE html>") and b" Sensorium</title>" in begins


def write_page(facts: RunFacts) -> str:
    """Return the report as HTML."""
    parts = [(name, short, part) for name, short, make in _PARTS if (part := make(facts)) is not None]
    menu = tag(
        "nav",
        tag("ul", [tag("li", tag("a", short, href=f"#{name}")) for name, short, _ in parts]),
        aria_label="Parts",
    )
    body = tag(
        "body",
        sections.opening(facts),
        menu,
        tag("main", [part for _, _, part in parts]),
        tag("footer", tag("p", f"Sensorium {__version__} · {facts.run}")),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{_head(facts)}\n{body}\n</html>\n'


def _head(facts: RunFacts) -> Markup:
    style = (files("sensorium.report") / "page.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="description", content=verdict(facts)),
        tag("title", f"{facts.name} · Sensorium"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(style)),
    )

"""Summaries as files: plain text, SubRip (srt), JSON, and an HTML strip that needs nothing else.

Enters: a `Summary`.  Leaves: the file's text.  The page holds its pictures, no script, and may request nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from sensorium.core.names import require_known
from sensorium.report.inline_media import jpeg_uri
from sensorium.report.markup import Markup, tag
from sensorium.report.page import POLICY
from sensorium.workflow.summarising import Segment, Summary
from sensorium.workflow.transcript import clock

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; }
ol { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
li { flex: 0 1 15rem; }
figure { margin: 0; }
img { width: 100%; height: auto; border-radius: 4px; }
time { font-variant-numeric: tabular-nums; opacity: .7; font-size: .85rem; }
"""


def written(summary: Summary, style: str) -> str:
    """Return a summary as a file of `style`: txt, srt, json or html.  Raises UsageError: no such style."""
    require_known([style], list(STYLES), "summary format")
    return STYLES[style](summary)


def _txt(summary: Summary) -> str:
    return "".join(f"{_span(segment)}  {segment.caption}\n" for segment in summary.segments)


def _srt(summary: Summary) -> str:
    blocks = [
        f"{number}\n{clock(s.start_s, ',')} --> {clock(s.end_s, ',')}\n{s.caption}\n"
        for number, s in enumerate(summary.segments, start=1)
    ]
    return "\n".join(blocks)


def _json(summary: Summary) -> str:
    return json.dumps(summary.facts(), ensure_ascii=False, indent=1) + "\n"


def _html(summary: Summary) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{summary.name} · Sensorium"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(_STYLE)),
    )
    body = tag(
        "body",
        tag("h1", summary.name),
        tag("p", f"{summary.duration_s:.1f} s in {len(summary.segments)} segments"),
        tag("ol", [_card(segment) for segment in summary.segments]),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _card(segment: Segment) -> Markup:
    picture = tag("img", src=jpeg_uri(segment.picture_HW3), alt=f"{segment.caption} ({segment.key_s:.2f} s)")
    return tag("li", tag("figure", picture, tag("figcaption", tag("time", _span(segment)), " ", segment.caption)))


def _span(segment: Segment) -> str:
    return f"{clock(segment.start_s, '.')} - {clock(segment.end_s, '.')}"


STYLES: dict[str, Callable[[Summary], str]] = {"txt": _txt, "srt": _srt, "json": _json, "html": _html}

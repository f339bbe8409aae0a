"""Span schemes of tag sequences: BIO, and BIOES, which also marks ends and spans of one token.

Enters: tags such as "B-NP", "I-NP", "O".  Leaves: spans, or the same spans in the other scheme.

A span begins and ends where conlleval (Tjong Kim Sang and Buchholz 2000) says so, whatever the scheme and
however ill-formed the tags: at B and S, after O, E and S, and where the type changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Tokens start..end-1, of one type."""

    type: str
    start: int
    end: int


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans of a sentence, in order; "O" and tags without one of B I E S belong to none."""
    found: list[Span] = []
    start, before = 0, ("O", "")
    for i, now in enumerate([*map(parted, tags), ("O", "")]):
        if before[0] != "O" and _ends(before, now):
            found.append(Span(before[1], start, i))
        if now[0] != "O" and _ends(before, now):
            start = i
        before = now
    return found


def parted(tag: str) -> tuple[str, str]:
    """Part "B-NP" into ("B", "NP"); a tag of another form is ("O", "")."""
    mark, dash, kind = tag.partition("-")
    if mark in ("B", "I", "E", "S") and (dash or not kind):
        return mark, kind
    return "O", ""


def _ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Say whether no span goes on from one token to the next."""
    return before[0] in ("O", "E", "S") or now[0] in ("O", "B", "S") or before[1] != now[1]


def to_bioes(tags: Sequence[str]) -> list[str]:
    """Return the same spans in BIOES; tags outside spans stay as they are."""
    return _written(tags, first="B", middle="I", last="E", single="S")


def to_bio(tags: Sequence[str]) -> list[str]:
    """Return the same spans in BIO; tags outside spans stay as they are."""
    return _written(tags, first="B", middle="I", last="I", single="B")


def _written(tags: Sequence[str], *, first: str, middle: str, last: str, single: str) -> list[str]:
    written = list(tags)
    for kind, start, end in spans(tags):
        marks = [first, *[middle] * (end - start - 2), last] if end - start > 1 else [single]
        suffix = f"-{kind}" if kind else ""
        written[start:end] = [mark + suffix for mark in marks]
    return written

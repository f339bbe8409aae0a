"""Span schemes of tag sequences: where spans begin and end, however tags are written.

Enters: tags such as "B-NP", "I-NP", "O".  Leaves: spans, or the same spans as BIO or BIOES.

    read as    written as                                    in the schemes
    B          B                                             BIO (IOB1, IOB2), BIOES, BILOU, BMES
    I          I, M                                          M: BMES
    E          E, L                                          L: BILOU
    S          S, U, W                                       U: BILOU, W: BMEWO
    O          O

The mark stands before its type ("B-NP", "B_NP") or behind it ("NP-B"), in either case of letters.  A tag of none of
these forms ("NN") marks a span of its one token, so that tags without a scheme are judged token by token.

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
    """Return the spans of a sentence, in order; "O" belongs to none."""
    found: list[Span] = []
    start, before = 0, OUTSIDE
    for i, now in enumerate([*map(parted, tags), OUTSIDE]):
        if before[0] != "O" and _ends(before, now):
            found.append(Span(before[1], start, i))
        if now[0] != "O" and _ends(before, now):
            start = i
        before = now
    return found


OUTSIDE = ("O", "")
_MARKS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
_PARTS = frozenset("-_")


def parted(tag: str) -> tuple[str, str]:
    """Part "B-NP" into ("B", "NP"), the mark being one of B I E S; a tag of no scheme is a span of its own, "S"."""
    if tag in ("", "O", "o"):
        return OUTSIDE
    before, behind = _MARKS.get(tag[:1].upper()), _MARKS.get(tag[-1:].upper())
    if before and (len(tag) == 1 or tag[1] in _PARTS):
        return before, tag[2:]
    if behind and tag[-2:-1] in _PARTS:
        return behind, tag[:-2]
    return "S", tag


def _ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Say whether no span goes on from one token to the next."""
    return before[0] in ("O", "E", "S") or now[0] in ("O", "B", "S") or before[1] != now[1]


def to_bioes(tags: Sequence[str]) -> list[str]:
    """Return the same spans in BIOES; tags outside spans, and those of no scheme, stay as they are."""
    return _written(tags, first="B", middle="I", last="E", single="S")


def to_bio(tags: Sequence[str]) -> list[str]:
    """Return the same spans in BIO; tags outside spans, and those of no scheme, stay as they are."""
    return _written(tags, first="B", middle="I", last="I", single="B")


def _written(tags: Sequence[str], *, first: str, middle: str, last: str, single: str) -> list[str]:
    written = list(tags)
    for kind, start, end in spans(tags):
        if kind == tags[start]:
            continue
        marks = [first, *[middle] * (end - start - 2), last] if end - start > 1 else [single]
        suffix = f"-{kind}" if kind else ""
        written[start:end] = [mark + suffix for mark in marks]
    return written

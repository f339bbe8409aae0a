"""HTML that escapes what it is given: rows of a table are untrusted.

Enters: texts and attributes.  Leaves: `Markup`, text that is HTML already.  A plain `str` is never taken for
HTML: the only way to have it unescaped is `Markup(...)`, which is written where a constant is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_EMPTY = frozenset({"br", "img", "meta", "link", "hr", "source"})  # of SVG none: its elements are always closed
# What XML 1.0 and HTML leave out of documents: control characters other than tab and newlines, and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Return text as HTML; control characters and lone surrogates become U+FFFD."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(text)), quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return one element.

    Args:
        children: escaped unless `Markup`; lists are joined; None is left out.
        attributes: `class_` is class, `aria_label` is aria-label; None and False are left out, True has no value.
    """
    parts = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Markup(f"<{name}{parts}>")
    return Markup(f"<{name}{parts}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """Return children one after the other."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, str) or not isinstance(child, Iterable):
            parts.append(escape(child))
        else:
            parts.append(join(child))
    return Markup("".join(parts))


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'

"""What is done to every text before it is split: composed form, one spelling of white space."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from sensorium.core.text_file import fields

Form = Callable[[str], str]
"""In which form a text is taken: `as_written` or `one_line`."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """Return `text` with lone surrogates, which no UTF-8 holds, as U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def composed(text: str) -> str:
    """Return `text` encodable, and in Unicode normal form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", encodable(text))


def lowered(text: str) -> str:
    """Return `text` in lower case, composed again ('İ' lowers to two code points)."""
    return composed(text.lower())


def as_written(text: str) -> str:
    """Return `text` as it is."""
    return text


def one_line(text: str) -> str:
    """Return `text` with each run of white space as one blank, none at the ends."""
    return " ".join(text.split())


_BLANKS = str.maketrans(dict.fromkeys("\t\n\v\f\r\0", " "))
_ODD = "\0\v\f"


def split_at_blanks(text: str, *, as_c_does: bool = False) -> list[str]:
    """Return the stretches of `text` between blanks, tabs and line ends, encodable.

    A no-break space, or another blank that Unicode has beside these, is part of its word.

    Args:
        as_c_does: split at C's other blanks and NUL, too.
    """
    text = encodable(text)
    if as_c_does and any(sign in text for sign in _ODD):
        text = text.translate(_BLANKS)
    return fields(text)

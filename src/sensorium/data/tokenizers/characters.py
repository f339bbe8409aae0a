"""What is done to every text before it is split: composed form, one spelling of white space."""

from __future__ import annotations

import re
import unicodedata

_SURROGATE = re.compile("[\ud800-\udfff]")


def composed(text: str) -> str:
    """Return `text` in Unicode normal form C; lone surrogates, which are no text, become U+FFFD."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))


def lowered(text: str) -> str:
    """Return `text` in lower case, composed again ('İ' lowers to two code points)."""
    return composed(text.lower())


def one_line(text: str) -> str:
    """Return `text` with each run of white space as one blank, none at the ends."""
    return " ".join(text.split())

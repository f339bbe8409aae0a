"""What is done to every text before it is split: composed form, one spelling of white space."""

from __future__ import annotations

import re
import unicodedata

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


def one_line(text: str) -> str:
    """Return `text` with each run of white space as one blank, none at the ends."""
    return " ".join(text.split())


_BLANKS = str.maketrans(dict.fromkeys("\t\n\v\f\r\0", " "))
_SEPARATORS = "\x1c\x1d\x1e\x1f"  # blank to Python, not to C


def split_at_blanks(text: str, *, only_ascii: bool = False) -> list[str]:
    """Return the stretches of `text` without white space, encodable.

    Args:
        only_ascii: split at C's blanks and NUL alone, so that a no-break space stays part of its word.
    """
    if not only_ascii or (text.isascii() and "\0" not in text and not any(c in text for c in _SEPARATORS)):
        return encodable(text).split()
    return [token for token in encodable(text).translate(_BLANKS).split(" ") if token]

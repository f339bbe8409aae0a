"""Files of word vectors, read word by word: the text and binary forms of word2vec, GloVe and fastText.

Enters: a path; `.bin` (or `.bin.gz`) is binary, all else is text; gzip is unpacked.
Leaves: (word, float32 (D,)), one after the other; every number is finite, every word of the same width, and as
many as the first line declares where there is one.

    text     an optional first line 'V D', then 'word x_1 .. x_D' a line, parted by blanks or tabs
    binary   a line 'V D', then for each word 'word ' and D little-endian float32, maybe a line break
"""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from sensorium.core import text_file
from sensorium.core.errors import DataError

logger = logging.getLogger(__name__)

Entry = tuple[str, np.ndarray[tuple[int], np.dtype[np.float32]]]

_FASTTEXT = b"\xba\x16\x4f\x2f"
_LONGEST_LINE = 1 << 20
_DECIMAL = re.compile(r"(?!\d+$)[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")  # a whole number may end a word: "Apollo 11"
_FORM = "expected 'word x_1 .. x_D' on each line, parted by blanks or tabs"


def entries(path: Path) -> Iterator[Entry]:
    """Go through a file.

    Raises:
        DataError: a line of another form, a number that is none, or fewer or more words than the first line says.
        OSError: no such file.
    """
    is_binary = path.name.removesuffix(".gz").endswith(".bin")
    with _opened(path) as file:
        _check_form(file.readline(_LONGEST_LINE), file.readline(_LONGEST_LINE), path, is_binary)
    yield from _binary(path) if is_binary else _text(path)


def _check_form(first: bytes, second: bytes, path: Path, is_binary: bool) -> None:
    """Refuse a file whose first two lines are not of the form that its name says."""
    if first.startswith(_FASTTEXT):
        advice = "write them as text: fasttext print-word-vectors, or its .vec file"
        raise DataError("is a fastText model, not a file of vectors", where=str(path), advice=advice)
    if is_binary and not _is_header(first):
        advice = "a file of text has another ending, such as .txt or .vec"
        raise DataError("does not begin with 'WORDS WIDTH'", where=str(path), advice=advice)
    if not _is_header(first):
        return
    width = int(first.split()[1])
    is_text = len(_numbers(second.decode("utf-8", "replace").split()[-width:])) == width
    if is_binary and is_text:
        raise DataError("holds text", where=str(path), advice="give it another ending, such as .txt or .vec")
    if not is_binary and not is_text and (b"\0" in second or "\ufffd" in second.decode("utf-8", "replace")):
        raise DataError("is of word2vec's binary form", where=str(path), advice="give it the ending .bin")


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if is_packed else path.open("rb")


def _is_header(line: bytes) -> bool:
    fields = line.split()
    return len(fields) == 2 and all(field.isdigit() for field in fields) and int(fields[1]) > 0


def _text(path: Path) -> Iterator[Entry]:
    declared: int | None = None
    width = num_words = num_unreadable = 0
    for number, line, fault in text_file.lines_with_faults(path):
        fields = text_file.fields(line)
        if number == 1 and _is_header(line.encode("utf-8", "replace")):
            declared, width = int(fields[0]), int(fields[1])
            continue
        num_words += bool(fields)
        num_unreadable += bool(fault)
        if fault or not fields:
            continue
        # Some GloVe words hold blanks, so the numbers are counted from the end.
        width = width or _width(fields)
        x_D = _numbers(fields[-width:])
        has_more = len(fields) > width + 1 and _DECIMAL.fullmatch(fields[-1 - width]) is not None
        if has_more or not 0 < width < len(fields) or len(x_D) != width:
            what = f"is no word and {width} numbers" if width else f"is no word and numbers: {line[:60]!r}"
            raise DataError(what, where=f"{path}:{number}", advice=_FORM)
        yield " ".join(fields[:-width]), x_D
    if declared is not None and num_words != declared:
        what = f"holds {num_words:,} of the {declared:,} words that its first line declares"
        raise DataError(what, where=str(path), advice="fetch it again, or mend its first line")
    if num_unreadable:
        logger.warning("%s: %s words are not UTF-8, and are left out", path.name, f"{num_unreadable:,}")


def _width(fields: Sequence[str]) -> int:
    """Count the numbers at the end of the first line, whose word may be a number, too."""
    width = 0
    while width < len(fields) - 1 and len(_numbers(fields[-1 - width :][:1])):
        width += 1
    return width


def _numbers(fields: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the numbers, none where one of them is no finite number."""
    try:
        x_D = np.array(fields, dtype=np.float32)
    except ValueError:
        return np.zeros(0, np.float32)
    return x_D if np.isfinite(x_D).all() else np.zeros(0, np.float32)


def _binary(path: Path) -> Iterator[Entry]:
    with _opened(path) as file:
        num_words, width = (int(field) for field in file.readline(64).split())
        for number in range(1, num_words + 1):
            letters = bytearray()
            while (letter := file.read(1)) not in (b" ", b"") and len(letters) < _LONGEST_LINE:
                letters += letter
            values = file.read(4 * width)
            if len(values) != 4 * width:
                raise DataError(
                    f"ends in word {number:,} of {num_words:,}", where=str(path), advice="fetch it again"
                )
            x_D = np.frombuffer(values, "<f4").astype(np.float32)
            if not np.isfinite(x_D).all():
                raise DataError(f"word {number:,} has a number that is not finite", where=str(path))
            yield letters.decode("utf-8", "replace").lstrip("\r\n"), x_D
        if rest := file.read(1 << 10).strip(b"\r\n"):
            what = f"holds more than the {num_words:,} words of {width:,} numbers that its first line declares"
            raise DataError(what, where=str(path), advice=f"what follows begins with {bytes(rest[:20])!r}")

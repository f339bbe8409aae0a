"""A long text as a table of one column, `text`, cut where it falls.

Enters: a UTF-8 file, with a part's name behind it or not.  Leaves: rows of `text`.

    windows:shakespeare.txt           a row for every 256 characters, whatever they are
    windows:shakespeare.txt/train     the same of the first nine tenths of the text; /validation is the last tenth
    windows:shakespeare.txt/fit       of the training part all but its end; /held-out is that end, to weigh scorers
                                      on: like the validation part it is of scenes that the rest does not have
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, RowStream

COLUMN = "text"
WINDOW = 256
MAX_BYTES = 4_000_000_000
PARTS = {"train": (0.0, 0.9), "fit": (0.0, 0.86), "held-out": (0.86, 0.9), "validation": (0.9, 1.0)}


def read_windows(path: Path) -> RowStream:
    """Stream a file, or a part of it, in windows that do not overlap.

    Raises:
        DataError: not UTF-8, or no text in that part.
    """
    text = part_of(path)
    if not text:
        raise DataError("holds no text", where=str(path))
    return RowStream([COLUMN], _windows(text))


def part_of(path: Path) -> str:
    """Return the text of a file, or of the part that `path` ends in.  Raises DataError: not UTF-8."""
    is_part = path.name in PARTS and not path.exists()
    file, (first, last) = (path.parent, PARTS[path.name]) if is_part else (path, (0.0, 1.0))
    text = text_file.whole(file, MAX_BYTES)
    return text[int(first * len(text)) : int(last * len(text))]


def _windows(text: str) -> Iterator[Row | BadLine]:
    for number, start in enumerate(range(0, len(text), WINDOW), start=1):
        yield Row(number, {COLUMN: text[start : start + WINDOW]})

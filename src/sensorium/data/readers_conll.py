"""CoNLL column files: one token a line, blank-separated columns, an empty line after each sentence.

Enters: UTF-8 text such as that of the CoNLL-2000 shared task ('He PRP B-NP').  Leaves: one row a sentence.
Its cells hold one item a token, parted by blanks:

    words, pos, chunk     columns 1, 2 and 3 of the file; column_4, ... any between
    tags                  the last column, whatever it is
    tokens                all columns but the last, joined by '￨' (U+FFE8): 'He￨PRP'

    conll:chunking/train.txt

Lines '-DOCSTART- ...' (CoNLL-2003) are skipped, and so are remarks before a sentence ('# sent_id = 1', '# id 5f3e',
'# https://...').  A sentence whose lines have another number of columns than the first line is a BadLine.  CoNLL-U,
whose first column numbers the tokens and whose last one is no tag, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, RowStream, row_of

JOINER = "￨"
"""What parts the factors of a token (U+FFE8, as in OpenNMT's word features)."""

_NAMES = ("words", "pos", "chunk")
_REMARK = re.compile(r"#\s*(?:id\s+\S|[\w.:-]+\s*=\s|newdoc\b|newpar\b|https?://)")
_CONLL_U_COLUMNS = 10


def read_conll(path: Path) -> RowStream:
    """Stream the sentences of a column file.

    Raises:
        DataError: not UTF-8, without a sentence, or of one column alone.
    """
    first = next((lines for _, lines in _sentences(path)), None)
    if first is None:
        raise DataError("holds no sentence", where=str(path))
    width = len(first[0])
    if width == _CONLL_U_COLUMNS and first[0][0] in ("1", "1-2"):
        advice = "keep two columns, the word and the tag: grep -v '^#' FILE | cut -f2,4"
        raise DataError("is CoNLL-U, whose first column numbers the tokens", where=str(path), advice=advice)
    if width < 2:
        raise DataError(
            "has one column", where=str(path), advice="expected a token and its tag on each line, such as 'He B-NP'"
        )
    return RowStream([*_names(width), "tags", "tokens"], _rows(path, width))


def _rows(path: Path, width: int) -> Iterator[Row | BadLine]:
    for line, lines in _sentences(path):
        odd = next((i for i, cells in enumerate(lines) if len(cells) != width), None)
        if odd is not None:
            yield BadLine(line, f"token {odd + 1} has {len(lines[odd])} columns, not {width}")
            continue
        columns = {name: " ".join(cells[i] for cells in lines) for i, name in enumerate(_names(width))}
        columns["tags"] = " ".join(cells[-1] for cells in lines)
        columns["tokens"] = " ".join(JOINER.join(cells[:-1]) for cells in lines)
        yield row_of(line, columns)


def _names(width: int) -> list[str]:
    """Name the columns of the file."""
    return [_NAMES[i] if i < len(_NAMES) else f"column_{i + 1}" for i in range(width)]


def _sentences(path: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield each sentence's first line number and its lines' cells."""
    lines: list[list[str]] = []
    start = 1
    for number, line in text_file.lines(path):
        if not lines and _REMARK.match(line):
            continue
        cells = text_file.fields(line)
        # A document's start ends the sentence before it, with a blank line or without.
        if cells[:1] == ["-DOCSTART-"]:
            cells = []
        if cells:
            if not lines:
                start = number
            lines.append(cells)
        elif lines:
            yield start, lines
            lines = []
    if lines:
        yield start, lines

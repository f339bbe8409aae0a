"""Plain text files, one row a line -> rows of `text`; several files, one a class -> `text` and `label`.

    lines:books.txt                  ->  no label
    lines:polarity/rt-polarity.*     ->  label = what the star stands for: "neg", "pos"
    lines:reviews                    ->  every .txt file of the folder; label = its name without .txt

Files come in sorted order; blank lines are no rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.litter import is_litter
from sensorium.data.readers import BadLine, Row, RowStream, row_of

TEXT, LABEL = "text", "label"


def read_lines(path: Path) -> RowStream:
    """Open one file, or the files that `path` names by its star, or the text files of a folder.

    Raises:
        DataError: no such file, or more than one star.
    """
    if path.is_file():
        return RowStream([TEXT], _rows([(path, None)]))
    if path.name.count("*") > 1:
        raise DataError("has more than one star", where=str(path), advice="the label is what one star stands for")
    folder, pattern = (path, "*.txt") if path.is_dir() else (path.parent, path.name)
    before, star, after = pattern.partition("*")
    files = sorted(file for file in folder.glob(pattern) if file.is_file() and not is_litter(file.name))
    if not star or not files:
        advice = "name the files by a star, such as 'lines:reviews/*.txt'"
        raise DataError("names no files of lines", where=str(path), advice=advice)
    labelled = [(file, file.name[len(before) : len(file.name) - len(after)]) for file in files]
    return RowStream([TEXT, LABEL], _rows(labelled))


def _rows(files: Sequence[tuple[Path, str | None]]) -> Iterator[Row | BadLine]:
    number = 0
    for file, label in files:
        for line in text_file.lines_with_faults(file):
            number += 1
            text = line.text.strip()
            if line.fault:
                yield BadLine(number, f"{line.fault} ('{file.name}')")
            elif text:
                yield row_of(number, {TEXT: text} if label is None else {TEXT: text, LABEL: label})

"""What a cell that holds a list means, by who reads its column.

    items     a list is its items, parted by blanks: words, and the tags of words
    rows      each text is a row of its own, which shares all other cells: several captions of one photo
    several   a list of media or texts, all of which belong to the row (`several = true`)
    one       a list of one text is that text; a longer one is refused

Enters: a table, and the meaning of its columns.  Leaves: a table whose cells are texts.
A column of texts all of which write lists, as CSV files have them, is read as lists, too (`data/written_lists.py`).
An empty list, and null in it, is nothing.  A list within a list, an object, or an item that cannot be told from its
neighbours is refused: the cell then says why, and the row is set aside by whoever reads it.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from sensorium.data.cell_values import MARK, cell_of, described, refused, shown, value_in
from sensorium.data.written_lists import written_list

Means = Literal["items", "rows", "several", "one"]

_BLANK = re.compile(r"[ \t\r\n]")

_CURES: dict[Means, str] = {
    "items": "",
    "rows": "",
    "several": "",
    "one": " ('several = true' in its section reads all; or give each a row of its own, or join them in the table)",
}


def texts_in(cell: str, means: Means) -> list[str]:
    """Return what a cell means: one text for each row that it stands for; [''] where there is nothing."""
    if not cell.startswith(MARK):
        return [cell]
    value = value_in(cell)
    if value is None:
        return [shown(cell)]
    if not isinstance(value, list) or any(isinstance(item, list | dict) for item in value):
        kind = (
            "of something else than texts" if isinstance(value, list) else "whose parts want columns of their own"
        )
        return [refused(f"holds {described(value)} {kind}")]
    items = list(map(cell_of, value))
    if means == "items":
        return [_joined(items)]
    texts = [item for item in items if item.strip()]
    if means == "several":
        return [json.dumps(texts, ensure_ascii=False) if texts else ""]
    if means == "one" and len(texts) > 1:
        return [refused(f"holds {described(value)}, where one text is meant{_CURES[means]}")]
    return texts or [""]


def _joined(items: Sequence[str]) -> str:
    """Part the items by blanks, if that tells them apart."""
    for number, item in enumerate(items, start=1):
        if not item or _BLANK.search(item):
            told = "is empty" if not item else f"({item!r}) has a blank within"
            return refused(f"holds {described(list(items))}, whose item {number} {told}")
    return " ".join(items)


class ListedRows(Sequence[list[str]]):
    """Rows whose list cells are read; a cell that means several rows is as many.

    Args:
        rows: [line, cell, ...] by number.
        means: by position in a row, from 1.
        written: the positions whose texts write lists.
    """

    def __init__(self, rows: Any, means: Mapping[int, Means], written: Collection[int] = ()) -> None:
        self._rows = rows
        self._written = frozenset(written)
        self._means = dict(means)
        spread = [position for position, meaning in self._means.items() if meaning == "rows"]
        self._number_N: Sequence[int] = range(len(rows))  # which row of `rows` each row is ...
        self._text_N: Sequence[int] | None = None  # ... and which of its texts
        if spread:
            self._number_N, self._text_N = array("q"), array("q")
            for number, row in enumerate(rows):
                count = max(len(self._texts(row, position)) for position in spread)
                self._number_N.extend([number] * count)
                self._text_N.extend(range(count))

    def __len__(self) -> int:
        return len(self._number_N)

    def origin(self, i: int) -> int:
        """Return the number of the row that row `i` was before."""
        return self._number_N[i]

    def __getitem__(self, i: Any) -> Any:
        return self._read(self._rows[self._number_N[i]], 0 if self._text_N is None else self._text_N[i])

    def __iter__(self) -> Iterator[list[str]]:
        return (self[i] for i in range(len(self)))

    def _read(self, row: Sequence[str], k: int) -> list[str]:
        cells = list(row)
        for position in self._means:
            if position < len(cells):
                texts = self._texts(row, position)
                cells[position] = texts[min(k, len(texts) - 1)]
        return cells

    def _texts(self, row: Sequence[str], position: int) -> list[str]:
        cell = row[position] if position < len(row) else ""
        if position in self._written and (items := written_list(cell)) is not None:
            cell = cell_of(items)
        return texts_in(cell, self._means[position])

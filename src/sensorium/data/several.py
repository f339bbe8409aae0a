"""Several media of one kind in a row: how a cell lists them, and lists as integers.

Enters: table cells, and the most media a row may have.  Leaves: `Several.split`, a cell's parts; `MediaLists`,
the distinct lists of a corpus.

A cell is a list of texts, as JSON or as Python writes it, or texts between separators:

    ["front.jpg", "back.jpg"]        ['front.jpg', 'back.jpg']        front.jpg|back.jpg

A cell that begins with "[" and is no JSON list of texts names a file (or is a text) that is called so.
A blank cell, or an empty list, is an absent input.  Media beyond the most a row may have are left out, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.data.cell_values import fault_in
from sensorium.data.written_lists import lists_texts, written_list


@dataclass(frozen=True, slots=True)
class Several:
    """How an input's cells list media.

    Attributes:
        separator: between the texts of a cell that is no JSON list.
        most: how many media of a row are used.
    """

    separator: str = "|"
    most: int = 8

    def split(self, cell: str) -> list[str]:
        """Return the parts of a cell, blank ones left out.  Raises DataError: a list of something else."""
        if fault := fault_in(cell):
            raise DataError(fault)
        text = cell.strip()
        parts = _json_list(text) if text.startswith("[") else None
        return [part.strip() for part in (text.split(self.separator) if parts is None else parts) if part.strip()]


def _json_list(text: str) -> list[str] | None:
    """Return the texts of a JSON list, null left out; None: it only begins like one, as '[1] front.jpg' does."""
    written = written_list(text)
    if written is not None and lists_texts(written):
        return [str(part) for part in written if part is not None]
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.startswith('["'):
            raise DataError(f"is no JSON list: {error}") from None
        return None
    if not isinstance(parts, list) or not all(isinstance(part, str) or part is None for part in parts):
        return None
    return [part for part in parts if part is not None]


class MediaLists:
    """S lists of units.

    Args:
        lists: each a sequence of unit numbers, one at least.
    """

    def __init__(self, lists: Sequence[Sequence[int]]) -> None:
        lengths = [len(units) for units in lists]
        self.start_S = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.unit_X = np.array([unit for units in lists for unit in units], np.int64)

    def __len__(self) -> int:
        return len(self.start_S) - 1

    def __getitem__(self, number: int) -> npt.NDArray[np.int64]:
        """Return the units of one list."""
        return self.unit_X[self.start_S[number] : self.start_S[number + 1]]

    def padded(self, number_K: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return lists as rows (K, longest), padded with -1 on the right."""
        rows = [self[number] for number in number_K.tolist()]
        found = np.full((len(rows), max((len(row) for row in rows), default=0)), -1, np.int64)
        for row, units in zip(found, rows, strict=True):
            row[: len(units)] = units
        return found

    def renumber(self, number_U: npt.NDArray[np.int32]) -> MediaLists:
        """Return the lists with new unit numbers; -1 marks a unit that could not be prepared."""
        changed = MediaLists([])
        changed.start_S, changed.unit_X = self.start_S, number_U[self.unit_X].astype(np.int64)
        return changed

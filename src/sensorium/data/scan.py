"""Scan a table into integers: which distinct item and which distinct target each row has.

Enters: a table, the row numbers to take, and what its columns mean.
Leaves: `Scan`: one int32 unit number a row and input (-1 = absent), the distinct cells, target ids, and
counts of everything that was left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError, SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item
from sensorium.data.cell_values import fault_in
from sensorium.data.omissions import CUT_TARGETS, NO_INPUT, NO_TARGET, Omissions, media_beyond
from sensorium.data.quarantine import Quarantine
from sensorium.data.several import MediaLists, Several
from sensorium.data.table import Table
from sensorium.data.targets import TargetEncoder, TargetIds
from sensorium.data.tokenizers import Tokenizer
from sensorium.data.tokenizers.characters import Form, as_written

ABSENT = -1


@dataclass(frozen=True)
class InputSpec:
    """An input: the column it is read from, and the (fitted) preparer of its encoder."""

    column: str
    preparer: Preparer
    several: Several | None = None
    """How its cells list several media; None: a cell is one."""

    def items(self, cell: str, folder: Path) -> list[Item]:
        """Return what a cell holds, nothing where it is blank.  Raises DataError: a list that cannot be read."""
        if fault := fault_in(cell):
            raise DataError(fault)
        cells = [cell] if self.several is None else self.several.split(cell)[: self.several.most]
        return [item for part in cells if (item := self.preparer.item(part, folder)) is not None]


@dataclass(frozen=True)
class TargetSpec:
    """The target: its column, the fitted tokenizer, and the most tokens a text may have (None = any).

    BOS and EOS are not counted.  Texts are taken in `form`, by everything that asks for them.
    """

    column: str
    tokenizer: Tokenizer
    max_tokens: int | None = None
    form: Form = as_written


class CellItems(Sequence[Item]):
    """The distinct items of one input, kept as table cells and resolved when asked for."""

    def __init__(self, cells: Sequence[str], preparer: Preparer, folder: Path) -> None:
        self.cells = cells
        self._preparer = preparer
        self._folder = folder

    def only(self, unit_K: npt.NDArray[np.int64]) -> CellItems:
        """Return some of the items."""
        return CellItems([self.cells[unit] for unit in unit_K.tolist()], self._preparer, self._folder)

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return CellItems(self.cells[index], self._preparer, self._folder)
        return self._preparer.item(self.cells[index], self._folder)


@dataclass(frozen=True)
class Scan:
    """What a table's rows hold, as integers.

    Attributes:
        row_number_N: (N,) int64 row numbers in the table.
        unit_N: by input, (N,) int32 which distinct item, or list of items, each row has, -1 = absent.
        items: by input, the distinct items.
        lists: by input whose rows may have several items, the distinct lists.
        targets: the rows' target ids, None without a target.
        num_seen: rows asked for, those left out included.
        num_refused: rows that went to quarantine.
        left_out: what was left out, cut or absent.
    """

    row_number_N: npt.NDArray[np.int64]
    unit_N: Mapping[str, npt.NDArray[np.int32]]
    items: Mapping[str, CellItems]
    lists: Mapping[str, MediaLists]
    targets: TargetIds | None
    num_seen: int
    num_refused: int
    left_out: Omissions


def scan_rows(
    table: Table,
    row_numbers: Iterable[int],
    inputs: Mapping[str, InputSpec],
    target: TargetSpec | None,
    folder: Path,
    quarantine: Quarantine,
    keep_rows_without_target: bool = False,
) -> Scan:
    """Read the named rows once.

    Raises:
        DataError: a column that the table lacks.
    """
    for column in [spec.column for spec in inputs.values()] + ([target.column] if target else []):
        table.position(column)
    scanner = _Scanner(inputs, target, folder, keep_rows_without_target)
    num_refused = 0
    for number in map(int, row_numbers):
        try:
            scanner.add(number, table.row(number))
        except _Refused as refused:
            num_refused += 1
            quarantine.add(table.where(number), refused.name, refused.message, table.path)
    return scanner.finish(num_refused)


class _Refused(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name, self.message = name, message


class _Scanner:
    def __init__(
        self, inputs: Mapping[str, InputSpec], target: TargetSpec | None, folder: Path, keep_untargeted: bool
    ) -> None:
        self._inputs = {
            name: _Units(name, spec, folder) if spec.several is None else _Lists(name, spec, spec.several, folder)
            for name, spec in inputs.items()
        }
        self._target = target
        self._encoder = TargetEncoder(target.tokenizer, target.max_tokens) if target else None
        self._form = target.form if target else as_written
        self._keep_untargeted = keep_untargeted
        self._row_numbers = array("q")
        self._target_units = array("q")
        self._num_seen = self._num_untargeted = self._num_cut = self._num_empty = 0

    def add(self, number: int, cells: Mapping[str, str]) -> None:
        self._num_seen += 1
        text = cells[self._target.column] if self._target else ""
        if self._target and not text.strip():
            self._num_untargeted += 1
            if not self._keep_untargeted:
                return
        if self._target and (fault := fault_in(text)):
            raise _Refused(self._target.column, fault)
        units = [units.number(cells[units.column]) for units in self._inputs.values()]
        for unit, distinct in zip(units, self._inputs.values(), strict=True):
            distinct.append(unit)
        self._num_empty += bool(units) and max(units) == ABSENT
        self._row_numbers.append(number)
        if self._encoder:
            target_unit = self._encoder.add(self._form(text))
            self._num_cut += self._encoder.is_cut(target_unit)
            self._target_units.append(target_unit)

    def finish(self, num_refused: int) -> Scan:
        counts = {NO_TARGET: self._num_untargeted, NO_INPUT: self._num_empty, CUT_TARGETS: self._num_cut}
        listed = {name: units for name, units in self._inputs.items() if isinstance(units, _Lists)}
        counts |= {media_beyond(name): lists.num_beyond for name, lists in listed.items()}
        targets = self._encoder.finish(np.array(self._target_units, np.int64)) if self._encoder else None
        return Scan(
            np.array(self._row_numbers, np.int64),
            {name: np.array(units.unit_of_row, np.int32) for name, units in self._inputs.items()},
            {name: units.items() for name, units in self._inputs.items()},
            {name: units.lists() for name, units in listed.items()},
            targets,
            self._num_seen,
            num_refused,
            Omissions(self._num_seen, counts),
        )


class _Units:
    """Number the distinct cells of one input."""

    def __init__(self, name: str, spec: InputSpec, folder: Path) -> None:
        self.column = spec.column
        self.unit_of_row = array("i")
        self._name, self._preparer, self._folder = name, spec.preparer, folder
        self._unit_of_cell: dict[str, int] = {}
        self._cells: list[str] = []

    def number(self, cell: str) -> int:
        """Return the number of `cell`, ABSENT where the preparer finds nothing in it."""
        unit = self._unit_of_cell.get(cell)
        if unit is None:
            if fault := fault_in(cell):
                raise _Refused(self._name, fault)
            unit = ABSENT
            try:
                present = self._preparer.item(cell, self._folder) is not None
            except SensoriumError as error:
                raise _Refused(self._name, str(error)) from None
            if present:
                unit = len(self._cells)
                self._cells.append(cell)
            self._unit_of_cell[cell] = unit
        return unit

    def append(self, unit: int) -> None:
        self.unit_of_row.append(unit)

    def items(self) -> CellItems:
        return CellItems(self._cells, self._preparer, self._folder)


class _Lists:
    """Number the distinct lists of one input, and the distinct items in them."""

    def __init__(self, name: str, spec: InputSpec, several: Several, folder: Path) -> None:
        self.column = spec.column
        self.unit_of_row = array("i")
        self.num_beyond = 0
        self._name, self._several = name, several
        self._units = _Units(name, spec, folder)
        self._list_of_cell: dict[str, tuple[int, int]] = {}
        self._list_of_units: dict[tuple[int, ...], int] = {}

    def number(self, cell: str) -> int:
        """Return the number of the list in `cell`, ABSENT where it has no item."""
        known = self._list_of_cell.get(cell)
        if known is None:
            known = self._list_of_cell[cell] = self._read(cell)
        self.num_beyond += known[1]
        return known[0]

    def _read(self, cell: str) -> tuple[int, int]:
        try:
            parts = self._several.split(cell)
        except SensoriumError as error:
            raise _Refused(self._name, str(error)) from None
        numbers = (self._units.number(part) for part in parts[: self._several.most])
        units = tuple(unit for unit in numbers if unit != ABSENT)
        number = self._list_of_units.setdefault(units, len(self._list_of_units)) if units else ABSENT
        return number, max(0, len(parts) - self._several.most)

    def append(self, number: int) -> None:
        self.unit_of_row.append(number)

    def items(self) -> CellItems:
        return self._units.items()

    def lists(self) -> MediaLists:
        return MediaLists(list(self._list_of_units))

"""Where the rows of a corpus came from: a table, or samples in memory.

Enters: row numbers.  Leaves: their places, as messages name them, and their target texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sensorium.core.types import Sample
from sensorium.data.table import Table
from sensorium.data.tokenizers.characters import Form, as_written


class Origin(Protocol):
    """Where rows came from: their table's path, their places and target texts, by row number."""

    @property
    def table(self) -> str:
        """Return the whole path of their table, '' where they are not of a file."""
        ...

    def where(self, number: int) -> str:
        """Return the place of a row, such as 'train.csv:812'."""
        ...

    def target_text(self, number: int) -> str:
        """Return the target text of a row, empty where it has none."""
        ...


class TableRows:
    """Rows of a table; `target_column` holds their targets, which are taken in `form`."""

    def __init__(self, table: Table, target_column: str | None, form: Form = as_written) -> None:
        self._table = table
        self._target_column = target_column
        self._form = form

    @property
    def table(self) -> str:
        """Return the table's whole path."""
        return self._table.path

    def where(self, number: int) -> str:
        """Return the place of a row."""
        return self._table.where(number)

    def target_text(self, number: int) -> str:
        """Return the target text of a row, empty where it has none."""
        return self._form(self._table.row(number)[self._target_column]) if self._target_column else ""


class SampleRows:
    """Samples in memory, which are known by their ids."""

    table = ""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def where(self, number: int) -> str:
        """Return the place of a row."""
        return self._samples[number].id

    def target_text(self, number: int) -> str:
        """Return the target text of a row, empty where it has none."""
        return self._samples[number].target or ""

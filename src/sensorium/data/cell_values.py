"""A value of a table that is more than text, as a text cell: one rule for JSON lines, Parquet, Arrow, tar shards.

Enters: what a format holds: texts, numbers, booleans, dates, lists, objects.
Leaves: a cell.  Scalars are written as pandas writes them into a CSV file, so that one table means the same in any
format: 0.1 is '0.1' in single precision too, true is 'True', midnights of a column are days.  Missing values are
the empty text.

A list or an object is JSON behind a mark, so that what *is* a list is known from a text that looks like one; what
it means is for `sensorium.data.list_cells` to say.  The mark is a noncharacter (U+FDD0), which Unicode keeps for
uses such as this and which no text may hold; `Table` shows such cells without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MARK = "\ufdd0"
REFUSAL = "\ufdd1"
"""Begins what stands in place of a cell that cannot be read, and says why."""


def cell_of(value: Any) -> str:
    """Return a value as a cell; texts stay as they are."""
    if isinstance(value, str):
        return value.lstrip(MARK + REFUSAL)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | tuple | Mapping):
        return MARK + json.dumps(_plain(value), ensure_ascii=False)
    return str(value)


def value_in(cell: str) -> Any:
    """Return the list or object in a cell, None where it is text."""
    if not cell.startswith(MARK):
        return None
    try:
        return json.loads(cell[len(MARK) :])
    except (ValueError, RecursionError):  # a text that holds a noncharacter nevertheless
        return None


def shown(cell: str) -> str:
    """Return a cell as people may see it: lists and objects as their JSON."""
    return cell.lstrip(MARK + REFUSAL)


def refused(why: str) -> str:
    """Return what stands in place of a cell that cannot be read."""
    return REFUSAL + why


def fault_in(cell: str) -> str:
    """Say why a cell cannot be read as one text; '' where it can."""
    if cell.startswith(REFUSAL):
        return cell.lstrip(REFUSAL)
    if cell.startswith(MARK):
        return f"holds {described(value_in(cell))}, where one text is meant"
    return ""


def described(value: Any) -> str:
    """Name a list or an object, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return f"a list of {len(value)} ({short})" if isinstance(value, list) else f"an object ({short})"


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into text, inside lists and objects too; NaN is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    return (None if math.isnan(value) else value) if isinstance(value, float) else cell_of(value)

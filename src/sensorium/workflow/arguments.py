"""What is given to Sensorium's methods in Python: taken where it can be meant, else refused by name, first of all.

Enters: an argument and its name.  Leaves: a path, a text, a number, names or rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sensorium.core.errors import UsageError


def path(value: Any, name: str) -> Path:
    """Return a path given as text or as a path object.  Raises UsageError."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise _refused(value, name, "a path", "give the file or folder as a string or a pathlib.Path")
    if "\0" in os.fspath(value):
        raise UsageError("a path without zero characters is wanted", where=name)
    return Path(value)


def text(value: Any, name: str) -> str:
    """Return a text.  Raises UsageError."""
    if not isinstance(value, str):
        raise _refused(value, name, "a text", "give a string")
    return value


def task_name(value: Any) -> str | None:
    """Return a task's name, or None for the only one.  Raises UsageError."""
    return None if value is None else text(value, "task")


def count(value: Any, name: str) -> int:
    """Return a whole number of at least 1.  Raises UsageError."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__") or int(value) < 1:
        raise _refused(value, name, "a whole number of 1 or more", "give an int")
    return int(value)


def names(value: Any, name: str) -> list[str]:
    """Return names given one by one, in a list or whatever yields them.  Raises UsageError."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _refused(value, name, "a list of names", f"give {name}=[...]")
    return [text(one, name) for one in value]


def row(value: Any, name: str = "row") -> Mapping[str, Any]:
    """Return one row, a mapping from inputs to what it has of them.  Raises UsageError."""
    if not isinstance(value, Mapping):
        raise _refused(value, name, "a dict from inputs to values", "give {'photo': 'cat.png', ...}")
    for key in value:
        text(key, f"{name}: a name")
    return value


def settings(value: Mapping[Any, Any], name: str = "config") -> Mapping[str, Any]:
    """Return a config's nested dicts, whose keys are texts at every depth.  Raises UsageError."""
    for key, one in row(value, name).items():
        if isinstance(one, Mapping):
            settings(one, f"{name}.{key}")
    return value


def rows(value: Any) -> list[Mapping[str, Any]]:
    """Return rows given in a list, or whatever yields them.  Raises UsageError."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _refused(value, "rows", "a list of rows", "give [{'photo': 'cat.png'}, ...], or one row by keyword")
    return [row(one, f"rows[{number}]") for number, one in enumerate(value)]


def _refused(value: Any, name: str, wanted: str, advice: str) -> UsageError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return UsageError(f"{wanted} is wanted, not {shown}", where=name, advice=advice)

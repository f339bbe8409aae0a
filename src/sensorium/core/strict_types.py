"""Values of a config are of the type that is asked for: true is no number, "16" is no 16, 1e20 is no count.

Enters: a value from TOML or Python, and a field's annotation.  Leaves: what is wrong with it, or nothing.
Kept beside pydantic, whose own strictness would refuse TOML's arrays where tuples are meant, and texts where paths
are.
An integer may stand for a float; numbers are finite, and integers fit into 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_MOST = 2**63 - 1
_NAMES: dict[Any, str] = {bool: "a boolean", int: "a valid integer", float: "a valid number", str: "a valid string"}
_SERVES: dict[Any, set[Any]] = {bool: {bool}, int: {int, float}, float: {float}, str: {str}}


def mistyped(value: Any, annotation: Any) -> str:
    """Return what a value should be, where it is of another type than `annotation`; "" where it is right.

    Only values of TOML's plain types are judged; all else is left to the field's own validation.
    """
    choices = list(_choices(annotation))
    if isinstance(value, Mapping):
        return _first(value.values(), [args[1] for args in _args(choices, dict, Mapping) if len(args) == 2])
    if isinstance(value, list | tuple):
        inner = [arg for args in _args(choices, tuple, list, frozenset, set) for arg in args if arg is not ...]
        return _first(value, inner)
    if type(value) not in _NAMES or any(value == one and type(value) is type(one) for one in _literals(choices)):
        return ""
    plain = [one for one in choices if one in _NAMES]
    if any(one not in _NAMES and one is not type(None) and get_origin(one) is None for one in choices):
        return ""  # Any, a path, a section
    if not plain:
        return ""
    if not _SERVES[type(value)] & set(plain):
        return " or ".join(_NAMES[one] for one in dict.fromkeys(plain))
    if type(value) is float and not math.isfinite(value):
        return "a finite number"
    return "less than 2^63" if type(value) is int and abs(value) > _MOST else ""


def _first(values: Any, choices: list[Any]) -> str:
    """Return what is wrong with the first bad one of a container's values."""
    annotation = Union[tuple(choices)] if choices else Any  # noqa: UP007
    return next((told for value in values if (told := mistyped(value, annotation))), "")


def _choices(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation, without what is said about them."""
    if get_origin(annotation) is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _choices(one)
    else:
        yield annotation


def _args(choices: list[Any], *containers: Any) -> Iterator[tuple[Any, ...]]:
    return (get_args(one) for one in choices if get_origin(one) in containers)


def _literals(choices: list[Any]) -> Iterator[Any]:
    return (value for one in choices if get_origin(one) is Literal for value in get_args(one))

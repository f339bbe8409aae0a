"""Every Config refuses values of another type: true for a number, "16" for 16, 1e20 for a count."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Literal

import pytest
from pydantic import Field, ValidationError

import sensorium
from sensorium.core.config import Section
from sensorium.core.strict_types import mistyped


def sections() -> list[type[Section]]:
    for module in pkgutil.walk_packages(sensorium.__path__, "sensorium."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[type[Section], None] = {}
    waiting = [Section]
    while waiting:
        for one in waiting.pop().__subclasses__():
            if one.__module__.startswith("sensorium."):
                found[one] = None
            waiting.append(one)
    return list(found)


WRONG = {
    int: (True, "16", 1e20, 2.0, 10**30),
    float: (True, "0.5", float("nan"), float("inf")),
    bool: (1, "true", 0.0),
}


def test_no_number_or_switch_of_any_config_takes_another_type():
    num_tried = 0
    for cls in sections():
        for name, info in cls.model_fields.items():
            for kind, values in WRONG.items():
                if info.annotation not in (kind, kind | None):
                    continue
                for value in values:
                    num_tried += 1
                    with pytest.raises(ValidationError) as caught:
                        cls.model_validate({info.alias or name: value})
                    faults = [f for f in caught.value.errors() if f["loc"] in ((info.alias or name,), ())]
                    assert faults, f"{cls.__module__}.{cls.__qualname__}.{name} took {value!r}"
    assert num_tried > 500


@pytest.mark.parametrize(
    ("value", "annotation", "right"),
    [
        (1, float, ""),
        (True, int | None, "a valid integer"),
        ("16", int, "a valid integer"),
        (2.0, int, "a valid integer"),
        (1, bool, "a boolean"),
        (None, int | None, ""),
        ("epoch", int | Literal["epoch"], ""),
        (True, int | Literal["epoch"], "a valid integer"),
        ([1, "2"], tuple[int, ...], "a valid integer"),
        ([1, 2.5], tuple[float, ...] | None, ""),
        ({"a": True}, dict[str, float], "a valid number"),
        ({"a": 1}, float | dict[str, float], ""),
        (1, str, "a valid string"),
        (float("inf"), float, "a finite number"),
        (2**64, int, "less than 2^63"),
    ],
)
def test_what_a_value_should_be(value, annotation, right):
    assert mistyped(value, annotation) == right


def test_bounds_within_annotations_are_kept():
    class Small(Section):
        num: int = Field(1, ge=1)
        rates: dict[str, float] = {}

    assert Small.parse({"num": 2, "rates": {"a": 1}}).rates == {"a": 1.0}
    with pytest.raises(Exception, match=r"'num': should be a valid integer, not True"):
        Small.parse({"num": True})

"""Read a config's sections: a common part that every component has, and the component's own options.

Enters: nested dicts from TOML or Python.  Leaves: validated sections, and plain values to be written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.core.config import Section, Source, unknown_key
from sensorium.core.errors import ConfigError


def table(values: Mapping[str, Any], key: str, source: Source) -> Mapping[str, Any]:
    """Return a section; an empty one where there is none.  Raises ConfigError: it is no section."""
    table = values.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"'{key}' must be a section", where=source.where(key))
    return table


def split(raw: Mapping[str, Any], common: type[Section]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a section's keys into those of `common` and the others."""
    known = common.model_fields
    return {k: v for k, v in raw.items() if k in known}, {k: v for k, v in raw.items() if k not in known}


def options_of(
    cls: type[Section], rest: Mapping[str, Any], common: type[Section], source: Source, prefix: str
) -> Section:
    """Validate a component's own options.  Raises ConfigError: an unknown key, with the nearest."""
    for key in rest:
        if key not in cls.model_fields:
            raise unknown_key(f"{prefix}.{key}", [*common.model_fields, *cls.model_fields], source)
    return cls.parse(rest, source, prefix)


def plain(section: Section) -> dict[str, Any]:
    """Return plain values that parsing reads back to an equal section."""
    return {k: _plain_value(v) for k, v in section.model_dump(exclude_none=True).items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {k: _plain_value(v) for k, v in value.items() if v is not None}
    return [_plain_value(v) for v in value] if isinstance(value, list | tuple) else value

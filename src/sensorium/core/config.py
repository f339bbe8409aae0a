"""TOML configs with errors that name file, line and column, and suggest the key that was meant.

Enters: a TOML text (or a dict from Python).  Leaves: plain dicts, and validated frozen sections.
Every component has a nested `class Config(Section)`; which sections there are is decided above
(`sensorium.model.config`), where the registries are known.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from sensorium.core import text_file
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.names import nearest
from sensorium.core.strict_types import mistyped

_MAX_BYTES = 10_000_000


class Section(BaseModel):
    """A frozen, keyword-only group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_type(cls, value: Any, info: ValidationInfo) -> Any:
        told = mistyped(value, cls.model_fields[str(info.field_name)].annotation)
        if told:
            raise ValueError(f"should be {told}")
        return value

    without_inputs: ClassVar[Mapping[str, Any]] = {}
    """Of a scorer: what is the default, where it differs, in a model that has no inputs."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], source: Source | None = None, prefix: str = "") -> Self:
        """Validate `values`; errors name the key and its place in `source`.

        Raises:
            ConfigError: an unknown key (with the nearest known one) or an invalid value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _first_error(error, cls, source or Source(), prefix) from None


@dataclass(frozen=True)
class Source:
    """Where a config's keys stand: a name, and (line, column) by dotted key, both from 1."""

    name: str = "config"
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """Return 'file:line:column' of `key`, or of the nearest enclosing key."""
        parts = key.split(".")
        for end in range(len(parts), 0, -1):
            if place := self.places.get(".".join(parts[:end])):
                return f"{self.name}:{place[0]}:{place[1]}"
        return self.name


def _first_error(error: ValidationError, cls: type[Section], source: Source, prefix: str) -> ConfigError:
    # A misspelt key shows twice, as one that is missing and one that is unknown: the latter says more.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    path = [str(part) for part in fault["loc"]]
    key = ".".join([prefix, *path] if prefix else path)
    if fault["type"] == "extra_forbidden":
        known = known_keys(cls, path[:-1])
        return unknown_key(key, known, source)
    if fault["type"] == "missing":
        return ConfigError(f"'{key}' is missing", where=source.where(key))
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if isinstance(fault["input"], Mapping) else f", not {fault['input']!r}"
    return ConfigError(f"'{key}': {message[:1].lower()}{message[1:]}{given}", where=source.where(key))


def known_keys(cls: type[BaseModel], path: Sequence[str]) -> list[str]:
    """List the keys of the section that `path` leads to."""
    names_entry = False  # the key of a dict of sections is the user's own
    for part in path:
        if names_entry:
            names_entry = False
            continue
        known = cls.model_fields.get(part)
        choices = (known.annotation, *get_args(known.annotation)) if known else ()  # Section, or Section | None
        sections = [c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)]
        if not sections:
            return []
        cls = sections[0]
        names_entry = known is not None and get_origin(known.annotation) is dict
    return [info.alias or name for name, info in cls.model_fields.items()]


def unknown_key(key: str, known: Sequence[str], source: Source) -> ConfigError:
    """Make the error for a key that nobody reads."""
    leaf = key.rpartition(".")[2]
    advice = nearest(leaf, sorted(known), listed="known here:", cutoff=0.5)
    return ConfigError(f"unknown key '{key}'", where=source.where(key), advice=advice)


def read_toml(path: Path) -> tuple[dict[str, Any], Source]:
    """Read a config file.

    Raises:
        ConfigError: not readable, or not TOML; the parser's line and column are kept.
    """
    try:
        text = text_file.whole(path, _MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError("no such config file", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    except DataError as error:
        raise ConfigError(error.what, where=error.where, advice=error.advice) from None
    return parse_toml(text, str(path))


def parse_toml(text: str, name: str = "config") -> tuple[dict[str, Any], Source]:
    """Parse TOML text; returns its values and where its keys stand.  Raises ConfigError: not TOML."""
    text = text.removeprefix("\ufeff")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        where = f"{name}:{place[1]}:{place[2]}" if place else name
        raise ConfigError(str(error).split(" (at ")[0].lower(), where=where) from None
    return values, Source(name, _places(text))


_HEADER = re.compile(r"^\s*\[+\s*([^\]\[]+?)\s*\]+")
_KEY = re.compile(r"^(\s*)((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"))*)\s*=")


def _places(text: str) -> dict[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    implied: dict[str, tuple[int, int]] = {}  # [a.b] also begins a
    section, open_value = "", ""
    for number, line in enumerate(text.split("\n"), start=1):
        if open_value:  # inside a value of several lines nothing is a key
            open_value = _still_open(f"{open_value}\n{line}")
        elif header := _HEADER.match(line):
            section, place = _dotted(header[1]), (number, header.start(1) + 1)
            places.setdefault(section, place)
            for end in range(1, section.count(".") + 1):
                implied.setdefault(".".join(section.split(".")[:end]), place)
        elif key := _KEY.match(line):
            dotted = _dotted(key[2])
            full = f"{section}.{dotted}" if section else dotted
            places.setdefault(full, (number, len(key[1]) + 1))
            open_value = _still_open(line)
    return implied | places


def _still_open(assignment: str) -> str:
    """Return the lines of an assignment whose value has not ended yet, else nothing."""
    try:
        tomllib.loads(assignment)
    except tomllib.TOMLDecodeError:
        return assignment
    return ""


def _dotted(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def override(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `--set a.b=c` assignments; c is read as TOML, else as a string.

    Raises:
        ConfigError: an assignment without '=', or through a key that is not a section.
    """
    result: dict[str, Any] = _deep_copy(values)
    for assignment in assignments:
        key, equals, raw = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError("expected KEY=VALUE", where=f"--set {assignment}")
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            value = raw
        *sections, leaf = key.strip().split(".")
        node = result
        for part in sections:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ConfigError(f"'{part}' is not a section", where=f"--set {assignment}")
        node[leaf] = value
    return result


def _deep_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _deep_copy(part) for key, part in value.items()}
    return [_deep_copy(part) for part in value] if isinstance(value, list) else value


def write_toml(values: Mapping[str, Any]) -> str:
    """Write nested dicts of plain values as TOML; None values are left out.

    Raises:
        DataError: a value that TOML cannot hold.
    """
    lines: list[str] = []
    _write_section(values, "", lines)
    return "\n".join(lines).strip() + "\n"


def _write_section(values: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    plain = {k: v for k, v in values.items() if v is not None and not isinstance(v, Mapping)}
    if prefix and (plain or not any(isinstance(v, Mapping) for v in values.values())):
        lines += ["", f"[{prefix}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, Mapping):
            _write_section(value, f"{prefix}.{_key(key)}" if prefix else _key(key), lines)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
        text = "".join(escapes.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in str(value))
        return f'"{text}"'
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(part)}" for key, part in value.items() if part is not None)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(part) for part in value)}]"
    raise DataError(f"a config cannot hold a {type(value).__name__}")

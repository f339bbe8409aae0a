"""A fitted tokenizer on disk: one `tokenizer.json` with its name, settings and what it learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sensorium.core.config import Section
from sensorium.core.errors import ConfigError, ModelError

FILE = "tokenizer.json"


def write(folder: Path, name: str, config: Section, learned: dict[str, Any]) -> None:
    """Write the tokenizer `name` with its settings and `learned`, plain values, into `folder`."""
    content = {"tokenizer": name, "config": config.model_dump(mode="json"), **learned}
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def content(folder: Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
        ModelError: there is none, or it is not a tokenizer's.
    """
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("holds no tokenizer", where=str(folder), advice="fit and save one first") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"is not a readable tokenizer: {error}", where=str(path)) from None
    if not isinstance(values, dict) or not {"tokenizer", "config"} <= values.keys():
        raise ModelError("is not a tokenizer: it names no kind and settings", where=str(path))
    return values


def learned(folder: Path, name: str, config: Section, key: str) -> Any:
    """Read the learned value `key` of the tokenizer `name` that was fitted with `config`.

    Raises:
        ModelError: another kind of tokenizer, other settings, or nothing under `key`.
    """
    values, path = content(folder), str(folder / FILE)
    if values["tokenizer"] != name:
        raise ModelError(f"is a '{values['tokenizer']}' tokenizer, not '{name}'", where=path)
    try:
        stored = type(config).parse(values["config"])
    except ConfigError as error:
        raise ModelError(f"has settings this program does not know: {error}", where=path) from None
    if stored != config:
        raise ModelError(f"was fitted with {stored!r}, not {config!r}", where=path, advice="fit it again")
    if key not in values:
        raise ModelError(f"lacks '{key}'", where=path)
    return values[key]

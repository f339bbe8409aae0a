"""Whose tokens the target is written in: a published scorer brings its tokenizer.

Enters: nested dicts from TOML or Python.  Leaves: the same, [target] naming the tokenizer and its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sensorium.core import registry
from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.language.registry import ENTRY_POINTS, SCORERS
from sensorium.model.config_reading import table


def with_tokenizer(values: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """Let `tokenizer = "hf:FOLDER"` mean "hf" and its source, and a scorer that brings a tokenizer name it.

    A scorer brings one if its Config has `target_tokenizer`: a name, and options.

    Raises:
        ConfigError: the target, or another scorer, names another tokenizer.
    """
    target, where = dict(table(values, "target", source)), source.where("target.tokenizer")
    if isinstance(target.get("tokenizer"), str):
        name, target = registry.split_source(target["tokenizer"], target, where=where)
        target["tokenizer"] = name
    for scorer, options in _bringing(values, source):
        tokenizer, settings = options.target_tokenizer  # type: ignore[attr-defined]
        wanted = {"tokenizer": tokenizer, **{k: v for k, v in settings.items() if v is not None}}
        for key, value in wanted.items():
            if target.get(key, value) != value:
                raise ConfigError(
                    f'\'{scorer}\' writes the tokens of its own tokenizer, {key} = "{value}", not "{target[key]}"',
                    where=source.where(f"target.{key}"),
                    advice=f"leave 'target.{key}' out, or the scorer",
                )
        target |= wanted
    return {**values, "target": target} if target else values


def _bringing(values: Mapping[str, Any], source: Source) -> Iterator[tuple[str, Section]]:
    """Yield the names and options of scorers that bring a tokenizer; what is wrong elsewhere is found elsewhere."""
    language, known = table(values, "language", source), registry.names(SCORERS, ENTRY_POINTS)
    scorers = language.get("scorers", ())
    for named in scorers if isinstance(scorers, list | tuple) else ():
        name = str(named).partition(":")[0]
        raw = language.get(name, {})
        kind = raw.get("scorer", name) if isinstance(raw, Mapping) else None
        if kind not in known:
            continue
        cls = registry.load(SCORERS, ENTRY_POINTS, kind, where=source.where("language.scorers"))
        if hasattr(cls.Config, "target_tokenizer"):
            _, options = registry.split_source(str(named), raw, where=source.where("language.scorers"))
            options.pop("scorer", None)
            yield name, cls.Config.parse(options, source, f"language.{name}")

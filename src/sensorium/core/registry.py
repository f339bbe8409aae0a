"""Registries: plain dicts from a name to 'module:Class', plus one entry-point group each.

A registry is data, so listing what exists imports nothing heavy; `load` imports the one that is
asked for.  Third parties add names from their own package:

    [project.entry-points."sensorium.encoders"]
    "image.swin" = "my_package.swin:SwinEncoder"
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.names import nearest


def split_source(name: str, values: Mapping[str, Any], *, where: str = "") -> tuple[str, dict[str, Any]]:
    """Part "hf:some/folder" into "hf" and its options, to which it adds `source = "some/folder"`.

    A name without a colon, and its options, stay as they are.

    Raises:
        ConfigError: the options name another source beside it, or nothing follows the colon.
    """
    kind, colon, source = name.partition(":")
    if not colon:
        return name, dict(values)
    if not source or values.get("source", source) != source:
        what = f"another source, '{values['source']}', beside it" if source else "nothing after ':'"
        raise ConfigError(f"'{name}' has {what}", where=where, advice=f'write "{kind}:SOURCE" and no other')
    return kind, {**values, "source": source}


def names(registry: Mapping[str, str], group: str) -> list[str]:
    """List every name: ours, then those that installed packages add under `group`."""
    return sorted({*registry, *(entry.name for entry in entry_points(group=group))})


def load(registry: Mapping[str, str], group: str, name: str, *, where: str = "") -> Any:
    """Import and return the component called `name`.

    Raises:
        ConfigError: nobody registered `name`; the advice names the nearest.
        ModelError: a third party registered it, but it does not import.
    """
    if name in registry:
        module, _, attribute = registry[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:
                raise ModelError(f"'{name}' from '{entry.value}' does not import: {error}", where=where) from error
    kind = re.sub(r"(?<=ch)es$|s$", "", group.removeprefix("sensorium.")).replace("_", " ")
    raise ConfigError(f"no {kind} '{name}'", where=where, advice=nearest(name, names(registry, group)))

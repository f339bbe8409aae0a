"""The layout's keys in `[fusion]`: how the inputs meet, checked before any data is read.

Enters: the section and the inputs' names.  Leaves: the groups that `fusion/layout.py` fuses, or a ConfigError.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.fusion.layout import Given, Groups, LayoutName


class LayoutSection(Section):
    """The keys of `[fusion]` that say in which order inputs meet."""

    layout: LayoutName = "parallel"
    """All inputs at once, each in the light of those before it, or groups of them in the light of those before."""
    order: tuple[str, ...] | None = None
    """The inputs, first to last, of a serial layout; None: as they stand in the config."""
    groups: tuple[tuple[str, ...], ...] | None = None
    """The groups, first to last, of a hybrid layout; each is fused by `features`."""
    given: Given = "film"
    """How a serial or hybrid layout shows an input, or a group, what came before."""


def check_layout(fusion: LayoutSection, inputs: list[str], source: Source) -> None:
    """Raise ConfigError where the keys contradict each other or do not name every input once."""
    for key, layout in (("order", "serial"), ("groups", "hybrid")):
        if getattr(fusion, key) is not None and fusion.layout != layout:
            what = f"'fusion.{key}' says nothing in a {fusion.layout} layout"
            advice = f"set layout = \"{layout}\", or leave '{key}' out"
            raise ConfigError(what, where=source.where(f"fusion.{key}"), advice=advice)
    where = source.where("fusion.layout")
    if fusion.layout == "hybrid" and fusion.groups is None:
        advice = f"such as groups = {json.dumps([inputs[:-1], inputs[-1:]])}"
        raise ConfigError("a hybrid layout needs 'groups'", where=where, advice=advice)
    groups = layout_groups(fusion, inputs)
    if groups is not None:
        _check_names(groups, inputs, "order" if fusion.groups is None else "groups", source)
        if len(groups) < 2:
            kind = "inputs" if fusion.groups is None else "groups"
            advice = "leave 'layout' out: \"parallel\" fuses all at once"
            raise ConfigError(f"a {fusion.layout} layout needs two {kind}", where=where, advice=advice)


def _check_names(groups: Groups, inputs: list[str], key: str, source: Source) -> None:
    where = source.where(f"fusion.{key}")
    named = [name for group in groups for name in group]
    for name in named:
        if name not in inputs:
            advice = nearest(name, inputs)
            raise ConfigError(f"'fusion.{key}' names no input: '{name}'", where=where, advice=advice)
    for name in inputs:
        if named.count(name) != 1:
            often = "twice" if name in named else "nowhere"
            advice = "name each input once"
            raise ConfigError(f"'fusion.{key}' names '{name}' {often}", where=where, advice=advice)
    if not all(groups):
        raise ConfigError(f"'fusion.{key}' holds an empty group", where=where, advice="leave it out")


def layout_groups(fusion: LayoutSection, inputs: list[str]) -> Groups | None:
    """Return the groups of a layout, of one input each if serial; None if parallel."""
    if fusion.layout == "serial":
        return [(name,) for name in fusion.order or inputs]
    return fusion.groups if fusion.layout == "hybrid" else None


def layout_of(fusion: LayoutSection, names: Collection[str]) -> dict[str, Any]:
    """Return the layout's settings with these inputs alone; it is parallel where one group is left."""
    order = None if fusion.order is None else tuple(name for name in fusion.order if name in names)
    groups = [tuple(name for name in group if name in names) for group in fusion.groups or ()]
    groups = [group for group in groups if group]
    if fusion.layout == "parallel" or (len(names) if fusion.layout == "serial" else len(groups)) < 2:
        return {"layout": "parallel", "order": None, "groups": None}
    return {"order": order, "groups": tuple(groups) or None}

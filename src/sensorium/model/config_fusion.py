"""`[fusion]` as config: how parts meet, and what training does with them.

Enters: nested dicts from TOML or Python.  Leaves: `FusionSection`, the fusion's class and its options.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from sensorium.core import registry
from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.fusion.alignment import Alignment
from sensorium.fusion.balance import Balance
from sensorium.fusion.layout import make_fusion, named_part
from sensorium.fusion.registry import ENTRY_POINTS as FUSION_GROUP
from sensorium.fusion.registry import FUSIONS
from sensorium.model import taking
from sensorium.model.config_reading import options_of, split, table
from sensorium.model.layout import LayoutSection, check_layout, layout_groups, layout_of

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class FusionSection(LayoutSection, taking.TakenSection):
    """`[fusion]`: how parts meet, and the width they meet at; other keys are the fusion's."""

    features: str = "concat"
    width: int = Field(128, ge=1, le=65_536)
    input_dropout: Rate | dict[str, Rate] = 0.0
    """Chance, in training, that a row's input is hidden (never all of them); one for all, or by input."""
    input_patterns: dict[str, Rate] = {}
    """Chance, in training, that a row with all inputs of "photo+speech" shows these alone."""
    alignment: Alignment.Config | None = None
    balance: Balance.Config | None = None

    @field_validator("input_dropout", mode="before")
    @classmethod
    def _rates(cls, rates: Any) -> Any:
        for rate in rates.values() if isinstance(rates, Mapping) else [rates]:
            if not isinstance(rate, int | float) or not 0 <= rate < 1:
                raise ValueError(f"a chance is at least 0 and less than 1, not {rate!r}")
        return rates

    @field_validator("input_patterns")
    @classmethod
    def _chances(cls, patterns: dict[str, float]) -> dict[str, float]:
        if sum(patterns.values()) > 1:
            raise ValueError("the chances of all patterns together stay within 1")
        return patterns

    def only(self, names: Collection[str]) -> FusionSection:
        """Return what is left with fewer inputs, these alone; it no longer fits a run's fusion."""
        rates, alignment = self.input_dropout, self.alignment
        left = tuple(name for name in alignment.inputs if name in names) if alignment else ()
        update = {
            "input_dropout": {n: r for n, r in rates.items() if n in names} if isinstance(rates, dict) else rates,
            "input_patterns": {k: c for k, c in self.input_patterns.items() if set(k.split("+")) <= set(names)},
            "alignment": alignment.model_copy(update={"inputs": left}) if alignment and len(left) > 1 else None,
            "balance": self.balance if len(names) > 1 else None,
            "taken_from": None,
            "taken_digest": None,
            **layout_of(self, names),
        }
        return self.model_copy(update=update)


def aligned(fusion: FusionSection, inputs: list[str], source: Source) -> FusionSection:
    """Let a model that writes nothing align all its inputs, unless the config names them."""
    if fusion.alignment is not None:
        return fusion
    if len(inputs) < 2:
        advice = "add [inputs] that mean the same, such as a photo and its caption"
        raise ConfigError("two inputs or more are needed to align", where=source.where("inputs"), advice=advice)
    return fusion.model_copy(update={"alignment": Alignment.Config(inputs=tuple(inputs))})


def parse_fusion(
    values: Mapping[str, Any], source: Source, inputs: list[str]
) -> tuple[FusionSection, Any, Section]:
    """Validate the section, and what it takes from a run.

    Raises:
        ConfigError: an unknown key or name (with the nearest), or settings that do not fit the inputs.
    """
    raw = table(values, "fusion", source)
    if taking.is_run(raw.get("features")):
        raw = taking.taken_fusion(raw, inputs, source.where("fusion.features"))
    common, rest = split(raw, FusionSection)
    fusion = FusionSection.parse(common, source, "fusion")
    named = {
        "input_dropout": list(fusion.input_dropout) if isinstance(fusion.input_dropout, dict) else [],
        "input_patterns": [name for key in fusion.input_patterns for name in key.split("+")],
        "alignment": list(fusion.alignment.inputs) if fusion.alignment else [],
        "balance": [*(fusion.balance.inputs or ()), *fusion.balance.weights] if fusion.balance else [],
    }
    for key, names in named.items():
        for name in names:
            if name not in inputs:
                where, advice = source.where(f"fusion.{key}"), nearest(name, inputs)
                raise ConfigError(f"'fusion.{key}' names no input: '{name}'", where=where, advice=advice)
    cls = registry.load(FUSIONS, FUSION_GROUP, fusion.features, where=source.where("fusion.features"))
    options = options_of(cls.Config, rest, FusionSection, source, "fusion")
    check_layout(fusion, inputs, source)
    _check_fusion(fusion, cls, options, inputs, source)
    return fusion, cls, options


def _check_fusion(fusion: FusionSection, cls: Any, options: Section, inputs: list[str], source: Source) -> None:
    """Refuse what the fusion's constructor would: on the meta device nothing is computed, nor drawn at random."""
    part = named_part(options)
    if part is not None and part not in inputs:
        key = f"fusion.{type(options).names_part}"  # type: ignore[attr-defined]
        advice = nearest(part, inputs)
        raise ConfigError(f"'{key}' names no input: '{part}'", where=source.where(key), advice=advice)
    groups = layout_groups(fusion, inputs)
    try:
        with torch.device("meta"):
            if inputs:
                make_fusion(cls, options, inputs, fusion.width, groups=groups, given=fusion.given)
    except ConfigError as error:
        raise error.at(source.where("fusion")) from None

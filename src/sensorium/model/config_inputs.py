"""`[inputs.NAME]` as config: a column, the encoder of what stands in it, and how that is trained.

Enters: nested dicts from TOML or Python.  Leaves: an `InputChoice`, whose encoder is resolved to its class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from sensorium.core import registry
from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.data.scan import InputSpec
from sensorium.data.several import Several
from sensorium.encoders.registry import ENCODERS
from sensorium.encoders.registry import ENTRY_POINTS as ENCODER_GROUP
from sensorium.model import taking
from sensorium.model.config_reading import options_of, split


class InputSection(taking.TakenSection):
    """`[inputs.NAME]`: one column of the table and how it is encoded; other keys are the encoder's."""

    modality: str
    encoder: str
    column: str | None = None
    frozen: bool = False
    """Learn nothing of the encoder, and encode each medium once for all training."""
    frozen_layers: int = Field(0, ge=0, le=10_000)
    """How many of the encoder's layers, from the bottom, learn nothing."""
    rate_factor: float = Field(1.0, gt=0, le=1_000)
    """How many times the learning rate its encoder descends at."""
    rate_decay: float = Field(1.0, gt=0, le=1.0)
    """By how much the rate shrinks with each layer below the encoder's last one."""
    several: bool = False
    """A cell lists media of this kind: a JSON list, or texts between separators."""
    separator: str = Field("|", min_length=1, max_length=8)
    max_media: int = Field(8, ge=1, le=1_024)
    """How many of a row's media are used, the first ones; the others are counted."""


@dataclass(frozen=True)
class InputChoice:
    """A validated input: the common keys, the encoder's class and its options."""

    section: InputSection
    encoder: Any
    options: Section

    @property
    def column(self) -> str:
        """Name the table column (set by `parse`)."""
        return str(self.section.column)

    @property
    def lists(self) -> Several | None:
        """Return how the column's cells list several media; None: a cell is one."""
        return Several(self.section.separator, self.section.max_media) if self.section.several else None

    def spec(self, preparer: Any) -> InputSpec:
        """Return how the input is read, by its fitted preparer."""
        return InputSpec(self.column, preparer, self.lists)


def parse_input(name: str, raw: Any, source: Source) -> InputChoice:
    """Validate one input, and what it takes from a run.

    Raises:
        ConfigError: an unknown key or name (with the nearest), or settings that contradict each other.
    """
    prefix = f"inputs.{name}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        raise ConfigError("an input's name is letters, digits, '_' and '-'", where=source.where(prefix))
    if not isinstance(raw, Mapping):
        raise ConfigError(f"'{prefix}' must be a section", where=source.where(prefix))
    if taking.is_run(raw.get("encoder")):
        raw, _ = taking.taken_input(name, raw, source.where(f"{prefix}.encoder"))
    common, rest = split(_source_apart(raw, source.where(f"{prefix}.encoder")), InputSection)
    section = InputSection.parse({"column": name, **common}, source, prefix)
    where = source.where(f"{prefix}.encoder")
    key = f"{section.modality}.{section.encoder}"
    modalities = {n.partition(".")[0] for n in registry.names(ENCODERS, ENCODER_GROUP)}
    if section.modality not in modalities:
        advice = nearest(section.modality, sorted(modalities))
        raise ConfigError(
            f"no modality '{section.modality}'", where=source.where(f"{prefix}.modality"), advice=advice
        )
    encoder = registry.load(ENCODERS, ENCODER_GROUP, key, where=where)
    options = options_of(encoder.Config, rest, InputSection, source, prefix)
    if hasattr(options, "pinned"):
        options = options.pinned()
    _require_fitting(key, section, encoder, options, source, prefix)
    try:
        options.preparer()  # type: ignore[attr-defined]
    except ConfigError as error:
        raise error.at(source.where(prefix)) from None
    return InputChoice(section, encoder, options)


def _source_apart(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Let `encoder = "hf:folder"` mean `encoder = "hf"` and `source = "folder"`."""
    if not isinstance(raw.get("encoder"), str):
        return raw
    kind, values = registry.split_source(raw["encoder"], raw, where=where)
    return {**values, "encoder": kind}


def _require_fitting(
    key: str, section: InputSection, encoder: Any, options: Section, source: Source, prefix: str
) -> None:
    """Check that how an encoder is trained suits it.  Raises ConfigError."""
    if not section.frozen and not getattr(encoder, "learns", True):
        where, advice = source.where(f"{prefix}.encoder"), "set frozen = true"
        raise ConfigError(
            f"'{key}' learns nothing: its network is used as it was saved", where=where, advice=advice
        )
    if section.frozen and getattr(encoder, "fitted_by", "gradient") == "counting":
        advice = "leave 'frozen' out: gradients do not change what was counted"
        raise ConfigError(f"'{key}' is fitted by counting", where=source.where(f"{prefix}.frozen"), advice=advice)
    if section.frozen and getattr(options, "augments", False):
        advice = "leave 'frozen' out, or the options that change media in training"
        where = source.where(f"{prefix}.frozen")
        raise ConfigError("a frozen encoder sees each medium once, and never changed", where=where, advice=advice)
    if section.frozen and getattr(options, "lora", None) is not None:
        where = source.where(f"{prefix}.frozen")
        raise ConfigError("adapters learn nothing where all is frozen", where=where, advice="leave 'frozen' out")
    if section.several and getattr(encoder, "fitted_by", "gradient") == "counting":
        advice = "leave 'several' out, or choose an encoder that learns by gradient"
        raise ConfigError(
            f"'{key}' counts one medium a row", where=source.where(f"{prefix}.several"), advice=advice
        )
    if section.frozen and getattr(options, "learned_vectors", None) is not None:
        advice = "leave 'frozen' out, or name a file of 'vectors'"
        where = source.where(f"{prefix}.frozen")
        raise ConfigError("learned_vectors come after what is frozen was encoded", where=where, advice=advice)

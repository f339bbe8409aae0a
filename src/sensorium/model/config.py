"""What a model is made of, as config sections: inputs, target, fusion, language.

Enters: nested dicts from TOML or Python.  Leaves: `ModelConfig`, in which every component's own
options have been validated by the component's own `Config`, and written out with their defaults.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from sensorium.core import registry
from sensorium.core.config import Section, Source, unknown_key
from sensorium.core.errors import ConfigError
from sensorium.data.tokenizers import ENTRY_POINTS as TOKENIZER_GROUP
from sensorium.data.tokenizers import TOKENIZERS
from sensorium.encoders.registry import ENCODERS
from sensorium.encoders.registry import ENTRY_POINTS as ENCODER_GROUP
from sensorium.fusion.alignment import Alignment
from sensorium.fusion.registry import ENTRY_POINTS as FUSION_GROUP
from sensorium.fusion.registry import FUSIONS
from sensorium.language.registry import ENTRY_POINTS as SCORER_GROUP
from sensorium.language.registry import SCORERS
from sensorium.model import taking
from sensorium.model.input_dropout import InputDropout
from sensorium.model.objectives import ObjectivesSection, require_fitting

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


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


class TargetSection(Section):
    """`[target]`: the text to be produced; other keys are the tokenizer's."""

    column: str
    task: str = "answer"
    tokenizer: str | None = None
    max_tokens: int = Field(64, ge=1, le=100_000)
    closed: bool | None = None
    """Choose among the training targets (True), write freely (False), or let the task decide."""


class FusionSection(taking.TakenSection):
    """`[fusion]`: how parts meet, and the width they meet at; other keys are the fusion's."""

    features: str = "concat"
    width: int = Field(128, ge=1, le=65_536)
    input_dropout: Rate | dict[str, Rate] = 0.0
    """Chance, in training, that a row's input is hidden (never all of them); one for all, or by input."""
    input_patterns: dict[str, Rate] = {}
    """Chance, in training, that a row with all inputs of "photo+speech" shows these alone."""
    alignment: Alignment.Config | None = None

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


class LanguageSection(Section):
    """`[language]`: which scorers, and how they are composed; `[language.NAME]` holds each one's options.

    A scorer is named by its kind, or freely where `[language.NAME]` says `scorer = "KIND"`, so that a model may
    have two of a kind.
    """

    scorers: tuple[str, ...] = ("transformer",)
    mix: Literal["linear", "product", "gate", "chain"] = "linear"
    weights: tuple[float, ...] | None = None
    """Fixed weights in the order of `scorers`; None fits them on held-out rows."""
    train: Literal["alone", "through"] = "alone"
    """Let what learns learn each for itself, or through the composition, with counts that leave its rows out."""
    folds: int = Field(5, ge=2, le=100)
    """Into how many folds rows are parted so that counts can leave them out, in training through them."""

    @field_validator("scorers")
    @classmethod
    def _some_and_distinct(cls, scorers: tuple[str, ...]) -> tuple[str, ...]:
        if not scorers or len(set(scorers)) != len(scorers):
            raise ValueError("name one scorer or more, each once")
        return scorers


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


class ScorerChoice(NamedTuple):
    """A validated scorer: its class, its options, and its kind (its name in the registry)."""

    scorer: Any
    options: Section
    kind: str

    def reads_any(self, inputs: Collection[str]) -> bool:
        """Say whether it reads one of `inputs`; a scorer that names none reads what there is."""
        named = getattr(self.options, "inputs", ())
        return not named or any(name in inputs for name in named)

    def dump(self, name: str) -> dict[str, Any]:
        """Return the plain values of `[language.NAME]`; the kind only where the name does not say it."""
        return ({} if name == self.kind else {"scorer": self.kind}) | _plain(self.options)


@dataclass(frozen=True, kw_only=True)
class ConditionerConfig:
    """Validated inputs and fusion, and what trains them without a target."""

    inputs: Mapping[str, InputChoice]
    fusion: FusionSection
    fusion_class: Any
    fusion_options: Section
    objectives: ObjectivesSection | None

    @property
    def input_dropout(self) -> InputDropout:
        """Return which inputs training hides."""
        rates = self.fusion.input_dropout
        by_input = rates if isinstance(rates, dict) else dict.fromkeys(self.inputs, rates)
        patterns = {frozenset(key.split("+")): chance for key, chance in self.fusion.input_patterns.items()}
        return InputDropout(by_input, patterns)

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that are read back to an equal config."""
        objectives = {} if self.objectives is None else {"objectives": _plain(self.objectives)}
        return {
            "inputs": {n: _plain(c.section) | _plain(c.options) for n, c in self.inputs.items()},
            "fusion": _plain(self.fusion) | _plain(self.fusion_options),
            **objectives,
        }


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ConditionerConfig):
    """A validated model: every name resolved to its class, every option to its value."""

    target: TargetSection
    tokenizer: Any
    tokenizer_options: Section
    language: LanguageSection
    scorers: Mapping[str, ScorerChoice]

    def only(self, names: Collection[str]) -> ModelConfig:
        """Return the same model with these inputs alone; what training says of the others falls away.

        So do scorers that read none of these, unless that leaves no scorer.
        """
        fusion, rates = self.fusion, self.fusion.input_dropout
        aligned = [name for name in fusion.alignment.inputs if name in names] if fusion.alignment else []
        alignment = fusion.alignment.model_copy(update={"inputs": tuple(aligned)}) if fusion.alignment else None
        update = {
            "input_dropout": {n: r for n, r in rates.items() if n in names} if isinstance(rates, dict) else rates,
            "input_patterns": {k: c for k, c in fusion.input_patterns.items() if set(k.split("+")) <= set(names)},
            "alignment": alignment if len(aligned) > 1 else None,
        }
        inputs = {name: choice for name, choice in self.inputs.items() if name in names}
        left = {name: choice for name, choice in self.scorers.items() if choice.reads_any(names)} or self.scorers
        pairs = zip(self.language.scorers, self.language.weights or (), strict=False)
        weights = tuple(weight for name, weight in pairs if name in left)
        language = self.language.model_copy(update={"scorers": tuple(left), "weights": weights or None})
        fusion = fusion.model_copy(update=update)
        objectives = self.objectives.only(names) if self.objectives else None
        return replace(self, inputs=inputs, fusion=fusion, objectives=objectives, language=language, scorers=left)

    def scored_by(self, name: str) -> ModelConfig:
        """Return the same model with one of its scorers alone."""
        language = self.language.model_copy(update={"scorers": (name,), "weights": None})
        return replace(self, language=language, scorers={name: self.scorers[name]})

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that `parse` reads back to an equal config."""
        return {
            **super().dump(),
            "target": _plain(self.target) | _plain(self.tokenizer_options),
            "language": _plain(self.language) | {n: choice.dump(n) for n, choice in self.scorers.items()},
        }


SECTIONS = ("inputs", "target", "fusion", "objectives", "language")


def parse(values: Mapping[str, Any], source: Source, *, default_tokenizer: Mapping[str, str]) -> ModelConfig:
    """Validate the model's sections.

    Args:
        values: nested dicts; other sections are ignored.
        source: where the keys stand, for errors.
        default_tokenizer: the tokenizer of each task that does not name one.

    Raises:
        ConfigError: an unknown key or name (with the nearest), or a value out of range.
    """
    conditioner = _conditioner(values, source)
    target, tokenizer, tokenizer_options = _target(values, source, default_tokenizer)
    language, scorers = _language(values, source, list(conditioner.inputs))
    return ModelConfig(
        **vars(conditioner),
        target=target,
        tokenizer=tokenizer,
        tokenizer_options=tokenizer_options,
        language=language,
        scorers=scorers,
    )


def is_without_target(values: Mapping[str, Any]) -> bool:
    """Say whether a config trains by objectives alone."""
    is_aligned = isinstance(fusion := values.get("fusion"), Mapping) and "alignment" in fusion
    return "target" not in values and ("objectives" in values or is_aligned)


def parse_without_target(values: Mapping[str, Any], source: Source) -> ConditionerConfig:
    """Validate inputs, fusion and objectives, of a model that is trained by these alone.

    Raises:
        ConfigError: as `parse`; nothing to train by; sections that need a target.
    """
    for key in ("target", "language"):
        if key in values:
            raise ConfigError(f"[{key}] has no place where nothing is written", where=source.where(key))
    config = _conditioner(values, source)
    for name, choice in config.inputs.items():
        if getattr(choice.encoder, "fitted_by", "gradient") == "counting":
            where, what = source.where(f"inputs.{name}.encoder"), f"'{name}' is fitted by counting targets"
            raise ConfigError(what, where=where, advice="pretrain inputs that learn by gradient")
    objectives = config.objectives
    if config.fusion.alignment is None and not (objectives and (objectives.masked or objectives.matching)):
        advice = "add a [target], or masked or matching to [objectives], or [fusion.alignment]"
        raise ConfigError("there is nothing to train by", where=source.where("objectives"), advice=advice)
    return config


def _conditioner(values: Mapping[str, Any], source: Source) -> ConditionerConfig:
    if "inputs" not in values:
        advice = "add a section [inputs.NAME], or an empty [inputs] for a language model of the target alone"
        raise ConfigError("no inputs", where=source.name, advice=advice)
    inputs = {name: _input(name, raw, source) for name, raw in _table(values, "inputs", source).items()}
    fusion, fusion_class, fusion_options = _fusion(values, source, list(inputs))
    for name, raw in _table(values, "inputs", source).items():
        if taking.is_run(raw.get("encoder")):
            where = source.where(f"inputs.{name}.encoder")
            taking.require_width(taking.open_run(raw["encoder"], where), fusion.width, where)
    objectives = None
    if "objectives" in values:
        objectives = ObjectivesSection.parse(_table(values, "objectives", source), source, "objectives")
        require_fitting(objectives, inputs, fusion.width, fusion.alignment, source)
    return ConditionerConfig(
        inputs=inputs,
        fusion=fusion,
        fusion_class=fusion_class,
        fusion_options=fusion_options,
        objectives=objectives,
    )


def _input(name: str, raw: Any, source: Source) -> InputChoice:
    prefix = f"inputs.{name}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        raise ConfigError("an input's name is letters, digits, '_' and '-'", where=source.where(prefix))
    if not isinstance(raw, Mapping):
        raise ConfigError(f"'{prefix}' must be a section", where=source.where(prefix))
    if taking.is_run(raw.get("encoder")):
        raw, _ = taking.taken_input(name, raw, source.where(f"{prefix}.encoder"))
    common, rest = _split(raw, InputSection)
    section = InputSection.parse({"column": name, **common}, source, prefix)
    where = source.where(f"{prefix}.encoder")
    key = f"{section.modality}.{section.encoder}"
    modalities = {n.partition(".")[0] for n in registry.names(ENCODERS, ENCODER_GROUP)}
    if section.modality not in modalities:
        advice = registry.nearest(section.modality, sorted(modalities))
        raise ConfigError(
            f"no modality '{section.modality}'", where=source.where(f"{prefix}.modality"), advice=advice
        )
    encoder = registry.load(ENCODERS, ENCODER_GROUP, key, where=where)
    options = _options(encoder.Config, rest, InputSection, source, prefix)
    if section.frozen and getattr(encoder, "fitted_by", "gradient") == "counting":
        advice = "leave 'frozen' out: gradients do not change what was counted"
        raise ConfigError(f"'{key}' is fitted by counting", where=source.where(f"{prefix}.frozen"), advice=advice)
    if section.frozen and getattr(options, "augments", False):
        advice = "leave 'frozen' out, or the options that change media in training"
        where = source.where(f"{prefix}.frozen")
        raise ConfigError("a frozen encoder sees each medium once, and never changed", where=where, advice=advice)
    if section.frozen and getattr(options, "learned_vectors", None) is not None:
        advice = "leave 'frozen' out, or name a file of 'vectors'"
        where = source.where(f"{prefix}.frozen")
        raise ConfigError("learned_vectors come after what is frozen was encoded", where=where, advice=advice)
    try:
        options.preparer()  # type: ignore[attr-defined]
    except ConfigError as error:
        raise error.at(source.where(prefix)) from None
    return InputChoice(section, encoder, options)


def _target(
    values: Mapping[str, Any], source: Source, default_tokenizer: Mapping[str, str]
) -> tuple[TargetSection, Any, Section]:
    common, rest = _split(_table(values, "target", source), TargetSection)
    target = TargetSection.parse(common, source, "target")
    if target.task not in default_tokenizer:
        advice = registry.nearest(target.task, list(default_tokenizer))
        raise ConfigError(f"no task '{target.task}'", where=source.where("target.task"), advice=advice)
    if target.tokenizer is None:
        target = target.model_copy(update={"tokenizer": default_tokenizer[target.task]})
    where = source.where("target.tokenizer")
    tokenizer = registry.load(TOKENIZERS, TOKENIZER_GROUP, str(target.tokenizer), where=where)
    return target, tokenizer, _options(tokenizer.Config, rest, TargetSection, source, "target")


def _fusion(values: Mapping[str, Any], source: Source, inputs: list[str]) -> tuple[FusionSection, Any, Section]:
    raw = _table(values, "fusion", source)
    if taking.is_run(raw.get("features")):
        where = source.where("fusion.features")
        raw = taking.taken_fusion(raw, inputs, where)
        taking.require_width(taking.open_run(raw["taken_from"], where), raw["width"], where)
    common, rest = _split(raw, FusionSection)
    fusion = FusionSection.parse(common, source, "fusion")
    named = {
        "input_dropout": list(fusion.input_dropout) if isinstance(fusion.input_dropout, dict) else [],
        "input_patterns": [name for key in fusion.input_patterns for name in key.split("+")],
        "alignment": list(fusion.alignment.inputs) if fusion.alignment else [],
    }
    for key, names in named.items():
        for name in names:
            if name not in inputs:
                where, advice = source.where(f"fusion.{key}"), registry.nearest(name, inputs)
                raise ConfigError(f"'fusion.{key}' names no input: '{name}'", where=where, advice=advice)
    cls = registry.load(FUSIONS, FUSION_GROUP, fusion.features, where=source.where("fusion.features"))
    return fusion, cls, _options(cls.Config, rest, FusionSection, source, "fusion")


def _language(
    values: Mapping[str, Any], source: Source, inputs: list[str]
) -> tuple[LanguageSection, dict[str, ScorerChoice]]:
    raw = dict(_table(values, "language", source))
    tables = {name: raw.pop(name) for name in list(raw) if isinstance(raw[name], Mapping)}
    language = LanguageSection.parse(raw, source, "language")
    for name in tables:
        if name not in language.scorers:
            raise unknown_key(f"language.{name}", language.scorers, source)
    if language.weights is not None and len(language.weights) != len(language.scorers):
        raise ConfigError("one weight a scorer is needed", where=source.where("language.weights"))
    scorers = {name: _scorer(name, tables.get(name, {}), source, inputs) for name in language.scorers}
    if language.mix == "chain" and len(scorers) > 1:
        for name, choice in scorers.items():
            if not hasattr(choice.scorer, "chain"):
                where, advice = source.where("language.mix"), 'mix = "linear" and "product" take any scorers'
                raise ConfigError(f"mix = \"chain\" joins CRFs, and '{name}' is none", where=where, advice=advice)
    for name in scorers:
        _check_what_is_read(name, scorers, source)
    _require_both_kinds(language, scorers, source)
    return language, scorers


def _require_both_kinds(language: LanguageSection, scorers: Mapping[str, ScorerChoice], source: Source) -> None:
    kinds = {choice.scorer.fitted_by for choice in scorers.values()}
    if language.train == "through" and not {"counting", "gradient"} <= kinds:
        raise ConfigError(
            f"training through counts needs a scorer that counts and one that learns, not {list(scorers)} alone",
            where=source.where("language.train"),
            advice='add "ngram" or "transformer" to scorers, or leave \'train\' out',
        )


def _check_what_is_read(name: str, scorers: Mapping[str, ScorerChoice], source: Source) -> None:
    of = getattr(scorers[name].options, "of", None)
    if of is None:
        return
    where = source.where(f"language.{name}.of")
    others = {other: choice.scorer for other, choice in scorers.items() if other != name}
    shown = [other for other, cls in others.items() if hasattr(cls, "unroll_hidden")]
    if of in others and of not in shown:
        raise ConfigError(f"'language.{name}.of': '{of}' has no hidden vectors to be remembered", where=where)
    if of not in others:
        advice = registry.nearest(of, shown)
        raise ConfigError(f"'language.{name}.of' names no other scorer: '{of}'", where=where, advice=advice)


def _scorer(name: str, raw: Mapping[str, Any], source: Source, inputs: list[str]) -> ScorerChoice:
    prefix, values = f"language.{name}", dict(raw)
    kind = values.pop("scorer", name)
    if not isinstance(kind, str):
        raise ConfigError(f"'{prefix}.scorer' names a kind of scorer", where=source.where(f"{prefix}.scorer"))
    if name in LanguageSection.model_fields or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        advice = f"a name is letters, digits, '_' and '-', and none of {', '.join(LanguageSection.model_fields)}"
        raise ConfigError(f"'{name}' cannot name a scorer", where=source.where("language.scorers"), advice=advice)
    known = registry.names(SCORERS, SCORER_GROUP)
    if "scorer" not in raw and name not in known:
        advice = f'{registry.nearest(name, known)}; a name of your own needs [{prefix}] scorer = "KIND"'
        raise ConfigError(f"no scorer '{name}'", where=source.where("language.scorers"), advice=advice)
    cls = registry.load(SCORERS, SCORER_GROUP, kind, where=source.where(f"{prefix}.scorer"))
    for key in values:
        if key not in cls.Config.model_fields:
            raise unknown_key(f"{prefix}.{key}", ["scorer", *cls.Config.model_fields], source)
    options = cls.Config.parse(values, source, prefix)
    for named in getattr(options, "inputs", ()):
        if named not in inputs:
            where, advice = source.where(f"{prefix}.inputs"), registry.nearest(named, inputs)
            raise ConfigError(f"'{prefix}.inputs' names no input: '{named}'", where=where, advice=advice)
    return ScorerChoice(cls, options, kind)


def _table(values: Mapping[str, Any], key: str, source: Source) -> Mapping[str, Any]:
    table = values.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"'{key}' must be a section", where=source.where(key))
    return table


def _split(raw: Mapping[str, Any], common: type[Section]) -> tuple[dict[str, Any], dict[str, Any]]:
    known = common.model_fields
    return {k: v for k, v in raw.items() if k in known}, {k: v for k, v in raw.items() if k not in known}


def _options(
    cls: type[Section], rest: Mapping[str, Any], common: type[Section], source: Source, prefix: str
) -> Section:
    for key in rest:
        if key not in cls.model_fields:
            raise unknown_key(f"{prefix}.{key}", [*common.model_fields, *cls.model_fields], source)
    return cls.parse(rest, source, prefix)


def _plain(section: Section) -> dict[str, Any]:
    return {k: _plain_value(v) for k, v in section.model_dump(exclude_none=True).items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {k: _plain_value(v) for k, v in value.items() if v is not None}
    return [_plain_value(v) for v in value] if isinstance(value, list | tuple) else value

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

import torch
from pydantic import Field, field_validator

from sensorium.core import registry
from sensorium.core.config import Section, Source, unknown_key
from sensorium.core.errors import ConfigError
from sensorium.data.scan import InputSpec
from sensorium.data.several import Several
from sensorium.data.tokenizers import ENTRY_POINTS as TOKENIZER_GROUP
from sensorium.data.tokenizers import TOKENIZERS
from sensorium.encoders.registry import ENCODERS
from sensorium.encoders.registry import ENTRY_POINTS as ENCODER_GROUP
from sensorium.fusion.alignment import Alignment
from sensorium.fusion.balance import Balance
from sensorium.fusion.layout import Groups, make_fusion, named_part, options_for
from sensorium.fusion.registry import ENTRY_POINTS as FUSION_GROUP
from sensorium.fusion.registry import FUSIONS
from sensorium.language.registry import ENTRY_POINTS as SCORER_GROUP
from sensorium.language.registry import SCORERS
from sensorium.model.input_dropout import InputDropout
from sensorium.model.layout import LayoutSection, check_layout, layout_groups, layout_of

NO_TEXT_TOKENIZER = "label"
"""Stands where a model that writes nothing has no tokenizer: it knows no text at all."""

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class InputSection(Section):
    """`[inputs.NAME]`: one column of the table and how it is encoded; other keys are the encoder's."""

    modality: str
    encoder: str
    column: str | None = None
    frozen: bool = False
    rate_factor: float = Field(1.0, gt=0, le=1_000)
    """How many times the learning rate its encoder descends at."""
    several: bool = False
    """A cell lists media of this kind: a JSON list, or texts between separators."""
    separator: str = Field("|", min_length=1, max_length=8)
    max_media: int = Field(8, ge=1, le=1_024)
    """How many of a row's media are used, the first ones; the others are counted."""


class TargetSection(Section):
    """`[target]`: the text to be produced; other keys are the tokenizer's."""

    column: str | None = None
    """Where the texts stand; a task that writes nothing has none."""
    task: str = "answer"
    tokenizer: str | None = None
    max_tokens: int = Field(64, ge=1, le=100_000)
    closed: bool | None = None
    """Choose among the training targets (True), write freely (False), or let the task decide."""


class FusionSection(LayoutSection):
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


class LanguageSection(Section):
    """`[language]`: which scorers, and how they are composed; `[language.NAME]` holds each one's options.

    A scorer is named by its kind, or freely where `[language.NAME]` says `scorer = "KIND"`, so that a model may
    have two of a kind.
    """

    scorers: tuple[str, ...] = ("transformer",)
    mix: Literal["linear", "product", "gate", "chain"] = "linear"
    weights: tuple[float, ...] | None = None
    """Fixed weights in the order of `scorers`; None fits them on held-out rows."""
    internal: dict[str, Annotated[float, Field(ge=0, le=1)] | Literal["fit"]] = {}
    """How much of a neural scorer's own language is divided out (`language/internal.py`), by scorer; or "fit"."""
    train: Literal["alone", "through"] = "alone"
    """Let what learns learn each for itself, or through the composition, with counts that leave its rows out."""
    folds: int = Field(5, ge=2, le=100)
    """Into how many folds rows are parted so that counts can leave them out, in training through them."""

    @field_validator("scorers")
    @classmethod
    def _distinct(cls, scorers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(scorers)) != len(scorers):
            raise ValueError("name each scorer once")
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

    @property
    def lists(self) -> Several | None:
        """Return how the column's cells list several media; None: a cell is one."""
        return Several(self.section.separator, self.section.max_media) if self.section.several else None

    def spec(self, preparer: Any) -> InputSpec:
        """Return how the input is read, by its fitted preparer."""
        return InputSpec(self.column, preparer, self.lists)


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


@dataclass(frozen=True)
class ModelConfig:
    """A validated model: every name resolved to its class, every option to its value."""

    inputs: Mapping[str, InputChoice]
    target: TargetSection
    tokenizer: Any
    tokenizer_options: Section
    fusion: FusionSection
    fusion_class: Any
    fusion_options: Section
    language: LanguageSection
    scorers: Mapping[str, ScorerChoice]
    unread: frozenset[str] = frozenset()
    """Inputs that only other tasks of the same model read: absent from all rows of this one."""

    @property
    def read_inputs(self) -> dict[str, InputChoice]:
        """Return the inputs that rows may have."""
        return {name: choice for name, choice in self.inputs.items() if name not in self.unread}

    @property
    def layout_groups(self) -> Groups | None:
        """Return the groups in which inputs are fused, of one input each if serial; None if parallel."""
        return layout_groups(self.fusion, list(self.inputs))

    def make_fusion(self) -> Any:
        """Make the fusion of the inputs, laid out as configured; None where there are no inputs."""
        names, fusion = list(self.inputs), self.fusion
        if not names:
            return None
        return make_fusion(
            self.fusion_class,
            self.fusion_options,
            names,
            fusion.width,
            groups=self.layout_groups,
            given=fusion.given,
        )

    @property
    def input_dropout(self) -> InputDropout:
        """Return which inputs training hides."""
        rates = self.fusion.input_dropout
        by_input = rates if isinstance(rates, dict) else dict.fromkeys(self.inputs, rates)
        patterns = {frozenset(key.split("+")): chance for key, chance in self.fusion.input_patterns.items()}
        return InputDropout(by_input, patterns)

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
            **layout_of(fusion, names),
            "balance": fusion.balance if len(names) > 1 else None,
        }
        inputs = {name: choice for name, choice in self.inputs.items() if name in names}
        left = {name: choice for name, choice in self.scorers.items() if choice.reads_any(names)} or self.scorers
        pairs = zip(self.language.scorers, self.language.weights or (), strict=False)
        weights = tuple(weight for name, weight in pairs if name in left)
        kept = {name: share for name, share in self.language.internal.items() if name in left}
        update_language = {"scorers": tuple(left), "weights": weights or None, "internal": kept}
        language = self.language.model_copy(update=update_language)
        fusion = fusion.model_copy(update=update)
        options = options_for(self.fusion_options, list(inputs))
        return replace(self, inputs=inputs, fusion=fusion, fusion_options=options, language=language, scorers=left)

    def scored_by(self, name: str) -> ModelConfig:
        """Return the same model with one of its scorers alone."""
        language = self.language.model_copy(update={"scorers": (name,), "weights": None, "internal": {}})
        return replace(self, language=language, scorers={name: self.scorers[name]})

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that `parse` reads back to an equal config."""
        return {
            "inputs": {n: _plain(c.section) | _plain(c.options) for n, c in self.inputs.items()},
            "target": _plain(self.target) | _plain(self.tokenizer_options),
            "fusion": _plain(self.fusion) | _plain(self.fusion_options),
            "language": _plain(self.language) | {n: choice.dump(n) for n, choice in self.scorers.items()},
        }


SECTIONS = ("inputs", "target", "fusion", "language")


def parse(values: Mapping[str, Any], source: Source, *, default_tokenizer: Mapping[str, str]) -> ModelConfig:
    """Validate the four model sections.

    Args:
        values: nested dicts; sections other than the four are ignored.
        source: where the keys stand, for errors.
        default_tokenizer: the tokenizer of each task that does not name one; empty for a task that writes no text,
            and aligns its inputs instead.

    Raises:
        ConfigError: an unknown key or name (with the nearest), or a value out of range.
    """
    raw_inputs = _table(values, "inputs", source)
    if "inputs" not in values:
        advice = "add a section [inputs.NAME], or an empty [inputs] for a language model of the target alone"
        raise ConfigError("no inputs", where=source.name, advice=advice)
    inputs = {name: _input(name, raw, source) for name, raw in raw_inputs.items()}
    target, tokenizer, tokenizer_options = _target(values, source, default_tokenizer)
    fusion, fusion_class, fusion_options = _fusion(values, source, list(inputs))
    if target.column is None:
        fusion = _aligned(fusion, list(inputs), source)
    language, scorers = _language(values, source, list(inputs), writes=target.column is not None)
    return ModelConfig(
        inputs, target, tokenizer, tokenizer_options, fusion, fusion_class, fusion_options, language, scorers
    )


def _input(name: str, raw: Any, source: Source) -> InputChoice:
    prefix = f"inputs.{name}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        raise ConfigError("an input's name is letters, digits, '_' and '-'", where=source.where(prefix))
    if not isinstance(raw, Mapping):
        raise ConfigError(f"'{prefix}' must be a section", where=source.where(prefix))
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
    if section.several and getattr(encoder, "fitted_by", "gradient") == "counting":
        advice = "leave 'several' out, or choose an encoder that learns by gradient"
        raise ConfigError(
            f"'{key}' counts one medium a row", where=source.where(f"{prefix}.several"), advice=advice
        )
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
        target = target.model_copy(update={"tokenizer": default_tokenizer[target.task] or NO_TEXT_TOKENIZER})
    where = source.where("target.tokenizer")
    tokenizer = registry.load(TOKENIZERS, TOKENIZER_GROUP, str(target.tokenizer), where=where)
    options = _options(tokenizer.Config, rest, TargetSection, source, "target")
    _require_column(target, writes=bool(default_tokenizer[target.task]), source=source)
    return target, tokenizer, options


def _require_column(target: TargetSection, *, writes: bool, source: Source) -> None:
    if writes and target.column is None:
        raise ConfigError("'target.column' is missing", where=source.where("target.column"))
    if not writes and target.column is not None:
        raise ConfigError(
            f"task '{target.task}' writes no text",
            where=source.where("target.column"),
            advice="leave 'column' out; texts that are searched for are [inputs] too",
        )


def _aligned(fusion: FusionSection, inputs: list[str], source: Source) -> FusionSection:
    """Let a model that writes nothing align all its inputs, unless the config names them."""
    if fusion.alignment is not None:
        return fusion
    if len(inputs) < 2:
        advice = "add [inputs] that mean the same, such as a photo and its caption"
        raise ConfigError("two inputs or more are needed to align", where=source.where("inputs"), advice=advice)
    return fusion.model_copy(update={"alignment": Alignment.Config(inputs=tuple(inputs))})


def _fusion(values: Mapping[str, Any], source: Source, inputs: list[str]) -> tuple[FusionSection, Any, Section]:
    common, rest = _split(_table(values, "fusion", source), FusionSection)
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
                where, advice = source.where(f"fusion.{key}"), registry.nearest(name, inputs)
                raise ConfigError(f"'fusion.{key}' names no input: '{name}'", where=where, advice=advice)
    cls = registry.load(FUSIONS, FUSION_GROUP, fusion.features, where=source.where("fusion.features"))
    options = _options(cls.Config, rest, FusionSection, source, "fusion")
    check_layout(fusion, inputs, source)
    _check_fusion(fusion, cls, options, inputs, source)
    return fusion, cls, options


def _check_fusion(fusion: FusionSection, cls: Any, options: Section, inputs: list[str], source: Source) -> None:
    """Refuse what the fusion's constructor would: on the meta device nothing is computed, nor drawn at random."""
    part = named_part(options)
    if part is not None and part not in inputs:
        key = f"fusion.{type(options).names_part}"  # type: ignore[attr-defined]
        advice = registry.nearest(part, inputs)
        raise ConfigError(f"'{key}' names no input: '{part}'", where=source.where(key), advice=advice)
    groups = layout_groups(fusion, inputs)
    try:
        with torch.device("meta"):
            if inputs:
                make_fusion(cls, options, inputs, fusion.width, groups=groups, given=fusion.given)
    except ConfigError as error:
        raise error.at(source.where("fusion")) from None


def _language(
    values: Mapping[str, Any], source: Source, inputs: list[str], *, writes: bool
) -> tuple[LanguageSection, dict[str, ScorerChoice]]:
    raw = dict(_table(values, "language", source))
    named = [name for name, value in raw.items() if isinstance(value, Mapping) and name != "internal"]
    tables = {name: raw.pop(name) for name in named}
    language = LanguageSection.parse(raw if writes else {"scorers": (), **raw}, source, "language")
    _require_scorers(language, writes=writes, source=source)
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
    _check_internal(language, scorers, source)
    return language, scorers


def _check_internal(language: LanguageSection, scorers: Mapping[str, ScorerChoice], source: Source) -> None:
    where = source.where("language.internal")
    for name, share in language.internal.items():
        if name not in scorers:
            advice = registry.nearest(name, list(scorers))
            raise ConfigError(f"'language.internal' names no scorer: '{name}'", where=where, advice=advice)
        if scorers[name].scorer.fitted_by != "gradient" or language.mix == "chain":
            raise ConfigError(f"'{name}' has no internal language to be divided out", where=where)
        if share == "fit" and (len(scorers) == 1 or language.weights is not None):
            advice = "give a number, or add a scorer and leave 'weights' out"
            raise ConfigError(
                f"the share of '{name}' is fitted with weights, and there are none", where=where, advice=advice
            )
        if any(getattr(choice.options, "of", None) == name for choice in scorers.values()):
            raise ConfigError(f"a memory reads '{name}', whose language can then not be divided out", where=where)


def _require_scorers(language: LanguageSection, *, writes: bool, source: Source) -> None:
    where = source.where("language.scorers")
    if writes and not language.scorers:
        raise ConfigError("'language.scorers': name one scorer or more", where=where)
    if language.scorers and not writes:
        advice = "leave [language] out, or give it another task"
        raise ConfigError("a task that writes no text has no scorers", where=where, advice=advice)


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

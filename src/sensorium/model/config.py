"""What a model is made of, as config sections: inputs, target, fusion, objectives, language.

Enters: nested dicts from TOML or Python.  Leaves: `ModelConfig`, or `ConditionerConfig` where there is no target:
every component's own options have been validated by the component's own `Config`, and written out with their
defaults.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from sensorium.core import registry
from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.data.tokenizers import ENTRY_POINTS as TOKENIZER_GROUP
from sensorium.data.tokenizers import TOKENIZERS
from sensorium.fusion.layout import Groups, make_fusion, options_for
from sensorium.model import taking
from sensorium.model.config_fusion import FusionSection, aligned, parse_fusion
from sensorium.model.config_inputs import InputChoice, parse_input
from sensorium.model.config_language import LanguageSection, ScorerChoice, parse_language
from sensorium.model.config_reading import options_of, plain, split, table
from sensorium.model.config_tokenizer import with_tokenizer
from sensorium.model.input_dropout import InputDropout
from sensorium.model.layout import layout_groups
from sensorium.model.objectives import ObjectivesSection, require_fitting

NO_TEXT_TOKENIZER = "label"
"""Stands where a model that writes nothing has no tokenizer: it knows no text at all."""


class TargetSection(Section):
    """`[target]`: the text to be produced; other keys are the tokenizer's."""

    column: str | None = None
    """Where the texts stand; a task that writes nothing has none."""
    task: str = "answer"
    tokenizer: str | None = None
    max_tokens: int = Field(64, ge=1, le=100_000)
    closed: bool | None = None
    """Choose among the training targets (True), write freely (False), or let the task decide.

    Of targets that may be chosen among, blanks at the ends and in runs do not count; `false` keeps them.
    """


@dataclass(frozen=True, kw_only=True)
class ConditionerConfig:
    """Validated inputs and fusion, and what trains them without a target."""

    inputs: Mapping[str, InputChoice]
    fusion: FusionSection
    fusion_class: Any
    fusion_options: Section
    objectives: ObjectivesSection | None
    unread: frozenset[str] = frozenset()
    """Inputs that only other tasks of the same model read: absent from all rows of this one."""

    @property
    def read_inputs(self) -> dict[str, InputChoice]:
        """Return the inputs that rows may have."""
        return {name: choice for name, choice in self.inputs.items() if name not in self.unread}

    @property
    def columns(self) -> dict[str, str]:
        """Return the table columns that are read, by the section that says so."""
        return {f"inputs.{name}": choice.column for name, choice in self.read_inputs.items()}

    @property
    def task(self) -> str | None:
        """Name the task; None where there is no target."""
        return None

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

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that are read back to an equal config."""
        objectives = {} if self.objectives is None else {"objectives": plain(self.objectives)}
        return {
            "inputs": {n: plain(c.section) | plain(c.options) for n, c in self.inputs.items()},
            "fusion": plain(self.fusion) | plain(self.fusion_options),
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

    @property
    def columns(self) -> dict[str, str]:
        """Return the table columns that are read, by the section that says so."""
        return super().columns | ({} if self.target.column is None else {"target": self.target.column})

    @property
    def task(self) -> str | None:
        """Name the task."""
        return self.target.task

    def make_fusion(self) -> Any:
        """Make the fusion; None where there are no inputs, or no scorer to read what is fused."""
        return super().make_fusion() if self.scorers else None

    def only(self, names: Collection[str]) -> ModelConfig:
        """Return the same model with these inputs alone; what training says of the others falls away.

        So do scorers that read none of these, unless that leaves no scorer.
        """
        inputs = {name: choice for name, choice in self.inputs.items() if name in names}
        able = {name: choice.only(names) for name, choice in self.scorers.items() if choice.reads_any(names)}
        left = able or self.scorers
        pairs = zip(self.language.scorers, self.language.weights or (), strict=False)
        weights = tuple(weight for name, weight in pairs if name in left)
        kept = {name: share for name, share in self.language.internal.items() if name in left}
        update_language = {"scorers": tuple(left), "weights": weights or None, "internal": kept}
        language = self.language.model_copy(update=update_language)
        return replace(
            self,
            inputs=inputs,
            fusion=self.fusion.only(names) if len(inputs) < len(self.inputs) else self.fusion,
            fusion_options=options_for(self.fusion_options, list(inputs)),
            objectives=self.objectives.only(names) if self.objectives else None,
            language=language,
            scorers=left,
        )

    def is_read_alone(self, name: str) -> bool:
        """Say whether some scorer writes from this input alone; one that names other inputs cannot."""
        return not self.scorers or any(choice.reads_any([name]) for choice in self.scorers.values())

    def scored_by(self, name: str) -> ModelConfig:
        """Return the same model with one of its scorers alone."""
        language = self.language.model_copy(update={"scorers": (name,), "weights": None, "internal": {}})
        return replace(self, language=language, scorers={name: self.scorers[name]})

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that `parse` reads back to an equal config."""
        return {
            **super().dump(),
            "target": plain(self.target) | plain(self.tokenizer_options),
            "language": plain(self.language) | {n: choice.dump(n) for n, choice in self.scorers.items()},
        }


SECTIONS = ("inputs", "target", "fusion", "objectives", "language")


def parse(values: Mapping[str, Any], source: Source, *, default_tokenizer: Mapping[str, str]) -> ModelConfig:
    """Validate the model's sections.

    Args:
        values: nested dicts; other sections are ignored.
        source: where the keys stand, for errors.
        default_tokenizer: the tokenizer of each task that does not name one; empty for a task that writes no text,
            and aligns its inputs instead.

    Raises:
        ConfigError: an unknown key or name (with the nearest), or a value out of range.
    """
    values, conditioner = with_tokenizer(values, source), _conditioner(values, source)
    target, tokenizer, tokenizer_options = _target(values, source, default_tokenizer)
    inputs, writes = list(conditioner.inputs), target.column is not None
    if not writes:
        _require_no_fusing(conditioner, source)
        conditioner = replace(conditioner, fusion=aligned(conditioner.fusion, inputs, source))
    language, scorers = parse_language(values, source, inputs, writes=writes)
    return ModelConfig(
        **vars(conditioner),
        target=target,
        tokenizer=tokenizer,
        tokenizer_options=tokenizer_options,
        language=language,
        scorers=scorers,
    )


def is_without_target(values: Mapping[str, Any]) -> bool:
    """Say whether a config trains by objectives alone; each of several tasks has a target of its own."""
    is_aligned = isinstance(fusion := values.get("fusion"), Mapping) and "alignment" in fusion
    return not {"target", "tasks"} & values.keys() and ("objectives" in values or is_aligned)


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
    if config.fusion.balance is not None:
        advice = "leave 'balance' out, and let the run that begins from this one have it"
        what = "balance weighs what each input answers, and nothing is written"
        raise ConfigError(what, where=source.where("fusion.balance"), advice=advice)
    objectives = config.objectives
    if config.fusion.alignment is None and not (objectives and (objectives.masked or objectives.matching)):
        advice = "add a [target], or masked or matching to [objectives], or [fusion.alignment]"
        raise ConfigError("there is nothing to train by", where=source.where("objectives"), advice=advice)
    return config


def _conditioner(values: Mapping[str, Any], source: Source) -> ConditionerConfig:
    if "inputs" not in values:
        advice = "add a section [inputs.NAME], or an empty [inputs] for a language model of the target alone"
        raise ConfigError("no inputs", where=source.name, advice=advice)
    inputs = {name: parse_input(name, raw, source) for name, raw in table(values, "inputs", source).items()}
    fusion, fusion_class, fusion_options = parse_fusion(values, source, list(inputs))
    for name, raw in table(values, "inputs", source).items():
        if taking.is_run(raw.get("encoder")):
            where = source.where(f"inputs.{name}.encoder")
            taking.require_width(taking.open_run(raw["encoder"], where), fusion.width, where)
    objectives = None
    if "objectives" in values:
        objectives = ObjectivesSection.parse(table(values, "objectives", source), source, "objectives")
        require_fitting(objectives, inputs, fusion.width, fusion.alignment, source)
    return ConditionerConfig(
        inputs=inputs,
        fusion=fusion,
        fusion_class=fusion_class,
        fusion_options=fusion_options,
        objectives=objectives,
    )


def _require_no_fusing(config: ConditionerConfig, source: Source) -> None:
    """Refuse what a model that aligns its inputs, and writes nothing, has no fusion for."""
    if config.objectives is not None:
        advice = "leave [target] out, and it pretrains by alignment and objectives; or leave [objectives] out"
        what = "a task that writes no text aligns its inputs without a fusion, by which [objectives] learn"
        raise ConfigError(what, where=source.where("objectives"), advice=advice)
    if config.fusion.taken_from is not None:
        what = "a task that writes no text has no fusion to begin from a run"
        advice = "leave 'features' out; its encoders may begin from one"
        raise ConfigError(what, where=source.where("fusion.features"), advice=advice)


def _target(
    values: Mapping[str, Any], source: Source, default_tokenizer: Mapping[str, str]
) -> tuple[TargetSection, Any, Section]:
    common, rest = split(table(values, "target", source), TargetSection)
    target = TargetSection.parse(common, source, "target")
    if target.task not in default_tokenizer:
        advice = nearest(target.task, list(default_tokenizer))
        raise ConfigError(f"no task '{target.task}'", where=source.where("target.task"), advice=advice)
    if target.tokenizer is None:
        target = target.model_copy(update={"tokenizer": default_tokenizer[target.task] or NO_TEXT_TOKENIZER})
    where = source.where("target.tokenizer")
    tokenizer = registry.load(TOKENIZERS, TOKENIZER_GROUP, str(target.tokenizer), where=where)
    options = options_of(tokenizer.Config, rest, TargetSection, source, "target")
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

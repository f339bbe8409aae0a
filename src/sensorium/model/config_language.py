"""`[language]` as config: which scorers there are, how they are composed, and what fits together.

Enters: nested dicts from TOML or Python.  Leaves: `LanguageSection` and a `ScorerChoice` for each scorer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from sensorium.core import registry
from sensorium.core.config import Section, Source, unknown_key
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.language.registry import ENTRY_POINTS as SCORER_GROUP
from sensorium.language.registry import SCORERS
from sensorium.model.config_reading import plain, table


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
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that training gives to all words alike; what is reported is not smoothed."""
    folds: int = Field(5, ge=2, le=100)
    """Into how many folds rows are parted so that counts can leave them out, in training through them."""

    @field_validator("scorers")
    @classmethod
    def _distinct(cls, scorers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(scorers)) != len(scorers):
            raise ValueError("name each scorer once")
        return scorers


class ScorerChoice(NamedTuple):
    """A validated scorer: its class, its options, and its kind (its name in the registry)."""

    scorer: Any
    options: Section
    kind: str

    def reads_any(self, inputs: Collection[str]) -> bool:
        """Say whether it reads one of `inputs`; a scorer that names none reads what there is."""
        return not self.named_inputs or any(name in inputs for name in self.named_inputs)

    @property
    def named_inputs(self) -> tuple[str, ...]:
        """Return the inputs that its options name: `inputs`, or the one `input`; none if it takes what there is."""
        one = getattr(self.options, "input", None)
        return (*getattr(self.options, "inputs", ()), *(() if one is None else (one,)))

    def only(self, inputs: Collection[str]) -> ScorerChoice:
        """Return the same scorer, which reads of its named inputs these alone."""
        if not getattr(self.options, "inputs", ()):
            return self
        left = tuple(name for name in self.named_inputs if name in inputs)
        return self._replace(options=self.options.model_copy(update={"inputs": left}))

    def dump(self, name: str) -> dict[str, Any]:
        """Return the plain values of `[language.NAME]`; the kind only where the name does not say it."""
        return ({} if name == self.kind else {"scorer": self.kind}) | plain(self.options)


def parse_language(
    values: Mapping[str, Any], source: Source, inputs: list[str], *, writes: bool
) -> tuple[LanguageSection, dict[str, ScorerChoice]]:
    """Validate the section; `writes` says whether the task writes text, and so needs scorers.

    Raises:
        ConfigError: an unknown key or name (with the nearest), or scorers that do not fit together.
    """
    raw = dict(table(values, "language", source))
    named = [name for name, value in raw.items() if isinstance(value, Mapping) and name != "internal"]
    tables = {name: raw.pop(name) for name in named}
    raw, tables = _sources_apart(raw, tables, source)
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
    _check_smoothing(language, scorers, source)
    return language, scorers


def _sources_apart(
    raw: dict[str, Any], tables: dict[str, Any], source: Source
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let `scorers = ["hf:folder"]` mean `scorers = ["hf"]` and `[language.hf] source = "folder"`."""
    scorers, where = raw.get("scorers"), source.where("language.scorers")
    if not isinstance(scorers, list | tuple):
        return raw, tables
    tables, named = dict(tables), []
    for scorer in scorers:
        if isinstance(scorer, str) and ":" in scorer:
            kind = scorer.partition(":")[0]
            scorer, tables[kind] = registry.split_source(scorer, tables.get(kind, {}), where=where)
        named.append(scorer)
    return {**raw, "scorers": tuple(named)}, tables


def _check_smoothing(language: LanguageSection, scorers: Mapping[str, ScorerChoice], source: Source) -> None:
    if not language.label_smoothing:
        return
    where = source.where("language.label_smoothing")
    learners = {name: choice.scorer for name, choice in scorers.items() if choice.scorer.fitted_by == "gradient"}
    for name, scorer in learners.items():
        if not hasattr(scorer, "unroll"):
            raise ConfigError(f"'{name}' has no word by word distribution to be smoothed", where=where)
    if not learners or language.train == "through":
        reason = "the network learns through the counts" if learners else "no scorer learns by gradient"
        raise ConfigError(f"labels are smoothed for scorers that learn for themselves: {reason}", where=where)


def _check_internal(language: LanguageSection, scorers: Mapping[str, ScorerChoice], source: Source) -> None:
    where = source.where("language.internal")
    for name, share in language.internal.items():
        if name not in scorers:
            advice = nearest(name, list(scorers))
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
        advice = nearest(of, shown)
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
        advice = f'{nearest(name, known)}; a name of your own needs [{prefix}] scorer = "KIND"'
        raise ConfigError(f"no scorer '{name}'", where=source.where("language.scorers"), advice=advice)
    cls = registry.load(SCORERS, SCORER_GROUP, kind, where=source.where(f"{prefix}.scorer"))
    for key in values:
        if key not in cls.Config.model_fields:
            raise unknown_key(f"{prefix}.{key}", ["scorer", *cls.Config.model_fields], source)
    options = cls.Config.parse(values if inputs else {**cls.Config.without_inputs, **values}, source, prefix)
    choice = ScorerChoice(cls, options, kind)
    key = f"{prefix}.input" if "input" in cls.Config.model_fields else f"{prefix}.inputs"
    for named in choice.named_inputs:
        if named not in inputs:
            where, advice = source.where(key), nearest(named, inputs)
            raise ConfigError(f"'{key}' names no input: '{named}'", where=where, advice=advice)
    if "input" in cls.Config.model_fields and not choice.named_inputs and len(inputs) > 1:
        advice = f"set {key} to one of {', '.join(inputs)}"
        raise ConfigError(
            f"'{name}' listens to one input, of {len(inputs)}", where=source.where(prefix), advice=advice
        )
    return choice

"""Settings that nothing would read: refused, since whoever sets one expects it to change something.

Enters: the validated sections of a run of one task.  Leaves: nothing, or a ConfigError with the key's place and
what would read it.  A setting that has its default is never refused, so that what a run writes out is read back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sensorium.core.config import Section, Source
from sensorium.core.errors import ConfigError
from sensorium.model.config import ModelConfig
from sensorium.model.config_language import LanguageSection
from sensorium.tasks.registry import load_task
from sensorium.tasks.task import Finds, NeedsNoSearch
from sensorium.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Unread:
    """A key that is set, why nothing reads it, and what to do."""

    key: str
    why: str
    advice: str

    def __str__(self) -> str:
        return f"'{self.key}' is not read: {self.why}"

    def refusal(self, where: str) -> ConfigError:
        """Return the error that refuses it."""
        return ConfigError(str(self), where=where, advice=self.advice)


def require_read(
    model: ModelConfig | None, sections: dict[str, Section], source: Source, *, has_one_task: bool = True
) -> None:
    """Refuse what nothing would read.

    Args:
        model: with the `[target]` and `[language]` sections; None = a run that writes nothing.
        sections: the others, by name.
        source: where they were read.
        has_one_task: whether the sections are one task's alone; else what another task may read is let be.

    Raises:
        ConfigError: a setting that another one switches off, or that the task has no use for.
    """
    found = [*_of_training(sections["training"]), *_of_evaluation(sections["evaluation"])]
    found += _of_data(sections["data"])
    if has_one_task:
        found += _of_one_task(sections["training"])
    if has_one_task and model is not None:
        found += _of_decoding(model.target, sections["decoding"])
    if model is not None and model.scorers:
        kinds = {choice.scorer.fitted_by for choice in model.scorers.values()}
        found += _of_language(model.language, len(model.scorers))
        _require_token_scores(model, source)
        found += _of_counts(sections["training"], kinds)
    for unread in found:
        raise unread.refusal(source.where(unread.key))


def changed(section: Section) -> list[str]:
    """Name the settings that are not as they are by default."""
    fields = type(section).model_fields
    return [name for name, field in fields.items() if getattr(section, name) != field.get_default()]


def _of_training(training: Section) -> Iterator[Unread]:
    needs = {
        "average_decay": ("average", 'training.average = "ema"'),
        "teacher_temperature": ("teacher", "training.teacher"),
        "teacher_weight": ("teacher", "training.teacher"),
    }
    named = changed(training)
    for name, (switch, what) in needs.items():
        if name in named and switch not in named:
            yield Unread(f"training.{name}", f"there is no {switch}", f"set {what}, or leave it out")


def _of_one_task(training: Section) -> Iterator[Unread]:
    assert isinstance(training, TrainingConfig)
    for name in ("task_weights", "task_temperature"):
        if name in changed(training):
            yield Unread(f"training.{name}", "the run has one task", "leave it out, or add [tasks.NAME] sections")


def _of_evaluation(evaluation: Section) -> Iterator[Unread]:
    named = changed(evaluation)
    if "baselines" in named:  # its default is true
        for name in ("baseline_budget", "baseline_inputs"):
            if name in named:
                advice = "leave it out, or set evaluation.baselines = true"
                yield Unread(f"evaluation.{name}", "no baselines are asked for", advice)


def _of_data(data: Section) -> Iterator[Unread]:
    named = changed(data)
    if "validation" in named and "validation_fraction" in named:
        advice = "leave one of both out"
        yield Unread("data.validation_fraction", "data.validation names the rows", advice)


def _of_decoding(target: Section, decoding: Section) -> Iterator[Unread]:
    name, closed = str(target.task), target.closed  # type: ignore[attr-defined]
    if name == "transcribe":  # says itself what it reads
        return
    task, advice = load_task(name), "leave it out"
    for key in changed(decoding):
        if isinstance(task, Finds | NeedsNoSearch):
            yield Unread(f"decoding.{key}", f"task '{name}' has a way of its own to answer", advice)
        elif closed or (closed is None and task.is_closed(2**31)):
            yield unsearched(key)
        elif key == "ctc":
            yield Unread(
                "decoding.ctc", f"task '{name}' is not spelled by frames", f"{advice}; transcribe reads it"
            )


def _of_language(language: Section, num_scorers: int) -> Iterator[Unread]:
    assert isinstance(language, LanguageSection)
    named = changed(language)
    if "folds" in named and language.train != "through":
        advice = 'set language.train = "through", or leave it out'
        yield Unread("language.folds", "rows are folded where a network learns through counts", advice)
    if num_scorers == 1:
        for name in sorted({"mix", "weights"} & set(named)):
            yield Unread(f"language.{name}", "there is one scorer", "add a scorer, or leave it out")


def _require_token_scores(model: ModelConfig, source: Source) -> None:
    """Refuse frames in training through counts: in training their score stands at the text's end alone."""
    for name, choice in model.scorers.items():
        if model.language.train == "through" and choice.kind == "ctc":
            raise ConfigError(
                f"'{name}' learns from whole texts, and training through counts mixes token by token",
                where=source.where("language.train"),
                advice="leave 'train' out: its weight beside the counts is fitted after training",
            )


def _of_counts(training: Section, kinds: Collection[str]) -> Iterator[Unread]:
    if "refit_counts" in changed(training) and "counting" not in kinds:
        advice = "add a scorer that counts, or leave it out"
        yield Unread("training.refit_counts", "no scorer counts", advice)


def unsearched(key: str, section: str = "decoding", *, is_closed: bool = True) -> Unread:
    """Say why a setting of `[decoding]` is not read where nothing is searched.

    Args:
        is_closed: because the answers are known; else because the task finds its own way.
    """
    why = (
        "known answers are compared exactly, not searched"
        if is_closed
        else "the task has a way of its own to answer"
    )
    cure = ", or set target.closed = false to let the model write freely" if is_closed else ""
    return Unread(f"{section}.{key}", why, f"leave it out{cure}")

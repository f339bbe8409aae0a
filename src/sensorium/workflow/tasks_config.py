"""A whole run of several tasks as one config: `[tasks.NAME]` over shared sections.

Enters: nested dicts from TOML or Python.  Leaves: `TasksConfig`: a `RunConfig` for each task, as if it were alone,
with the shared training, and what each task's loss weighs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from sensorium.core.config import Section, Source, override, parse_toml, read_toml
from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.names import require_known
from sensorium.model.config import is_without_target
from sensorium.model.tasks_config import dump_tasks, expand
from sensorium.tasks.registry import default_tokenizers
from sensorium.training.config import TrainingConfig
from sensorium.workflow.config import (
    EvaluationConfig,
    PretrainingConfig,
    RunConfig,
    parse,
    parse_pretraining,
    require_no_teacher,
    with_absolute_paths,
)

_PER_TASK = ("data", "decoding")
_OF_A_MODEL = ("tasks", "inputs", "fusion", "language")
_OF_A_TABLE = ("validation", "test", "split_column")


class TaskSection(Section):
    """What `[tasks.NAME]` says of its part in the training."""

    weight: float = Field(1.0, gt=0.0, le=1e6)
    """Of the task's loss."""


@dataclass(frozen=True)
class TasksConfig:
    """Everything a run of several tasks needs, validated.

    Attributes:
        tasks: what a run of each task alone would be.
        weights: of each task's loss.
    """

    name: str
    folder: Path
    tasks: Mapping[str, RunConfig]
    weights: Mapping[str, float]

    @property
    def first(self) -> RunConfig:
        """Return the first task's config, for the sections that all share."""
        return next(iter(self.tasks.values()))

    @property
    def training(self) -> TrainingConfig:
        """Return how the model is fitted."""
        return self.first.training

    @property
    def evaluation(self) -> EvaluationConfig:
        """Return how it is judged."""
        return self.first.evaluation

    def dump(self) -> dict[str, Any]:
        """Return nested plain dicts that `parse` reads back; paths are absolute."""
        dumps = {name: config.dump() for name, config in self.tasks.items()}
        model = dump_tasks({name: config.model for name, config in self.tasks.items()})
        for name, dump in dumps.items():
            model["tasks"][name] |= {key: dump[key] for key in _PER_TASK} | {"weight": self.weights[name]}
        first = dumps[next(iter(dumps))]
        shared = {key: first[key] for key in ("training", "evaluation", "media")}
        return {"run": {"name": self.name}, **model, **shared}

    def replace(self, *, training: TrainingConfig) -> TasksConfig:
        """Return a copy that is trained otherwise."""
        tasks = {name: config.replace(training=training) for name, config in self.tasks.items()}
        return dataclasses.replace(self, tasks=tasks)

    def alone(self, task: str | None) -> RunConfig:
        """Return one task as a run of its own, of the inputs that it reads; None = the only one.

        Raises:
            UsageError: no such task, or it is not clear which is meant.
        """
        names = list(self.tasks)
        if task is None and len(names) > 1:
            advice = f"say which with --task, one of {', '.join(names)}"
            raise UsageError(f"this config has {len(names)} tasks", where=self.name, advice=advice)
        name = names[0] if task is None else task
        require_known([name], names, "task", where="--task")
        config = self.tasks[name]
        model = replace(config.model.only(config.model.read_inputs), unread=frozenset())
        return config.replace(model=model, name=f"{self.name}-{name}")


AnsweringConfig = RunConfig | TasksConfig
AnyConfig = AnsweringConfig | PretrainingConfig


def of_one_task(config: AnsweringConfig, task: str | None = None) -> RunConfig:
    """Return a run of one task: the config itself, or a task of several as `TasksConfig.alone`.

    Raises:
        UsageError: no such task, or it is not clear which is meant.
    """
    if isinstance(config, TasksConfig):
        return config.alone(task)
    require_known([] if task is None else [task], [config.model.target.task], "task", where="--task")
    return config


def load_any(path: Path, assignments: Sequence[str] = ()) -> AnyConfig:
    """Read and validate a config file, after applying `--set` assignments; `parse_any` says of what kind of run.

    Raises:
        ConfigError: with file, line and column, and the nearest known key or name.
    """
    values, source = read_toml(path)
    return parse_any(override(values, assignments), source, folder=path.parent, name=path.stem)


def load_answering(path: Path, assignments: Sequence[str] = ()) -> AnsweringConfig:
    """Read and validate the config file of a run whose model answers, as `load_any`.  Raises ConfigError."""
    values, source = read_toml(path)
    return parse_answering(override(values, assignments), source, folder=path.parent, name=path.stem)


def any_from_text(text: str, folder: Path, name: str = "config") -> AnyConfig:
    """Validate a config given as TOML text."""
    values, source = parse_toml(text, name)
    return parse_any(values, source, folder=folder, name=name)


def parse_any(values: Mapping[str, Any], source: Source, *, folder: Path, name: str) -> AnyConfig:
    """Validate nested dicts: a pretraining run if they have objectives and no target, else one that answers."""
    parse_one = parse_pretraining if is_without_target(values) else parse_answering
    return parse_one(values, source, folder=folder, name=name)


def parse_answering(values: Mapping[str, Any], source: Source, *, folder: Path, name: str) -> AnsweringConfig:
    """Validate nested dicts: a run of several tasks if they have [tasks], else of one."""
    return (parse_tasks if "tasks" in values else parse)(values, source, folder=folder, name=name)


def parse_tasks(values: Mapping[str, Any], source: Source, *, folder: Path, name: str) -> TasksConfig:
    """Validate the config of a run of several tasks.

    Raises:
        ConfigError: with file, line and column, and the nearest known key or name.
    """
    values = with_absolute_paths(values, folder)  # before a fusion is taken from a run
    expanded = expand(values, source, default_tokenizer=default_tokenizers())
    shared = {
        key: section for key, section in values.items() if key not in ("tasks", "inputs", "fusion", "language")
    }
    tasks, weights = {}, {}
    for task_name, task in expanded.items():
        own = {key: _joined(shared, task.own, key, task.source) for key in _PER_TASK}
        values_of_task = {**shared, **own, **task.values}
        config = parse(values_of_task, task.source, folder=folder, name=name, is_only_task=False)
        tasks[task_name] = config.replace(model=replace(config.model, unread=task.unread))
        weight = {key: value for key, value in task.own.items() if key == "weight"}
        weights[task_name] = TaskSection.parse(weight, source, f"tasks.{task_name}").weight
    run = TasksConfig(next(iter(tasks.values())).name, folder.resolve(), tasks, weights)
    _require_one_descent(run, source)
    require_no_teacher(run.training, source)
    return run


def _joined(shared: Mapping[str, Any], own: Mapping[str, Any], key: str, source: Source) -> dict[str, Any]:
    """Return a section of one task: what it says itself comes before what all tasks share.

    A task with a table of its own has its own validation and test rows, too.
    """
    sections = [shared.get(key, {}), own.get(key, {})]
    for section in sections:
        if not isinstance(section, Mapping):
            raise ConfigError(f"'{key}' must be a section", where=source.where(key))
    common, special = sections
    left_out = _OF_A_TABLE if "train" in special else ()
    return {k: v for k, v in common.items() if k not in left_out} | dict(special)


def _require_one_descent(config: TasksConfig, source: Source) -> None:
    if config.evaluation.metrics is not None:
        raise ConfigError(
            "several tasks are judged each by its own metrics",
            where=source.where("evaluation.metrics"),
            advice="leave it out; `sensorium evaluate --task NAME --metric METRIC` judges one task otherwise",
        )
    if config.training.refit_counts or config.training.refit_share:
        raise ConfigError(
            "refitting on validation rows is for runs of one task",
            where=source.where("training"),
            advice="leave refit_counts and refit_share out",
        )

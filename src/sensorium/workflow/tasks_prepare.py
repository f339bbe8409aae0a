"""From the tables of several tasks to one model: preparers fitted on the rows of all, then each task's rows.

Enters: a TasksConfig.  Leaves: a MultiTaskLM that has seen no data yet, and a `Prepared` for each task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sensorium.core.errors import ConfigError
from sensorium.core.protocols import Preparer
from sensorium.data.quarantine import Quarantine
from sensorium.model.multitask import MultiTaskLM, build_models
from sensorium.training.seeding import seed_everything
from sensorium.workflow.config_places import require_places
from sensorium.workflow.prepare import (
    BAD_ROWS,
    Part,
    Prepared,
    Say,
    fit_preparer,
    fit_tokenizer,
    open_parts,
    quiet,
    require_columns,
    with_corpora,
)
from sensorium.workflow.tasks_config import TasksConfig

Parts = Mapping[str, dict[str, Part]]


@dataclass(frozen=True)
class PreparedTasks:
    """A model of several tasks, and what each is fitted and judged on."""

    model: MultiTaskLM
    tasks: Mapping[str, Prepared]
    quarantine: Quarantine


def prepare_tasks(
    config: TasksConfig, run: Path | None = None, *, say: Say = quiet, quarantine: Quarantine | None = None
) -> PreparedTasks:
    """Open every task's tables and build everything up to the first step.

    Args:
        run: where the list of bad rows is written; None = nowhere.
        say: told how many rows each task has, and what was left out.
        quarantine: collects bad rows; by default one that stops at the tasks' largest limit.

    Raises:
        ConfigError: an encoder that counts one task's targets is read by several.
        DataError: a table or column is missing, no rows are left, or too many are bad.
        ModelError: parts of the model do not fit.
    """
    _require_one_reader(config)
    limit = max(task.data.max_bad_fraction for task in config.tasks.values())
    quarantine = quarantine or Quarantine(limit, None if run is None else run / BAD_ROWS)
    parts = {name: open_parts(task, quarantine) for name, task in config.tasks.items()}
    for name, task in config.tasks.items():
        require_places(task)
        require_columns(task, parts[name])
    preparers = _preparers(config, parts)
    tokenizers = {name: fit_tokenizer(task, parts[name]["train"]) for name, task in config.tasks.items()}
    seed_everything(config.training.seed)
    models = build_models({name: task.model for name, task in config.tasks.items()}, preparers, tokenizers)
    for model in models.values():
        model.load_pretrained()
    prepared = {
        name: with_corpora(task, models[name], parts[name], quarantine, say=say, label=f"{name} ")
        for name, task in config.tasks.items()
    }
    is_uncertain = config.training.task_weights == "uncertainty"
    return PreparedTasks(MultiTaskLM(models, config.weights, is_uncertain=is_uncertain), prepared, quarantine)


def readers(config: TasksConfig) -> dict[str, list[str]]:
    """Return the tasks that read each input, by input."""
    names = dict.fromkeys(name for task in config.tasks.values() for name in task.model.inputs)
    return {name: [t for t, task in config.tasks.items() if name in task.model.read_inputs] for name in names}


def _preparers(config: TasksConfig, parts: Parts) -> dict[str, Preparer]:
    """Fit each input's preparer on the training rows of all tasks that read it, or load what a run learned."""
    return {
        name: fit_preparer(name, [(config.tasks[task], parts[task]["train"]) for task in tasks])
        for name, tasks in readers(config).items()
    }


def _require_one_reader(config: TasksConfig) -> None:
    for name, tasks in readers(config).items():
        encoder = config.tasks[tasks[0]].model.inputs[name].encoder
        if len(tasks) > 1 and getattr(encoder, "fitted_by", "gradient") == "counting":
            raise ConfigError(
                f"the encoder of '{name}' counts one task's targets, and {' and '.join(tasks)} read it",
                where=config.name,
                advice="give each task an input of its own, or choose an encoder that learns",
            )

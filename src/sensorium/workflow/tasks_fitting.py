"""Fit one model of several tasks: count each task's rows, descend on all together, weigh each task's scorers.

Enters: a TasksConfig and what `prepare_tasks` made of it.  Leaves: the model fitted, and how each task went.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sensorium.data.mixing import TaskLoader
from sensorium.training.checkpoint import require_same_data
from sensorium.training.loop import FitReport, fit
from sensorium.training.progress import Progress
from sensorium.workflow.fitting import Fitted, count, device, make_loader, rebalance, validate, weigh
from sensorium.workflow.known_data import known_of_tasks
from sensorium.workflow.tasks_config import TasksConfig
from sensorium.workflow.tasks_prepare import PreparedTasks, readers


@dataclass(frozen=True)
class FittedTasks:
    """How a model of several tasks was fitted: the loop's report, each task, what its loss weighs at the end."""

    report: FitReport | None
    tasks: dict[str, Fitted]
    loss_weights: dict[str, float]
    seconds: float


def fit_tasks(
    config: TasksConfig,
    prepared: PreparedTasks,
    run: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> FittedTasks:
    """Fit every task; checkpoints go to `run`.  The model is left in evaluation mode.

    Raises:
        DataError: a resumed run's data has changed.
    """
    data = known_of_tasks(config, prepared)
    if resume:
        require_same_data(run, data)
    model, tasks = prepared.model, prepared.tasks
    # An encoder that begins with what its task's rows say does so with those of the first task that reads it.
    first = {name: found[0] for name, found in readers(config).items()}
    seconds = {}
    for name, task in tasks.items():
        inputs = frozenset(input_name for input_name, reader in first.items() if reader == name)
        seconds[name] = count(config.tasks[name], task.model, task.train, inputs)
    started = time.perf_counter()
    report = _descend(config, prepared, run, data, resume=resume, progress=progress) if model.learns else None
    descended = time.perf_counter() - started
    model.eval()
    fitted = {}
    for name, task in tasks.items():
        weights, seconds_after = weigh(config.tasks[name], task.model, task.train, task.validation)
        fitted[name] = Fitted(report, weights, seconds[name] | seconds_after)
    return FittedTasks(report, fitted, model.loss_weights, descended)


@contextmanager
def mixed_loader(config: TasksConfig, prepared: PreparedTasks) -> Iterator[TaskLoader]:
    """Load training batches of every task that learns."""
    with ExitStack() as open_loaders:
        loaders = {
            name: open_loaders.enter_context(make_loader(config.tasks[name], task.train))
            for name, task in prepared.tasks.items()
            if task.model.learns
        }
        yield TaskLoader(loaders, config.training.seed, config.training.task_temperature)


def _descend(
    config: TasksConfig,
    prepared: PreparedTasks,
    run: Path,
    data: Mapping[str, str],
    *,
    resume: bool,
    progress: Progress | None,
) -> FitReport:
    for task in prepared.tasks.values():
        rebalance(task.model, task.train, task.validation, config.evaluation.batch_rows)
    with mixed_loader(config, prepared) as mixed:

        def name_rows(numbers: Sequence[int]) -> str:
            train = prepared.tasks[mixed.last_task].train
            return f"task '{mixed.last_task}', " + ", ".join(train.place(number) for number in numbers)

        try:
            return fit(
                prepared.model,
                mixed,
                config.training,
                run,
                validate=lambda: _validate(config, prepared),
                resume=resume,
                progress=progress,
                device=device(),
                # A step of several batches may hold rows of several tasks, whose numbers mean different tables.
                name_rows=name_rows if config.training.accumulate == 1 else None,
                data=data,
            )
        finally:
            for task in prepared.tasks.values():
                task.model.through = None


def _validate(config: TasksConfig, prepared: PreparedTasks) -> float:
    """Return the mean over learning tasks, by their configured weights, of nats a token."""
    rows = config.evaluation.batch_rows
    learning = {name: task for name, task in prepared.tasks.items() if task.model.learns}
    total = sum(config.weights[name] for name in learning)
    losses = (
        config.weights[name] * validate(task.model, task.train, task.validation, rows)
        for name, task in learning.items()
    )
    return sum(losses) / total

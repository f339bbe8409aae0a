"""Train one model of several tasks: count, descend on all, weigh, save, judge each; in one run folder.

Enters: a TasksConfig.  Leaves: a run folder with one model that answers every task, and `TasksResult`.
A run of one task goes its own way (`workflow.train`); `train_any` takes either, and `run_any` a
pretraining run as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sensorium.decoding.config import DecodingConfig
from sensorium.model.saving import save_card
from sensorium.model.saving_tasks import save_tasks
from sensorium.training.console import shown_by
from sensorium.training.progress import Progress
from sensorium.workflow.baselines import measure_baselines
from sensorium.workflow.card import write_card
from sensorium.workflow.config import RunConfig
from sensorium.workflow.judging import judge
from sensorium.workflow.judging_time import model_seconds
from sensorium.workflow.lessons import kept_lessons
from sensorium.workflow.prepare import Prepared, Say, quiet, say_met
from sensorium.workflow.pretraining import PretrainingResult, pretrain
from sensorium.workflow.provenance import data_digests
from sensorium.workflow.readiness import require_all_ready
from sensorium.workflow.reporting import try_report
from sensorium.workflow.rescoring import tuned
from sensorium.workflow.run_folder import opened_run, task_folder, write_decoding, write_json
from sensorium.workflow.task_leaks import with_task_leaks
from sensorium.workflow.tasks_config import AnsweringConfig, AnyConfig, TasksConfig
from sensorium.workflow.tasks_fitting import FittedTasks, fit_tasks
from sensorium.workflow.tasks_prepare import PreparedTasks, prepare_tasks
from sensorium.workflow.train import RunResult, judged_corpus, train


@dataclass(frozen=True)
class TasksResult:
    """What a finished run of several tasks reports: a `RunResult` for each."""

    run: Path
    fitted: FittedTasks
    tasks: Mapping[str, RunResult]
    prepared: PreparedTasks = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the plain facts, as written to `evaluation.json`; metrics are named TASK/METRIC."""
        tasks = {name: result.summary() for name, result in self.tasks.items()}
        metrics = {f"{name}/{metric}": v for name, task in tasks.items() for metric, v in task["metrics"].items()}
        return {
            "task": ", ".join(tasks),
            "metrics": metrics,
            "tasks": tasks,
            "loss_weights": self.fitted.loss_weights,
            "seconds": {"training": self.fitted.seconds},
            "quarantined": len(self.prepared.quarantine),
            "run": str(self.run),
        }


def train_any(
    config: AnsweringConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say = quiet,
) -> RunResult | TasksResult:
    """Train a run of one task, or of several, as `train` and `train_tasks` do."""
    if isinstance(config, TasksConfig):
        return train_tasks(config, out=out, resume=resume, progress=progress, say=say)
    return train(config, out=out, resume=resume, progress=progress, say=say)


def run_any(
    config: AnyConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say = quiet,
) -> RunResult | TasksResult | PretrainingResult:
    """Train as `train_any`, or pretrain as `pretrain`, whichever the config is of."""
    if isinstance(config, RunConfig | TasksConfig):
        return train_any(config, out=out, resume=resume, progress=progress, say=say)
    return pretrain(config, out=out, resume=resume, progress=progress, say=say)


def train_tasks(
    config: TasksConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say = quiet,
) -> TasksResult:
    """Train by `config` into a new run folder, or continue one.

    Raises:
        UsageError, ConfigError: an --out that is taken; a resumed run whose config differs.
        DataError, ModelError, DiskError, OutOfMemoryError, LockedError: as their names say.
    """
    with (
        shown_by(progress),
        opened_run(config.name, config.dump(), out=out, resume=resume, say=say) as run,
    ):
        prepared = prepare_tasks(config, run, say=say)
        require_all_ready(config.tasks, prepared.tasks, say=say, resumes=resume)
        prepared = replace(prepared, tasks=with_task_leaks(config, prepared.tasks, say))
        fitted = fit_tasks(config, prepared, run, resume=resume, progress=progress)
        decoding = {name: _decoding(config, name, task, run) for name, task in prepared.tasks.items()}
        _save(prepared, run, decoding, _card(config, {}))
        judged_tasks = {
            name: _judged(config, name, task, decoding[name], fitted, run, progress, say)
            for name, task in prepared.tasks.items()
        }
        result = TasksResult(run, fitted, judged_tasks, prepared)
        for name, task in prepared.tasks.items():
            say_met(task.corpora, say, f"{name} ")
        summary = result.summary()
        write_json(run / "evaluation.json", summary)
        save_card(run / "model", _card(config, summary["tasks"]))
        for name, judged in result.tasks.items():
            own = config.tasks[name].replace(decoding=judged.decoding, name=f"{config.name}: {name}")
            if own.evaluation.report:
                judged_task = judged.judged(own, summary["tasks"][name])
                try_report(judged_task, name=f"report-{name}.html", progress=progress, say=say)
    return result


def _save(prepared: PreparedTasks, run: Path, decoding: Mapping[str, DecodingConfig], card: str) -> None:
    """Write the run's model; what the tasks of an earlier one there were taught is taught to them, too."""
    folder, beside = run / "model", kept_lessons(run / "model")
    answers = {name: task.answers for name, task in prepared.tasks.items()}
    save_tasks(prepared.model, folder, answers=answers, card=card, decoding=decoding, beside=beside)


def _decoding(config: TasksConfig, name: str, task: Prepared, run: Path) -> DecodingConfig:
    """Tune how a task's texts are written, where its config asks for it, and keep that."""
    own = config.tasks[name].decoding
    is_closed, vectors = task.answers is not None, config.tasks[name].word_vectors()
    decoding = tuned(own, task.model, task.task, task.validation, is_closed=is_closed, vectors=vectors)
    if decoding.rescore is not None:
        folder = task_folder(run, name)
        folder.mkdir(parents=True, exist_ok=True)
        write_decoding(folder, decoding)
    return decoding


def _judged(
    config: TasksConfig,
    name: str,
    task: Prepared,
    decoding: DecodingConfig,
    fitted: FittedTasks,
    run: Path,
    progress: Progress | None,
    say: Say,
) -> RunResult:
    own = config.tasks[name].replace(decoding=decoding)
    corpus, judged_on = judged_corpus(task)
    fitting_s = sum(fitted.tasks[name].seconds.values())
    evaluation = judge(
        own, task, task.model, corpus, title=f"judging {name}", progress=progress, seconds=model_seconds(fitting_s)
    )
    found = measure_baselines(
        own,
        task,
        corpus,
        progress=progress,
        say=lambda line: say(f"{name} {line}"),
        fitting_s=fitting_s,
        judging_s=evaluation.seconds,
    )
    return RunResult(run, fitted.tasks[name], evaluation, judged_on, found, task, decoding, data_digests(own))


def _card(config: TasksConfig, summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one card a task, below each other."""
    cards = [
        write_card(task.replace(name=f"{config.name}: {name}"), summaries.get(name))
        for name, task in config.tasks.items()
    ]
    return "\n".join(cards)

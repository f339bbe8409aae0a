"""A dry run: two batches, then what the whole run would take."""

from __future__ import annotations

import dataclasses
from typing import Any

from sensorium.data.quarantine import Quarantine
from sensorium.model.saving import num_parameters
from sensorium.training.dry_run import dry_run
from sensorium.workflow.config import PretrainingConfig, RunConfig
from sensorium.workflow.fitting import device, make_loader
from sensorium.workflow.prepare import Say, prepare, quiet
from sensorium.workflow.pretraining import prepare_pretraining
from sensorium.workflow.tasks_config import AnyConfig, TasksConfig
from sensorium.workflow.tasks_fitting import mixed_loader
from sensorium.workflow.tasks_prepare import prepare_tasks


def estimate_any(config: AnyConfig, *, say: Say = quiet) -> dict[str, Any]:
    """Estimate a run of one task, of several, or one that pretrains.  Raises as `estimate`."""
    if isinstance(config, TasksConfig):
        return estimate_tasks(config, say=say)
    return estimate(config, say=say) if isinstance(config, RunConfig) else estimate_pretraining(config, say=say)


def estimate_pretraining(config: PretrainingConfig, *, say: Say = quiet) -> dict[str, Any]:
    """Do as `estimate` for a run without a target."""
    model, corpora = prepare_pretraining(config, Quarantine(config.data.max_bad_fraction), say=say)
    facts: dict[str, Any] = {"train_rows": corpora["train"].num_rows, "parameters": num_parameters(model)}
    with make_loader(config, corpora["train"]) as loader:
        return facts | dataclasses.asdict(dry_run(model, loader, config.training, device=device()))


def estimate_tasks(config: TasksConfig, *, say: Say = quiet) -> dict[str, Any]:
    """Do as `estimate` for a run of several tasks; nothing is counted."""
    prepared = prepare_tasks(config, say=say)
    facts: dict[str, Any] = {
        "train_rows": sum(task.train.num_rows for task in prepared.tasks.values()),
        "parameters": num_parameters(prepared.model),
    }
    if prepared.model.learns:
        with mixed_loader(config, prepared) as mixed:
            facts |= dataclasses.asdict(dry_run(prepared.model, mixed, config.training, device=device()))
    return facts


def estimate(config: RunConfig, *, say: Say = quiet) -> dict[str, Any]:
    """Prepare the data, take two steps, and estimate memory and time; nothing is written.

    Raises:
        DataError, ModelError, OutOfMemoryError: what the real run would meet at its start.
    """
    prepared = prepare(config, say=say)
    facts: dict[str, Any] = {
        "train_rows": prepared.train.num_rows,
        "parameters": num_parameters(prepared.model),
        "vocabulary": len(prepared.model.vocab),
    }
    if prepared.model.parts:
        prepared.model.fit_counts(prepared.train.targets())
    if prepared.model.learns:
        with make_loader(config, prepared.train) as loader:
            facts |= dataclasses.asdict(dry_run(prepared.model, loader, config.training, device=device()))
    return facts

"""Shares of a training budget: for baselines beside a run, and for a run's two parts."""

from __future__ import annotations

from typing import Any

from sensorium.training.config import DEFAULT_EPOCHS, TrainingConfig


def reduced_budget(training: TrainingConfig, share: float) -> TrainingConfig:
    """Return the training section with `share` of its seconds, epochs or steps, and no checkpoints."""
    return budget_share(training, share).model_copy(
        update={"checkpoint_every": None, "patience": None, "teacher": None}
    )


def budget_share(training: TrainingConfig, share: float) -> TrainingConfig:
    """Return the training section with `share` of its seconds, epochs or steps, one of these at least."""
    changes: dict[str, Any] = {}
    if training.seconds is not None:
        changes["seconds"] = training.seconds * share
    if training.max_steps is not None:
        changes["max_steps"] = max(1, round(training.max_steps * share))
    if training.epochs is not None:
        changes["epochs"] = max(1, round(training.epochs * share))
    if not changes:
        changes["epochs"] = max(1, round(DEFAULT_EPOCHS * share))
    return training.model_copy(update=changes)

"""Every task by name; third parties add theirs under the entry-point group."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from sensorium.core import registry
from sensorium.core.errors import ConfigError
from sensorium.tasks.task import Finds, Task

ENTRY_POINTS = "sensorium.tasks"

TASKS: dict[str, str] = {
    "answer": "sensorium.tasks.answer:Answer",
    "caption": "sensorium.tasks.caption:Caption",
    "classify": "sensorium.tasks.classify:Classify",
    "write": "sensorium.tasks.write:Write",
    "tag": "sensorium.tasks.tag:Tag",
    "retrieve": "sensorium.tasks.retrieve:Retrieve",
    "transcribe": "sensorium.tasks.transcribe:Transcribe",
}


def load_task(name: str) -> Any:
    """Return the task called `name`.  Raises ConfigError with the nearest name."""
    return registry.load(TASKS, ENTRY_POINTS, name)()


def judged_by(task: Task, metrics: Sequence[str] | None) -> Task:
    """Return the same task, judged by these metrics instead of its own, the main one first; None = its own.

    Raises:
        ConfigError: it finds rows, and is judged by nothing that compares texts.
    """
    if metrics is None:
        return task
    if isinstance(task, Finds):
        advice = "leave evaluation.metrics out: it is judged by recall and ranks"
        raise ConfigError(f"'{task.name}' writes no text that metrics could compare", advice=advice)
    other = copy.copy(task)
    other.metrics = tuple(metrics)
    return other


def default_tokenizers() -> dict[str, str]:
    """Return the tokenizer that each task uses unless told otherwise; empty for one that writes no text."""
    return {name: load_task(name).tokenizer for name in registry.names(TASKS, ENTRY_POINTS)}

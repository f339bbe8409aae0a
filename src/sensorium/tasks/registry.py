"""Every task by name; third parties add theirs under the entry-point group."""

from __future__ import annotations

from typing import Any

from sensorium.core import registry

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


def default_tokenizers() -> dict[str, str]:
    """Return the tokenizer that each task uses unless told otherwise; empty for one that writes no text."""
    return {name: load_task(name).tokenizer for name in registry.names(TASKS, ENTRY_POINTS)}

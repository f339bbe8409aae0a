"""The run that a training config names as its teacher: `[training] teacher = "run:runs/large-001"`.

Enters: a config and the model that is to learn.  Leaves: a `Teacher`, or None.
"""

from __future__ import annotations

from pathlib import Path

from sensorium.core.errors import ConfigError
from sensorium.model.distillation import Teacher
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import load_model
from sensorium.model.taking import SCHEME, absolute_spec, is_run
from sensorium.tasks.registry import default_tokenizers
from sensorium.workflow.config import RunConfig
from sensorium.workflow.run_folder import model_folder


def teacher_of(config: RunConfig, student: MultimodalLM) -> Teacher | None:
    """Load the teacher that a config names; None where it names none.

    Raises:
        ConfigError: what it names is no run.
        ModelError: there is no whole model of one task, or it cannot teach this one.
    """
    training = config.training
    if training.teacher is None:
        return None
    if not is_run(training.teacher):
        raise ConfigError(f"'{training.teacher}' is no run", where="training.teacher", advice='"run:FOLDER"')
    folder = Path(absolute_spec(training.teacher, config.folder).removeprefix(SCHEME))
    model, _ = load_model(model_folder(folder), default_tokenizer=default_tokenizers())
    return Teacher(model, student, temperature=training.teacher_temperature, weight=training.teacher_weight)

"""What a list in a cell means to a model: of its target as its task says, of its inputs as their sections do.

Enters: the config of a model.  Leaves: the meaning of each column that it reads, for `Table.read_as`.
"""

from __future__ import annotations

from sensorium.data.list_cells import Means
from sensorium.model.config import ConditionerConfig
from sensorium.model.config_inputs import InputChoice
from sensorium.tasks.registry import load_task


def list_meanings(config: ConditionerConfig, *, has_target: bool = True) -> dict[str, Means]:
    """Return what lists mean, by column.

    Args:
        has_target: False where rows are to be answered: a list of the target's then makes no rows.
    """
    of_target: Means = "one" if config.task is None else load_task(config.task).lists
    meanings = {choice.column: _of_input(choice, of_target) for choice in config.read_inputs.values()}
    target = config.columns.get("target") if has_target else None
    return meanings if target is None else meanings | {target: of_target}


def _of_input(choice: InputChoice, of_target: Means) -> Means:
    """Words that are tagged are parted as their tags are."""
    if choice.lists is not None:
        return "several"
    return "items" if of_target == "items" and choice.section.modality == "text" else "one"

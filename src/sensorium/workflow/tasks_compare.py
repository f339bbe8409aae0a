"""Which fusion does each of several tasks want?  A comparison a task, as `workflow.compare` makes it.

Enters: a TasksConfig, names of fusions, seeds.  Leaves: a `TasksComparison`.  Each task is measured as a run of its
own, of the inputs that it reads, as `compare(config, task=NAME)` measures it: the tasks of one model share its
fusion, and what is best for each of them says between which there is a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.core.errors import ModelError, UsageError
from sensorium.workflow.compare import (
    Comparison,
    cannot_be_compared,
    carry_out,
    compare,
    plan,
    require_free,
)
from sensorium.workflow.prepare import Say, quiet
from sensorium.workflow.tasks_config import AnsweringConfig, TasksConfig


@dataclass(frozen=True)
class TasksComparison:
    """What was found of each task.

    Attributes:
        tasks: by name.
        not_compared: tasks of which there is nothing to compare, and why.
    """

    tasks: Mapping[str, Comparison]
    not_compared: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Return the plain facts; each task's stand in its own folder, too."""
        tasks = {name: found.facts() for name, found in self.tasks.items()}
        return {"tasks": tasks, "not_compared": dict(self.not_compared)}


def compare_any(
    config: AnsweringConfig,
    fusions: Sequence[str] = (),
    *,
    task: str | None = None,
    num_seeds: int = 3,
    jobs: int = 1,
    out: Path | None = None,
    say: Say = quiet,
) -> Comparison | TasksComparison:
    """Compare fusions for a run of one task, or for every task of several unless one is named.

    As `compare` and `compare_tasks` do.
    """
    if isinstance(config, TasksConfig) and task is None and len(config.tasks) > 1:
        return compare_tasks(config, fusions, num_seeds=num_seeds, jobs=jobs, out=out, say=say)
    return compare(config, fusions, task=task, num_seeds=num_seeds, jobs=jobs, out=out, say=say)


def compare_tasks(
    config: TasksConfig,
    fusions: Sequence[str] = (),
    *,
    num_seeds: int = 3,
    jobs: int = 1,
    out: Path | None = None,
    say: Say = quiet,
) -> TasksComparison:
    """Compare fusions for each task; all that can be refused is refused before anything is measured.

    Args:
        out: where each task has a folder by its name; by default `runs/NAME-TASK-compare`, which one task that is
            compared alone has, too.

    Others as `compare`.

    Raises:
        ConfigError: no such fusion.
        UsageError: there is no task with fusions to compare; `out` holds something else.
        ModelError: of no task anything could be compared.
    """
    alone = {name: config.alone(name) for name in config.tasks}
    not_compared = {name: str(why) for name, one in alone.items() if (why := cannot_be_compared(one))}
    if len(not_compared) == len(alone):
        raise UsageError(f"no task has fusions to compare: {_listed(not_compared)}")
    if out is not None:
        require_free(out, [out / name for name in alone])
    plans = {
        name: plan(one, fusions, num_seeds=num_seeds, out=out and out / name, say=_by(name, say))
        for name, one in alone.items()
        if name not in not_compared
    }
    found = {}
    for name, planned in plans.items():
        try:
            found[name] = carry_out(planned, jobs, _by(name, say))
        except ModelError as error:  # the other tasks are compared all the same
            not_compared[name] = str(error)
    if not found:
        raise ModelError(f"of no task anything could be compared: {_listed(not_compared)}")
    return TasksComparison(found, not_compared)


def _by(name: str, say: Say) -> Say:
    return lambda line: say(f"{name}: {line}")


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())

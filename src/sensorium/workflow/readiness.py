"""Everything that a run of one task would refuse after its rows are read: asked by `train` and `check` alike.

Enters: a RunConfig.  Leaves: what `prepare` makes of it, and the word vectors that texts are judged with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sensorium.data.quarantine import Quarantine
from sensorium.data.word_vectors import WordVectors
from sensorium.tasks.task import Finds, NeedsNoSearch
from sensorium.workflow.config import RunConfig
from sensorium.workflow.prepare import Prepared, Say, prepare, quiet
from sensorium.workflow.refitting import require_test_rows
from sensorium.workflow.teaching_runs import teacher_of
from sensorium.workflow.unread_settings import changed, unsearched


def ready(
    config: RunConfig,
    run: Path | None = None,
    *,
    say: Say = quiet,
    quarantine: Quarantine | None = None,
    resumes: bool = False,
) -> tuple[Prepared, WordVectors | None]:
    """Prepare a run up to its first step, and refuse what would end it later.

    Args:
        resumes: the run was begun before, perhaps when less was refused: what nothing reads is said alone.

    Raises:
        ConfigError: settings of a search, where none is made; as `prepare` and `require_ready`.
        DataError, ModelError: as `prepare` and `require_ready`.
    """
    vectors = config.word_vectors()  # before anything that takes long
    prepared = prepare(config, run, say=say, quarantine=quarantine)
    require_all_ready({"": config}, {"": prepared}, say=say, resumes=resumes)
    return prepared, vectors


def require_all_ready(
    configs: Mapping[str, RunConfig],
    prepared: Mapping[str, Prepared],
    *,
    say: Say = quiet,
    resumes: bool = False,
) -> None:
    """Ask `require_ready` of each task, and refuse settings of a search that no task makes.

    What tasks share is read if one of them searches so; that the answers are known, their number has decided.

    Args:
        configs: by the task's name; "" names the only one.
        resumes: see `ready`.

    Raises:
        ConfigError, ModelError: as `require_ready`; a setting of `[decoding]` that nothing reads.
    """
    searches = [configs[name].decoding for name, task in prepared.items() if _is_searched(task)]
    for name, task in prepared.items():
        decoding, section = configs[name].decoding, f"tasks.{name}.decoding" if name else "decoding"
        for key in [] if _is_searched(task) else changed(decoding):
            unread = unsearched(key, section, is_closed=task.answers is not None)
            if any(getattr(other, key) == getattr(decoding, key) for other in searches):
                continue
            if not resumes:
                raise unread.refusal(unread.key)
            say(f"warning: {unread}")
        require_ready(configs[name], task)


def _is_searched(prepared: Prepared) -> bool:
    return prepared.answers is None and not isinstance(prepared.task, Finds | NeedsNoSearch)


def require_ready(config: RunConfig, prepared: Prepared) -> None:
    """Refuse what would end a run after its training.

    Raises:
        ConfigError: no rows to judge a refitted model on.
        ModelError: no whole model to learn from, or one that cannot teach this one.
    """
    require_test_rows(config, prepared.test)
    if prepared.model.learns:
        teacher_of(config, prepared.model)

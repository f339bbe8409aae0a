"""Make a finished run's reports again: of one task, of each of several, or of what it was pretrained by.

Enters: a run folder.  Leaves: its report, or one a task.  A run that answers is judged once more, on the same rows;
of a pretraining run all is known that its report tells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.core.commit import require_free
from sensorium.core.errors import ModelError
from sensorium.data.quarantine import Quarantine
from sensorium.evaluation.intervals import intervals
from sensorium.evaluation.runner import evaluate
from sensorium.report.page import begins_page
from sensorium.tasks.registry import judged_by
from sensorium.training.console import stage
from sensorium.workflow.config import RunConfig
from sensorium.workflow.judging_time import cut_note
from sensorium.workflow.predictor import Predictor, load_predictors
from sensorium.workflow.prepare import Say, build_corpus, open_parts, quiet
from sensorium.workflow.pretraining_report import write_pretraining_report
from sensorium.workflow.reporting import REPORT, Judged, write_report
from sensorium.workflow.tasks_config import AnyConfig, TasksConfig, load_any


def reports_again(run: Path, out: Path | None = None, *, say: Say = quiet) -> list[Path]:
    """Write a finished run's reports to `out` or into the run; returns their paths.

    Args:
        out: the file; of several tasks, each has its name in it: `out-TASK.html`.

    Raises:
        UsageError: a file is there that is no report.
        ModelError: the folder holds no finished run.
        DataError: its tables are gone or have changed so that they do not fit.
    """
    if not (run / "evaluation.json").exists() or not (run / "config.toml").exists():
        raise ModelError("is no finished run", where=str(run), advice="a run folder has evaluation.json")
    summary = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    config, path = load_any(run / "config.toml"), run / REPORT if out is None else out
    paths = {name: path.with_name(f"{path.stem}-{name}{path.suffix}") for name in _tasks(config)} or {"": path}
    for one in paths.values():
        require_free(one, force=True, is_ours=begins_page)
    if isinstance(config, RunConfig):
        (predictor,) = load_predictors(run).values()
        return [_report(config, run, predictor, summary, path, say)]
    if not isinstance(config, TasksConfig):
        return [write_pretraining_report(config, run, summary, path)]
    return [
        _report(
            config.tasks[name].replace(name=f"{config.name}: {name}"),
            run,
            predictor,
            summary["tasks"][name],
            paths[name],
            say,
        )
        for name, predictor in load_predictors(run).items()
    ]


def _tasks(config: AnyConfig) -> list[str]:
    return list(config.tasks) if isinstance(config, TasksConfig) else []


def _report(
    config: RunConfig, run: Path, predictor: Predictor, summary: Mapping[str, Any], path: Path, say: Say
) -> Path:
    """Judge one task's rows once more, and write its report."""
    task = judged_by(predictor.task, config.evaluation.metrics)
    quarantine = Quarantine(config.data.max_bad_fraction)
    part = open_parts(config, quarantine)[summary["judged_on"]]
    corpus = build_corpus(config, predictor.model, part, quarantine=quarantine)
    say(f"judging {corpus.num_rows:,} {summary['judged_on']} rows")
    with stage(None, "judging") as advance:
        evaluation = evaluate(
            predictor.model,
            task,
            corpus,
            answers=predictor.answers,
            decoding=predictor.decoding,
            batch_rows=config.evaluation.batch_rows,
            max_rows=config.evaluation.max_rows,
            vectors=config.word_vectors(),
            advance=advance,
            seconds=math.inf,  # cut into the batches of training, whose bounds of probabilities are then told again
        )
    note = cut_note(summary)
    if note is not None:  # now all are judged; the baselines stay as they were
        summary = {
            **summary,
            "rows": evaluation.num_rows,
            "not_judged": evaluation.num_unjudged,
            "intervals": intervals(evaluation),
            "notes": [one for one in summary["notes"] if one != note],
        }
    judged = Judged(
        config=config.replace(decoding=predictor.decoding),
        run=run,
        model=predictor.model,
        task=task,
        answers=predictor.answers,
        decoding=predictor.decoding,
        corpus=corpus,
        evaluation=evaluation,
        summary=summary,
        counts=summary.get("counts", {}),
    )
    return write_report(judged, path)

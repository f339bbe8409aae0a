"""Several seeds: the same run again and again, reported as mean and spread."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from sensorium.evaluation.metrics_interval import spread
from sensorium.training.progress import Progress
from sensorium.workflow.prepare import Say
from sensorium.workflow.run_folder import new_run, write_json
from sensorium.workflow.tasks_config import AnyConfig
from sensorium.workflow.tasks_train import run_any


def train_seeds(
    config: AnyConfig, num_seeds: int, *, out: Path | None, progress: Progress | None, say: Say
) -> dict[str, Any]:
    """Train with seeds s, s+1, ... into `seed-S` folders of one run folder.

    Returns the metrics' means, standard deviations (n - 1) and values by seed.
    """
    run = new_run(config.name, out)
    first = config.training.seed
    seeds = list(range(first, first + num_seeds))
    summaries = []
    for seed in seeds:
        training = config.training.model_copy(update={"seed": seed})
        result = run_any(config.replace(training=training), out=run / f"seed-{seed}", progress=progress, say=say)
        summaries.append(result.summary())
    metrics = {
        name: _spread([summary["metrics"][name] for summary in summaries]) for name in summaries[0]["metrics"]
    }
    summary = {"task": summaries[0]["task"], "seeds": seeds, "metrics": metrics, "runs": summaries, "run": str(run)}
    write_json(run / "evaluation.json", summary)
    return summary


def _spread(values: list[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "spread": spread(values), "values": values}

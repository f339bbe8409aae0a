"""What a pretraining run's report tells: what each objective came to, and what the other inputs gave.

Enters: a PretrainingConfig and the facts of `evaluation.json`.  Leaves: one HTML file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.core.commit import write_atomic
from sensorium.core.config import write_toml
from sensorium.report.facts import ObjectiveScore, RunFacts, Score, System
from sensorium.report.page import write_page
from sensorium.report.wording import duration
from sensorium.workflow.config import PretrainingConfig
from sensorium.workflow.reporting import SHOWN_BAD_ROWS, SHOWN_CONFIG_CHARACTERS, bad_rows, curves


def write_pretraining_report(config: PretrainingConfig, run: Path, summary: Mapping[str, Any], path: Path) -> Path:
    """Write the report of a pretraining run.  Raises DiskError."""
    write_atomic(path, write_page(pretraining_facts(config, run, summary)).encode("utf-8"))
    return path


def pretraining_facts(config: PretrainingConfig, run: Path, summary: Mapping[str, Any]) -> RunFacts:
    """Collect what the report tells."""
    objectives = [
        ObjectiveScore(objective=name, measure=key, value=value, alone=summary["alone"].get(name, {}).get(key))
        for name, found in summary["objectives"].items()
        for key, value in found.items()
    ]
    scores = {f"{one.objective}: {one.measure}": Score(value=one.value) for one in objectives}
    seconds = sum(summary["seconds"].values())
    bad = bad_rows(run)
    return RunFacts(
        name=config.name,
        task=summary["task"],
        run=str(run),
        command=f"sensorium train {shlex.quote(str(run / 'config.toml'))}",
        judged_on=summary["judged_on"],
        metric=next(iter(scores)),
        lower_is_better=frozenset(name for name in scores if name.endswith(": loss")),
        model=System(name="this model", rows=summary["rows"], scores=scores, seconds=seconds),
        objectives=objectives,
        curves=curves(run, "a row"),
        left_out=summary.get("counts", {}),
        bad_rows=bad[:SHOWN_BAD_ROWS],
        num_bad=len(bad),
        about=_about(config, summary),
        digests=summary.get("digests", {}),
        config=write_toml(config.dump())[:SHOWN_CONFIG_CHARACTERS],
    )


def _about(config: PretrainingConfig, summary: Mapping[str, Any]) -> dict[str, str]:
    inputs = config.model.inputs.items()
    rows = summary.get("part_rows", {})
    return {
        "Task": summary["task"],
        "Inputs": ", ".join(f"{name} ({c.section.modality}: {c.section.encoder})" for name, c in inputs),
        "Rows": ", ".join(f"{count:,} {part}" for part, count in rows.items()),
        "Parameters": f"{summary['parameters']:,}",
        "Steps": f"{summary['steps']:,}",
        "Seed": str(config.training.seed),
        "Time": ", ".join(f"{way} {duration(s)}" for way, s in summary["seconds"].items()),
        **{name.capitalize(): version for name, version in summary.get("versions", {}).items()},
    }

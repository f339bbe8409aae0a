"""Gather what a run's report tells, and write it beside the run: `report.html`.

Enters: a fitted model, its judged rows and `evaluation.json`'s facts.  Leaves: one HTML file.
A report may fail (a disk may be full, a row may be odd): training goes on, and the log says why.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sensorium.core.commit import write_atomic
from sensorium.core.config import write_toml
from sensorium.core.errors import SensoriumError
from sensorium.data.corpus import Corpus
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.missing import evaluate_missing
from sensorium.evaluation.registry import is_lower_better
from sensorium.evaluation.runner import Evaluation
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import num_parameters
from sensorium.report.facts import Curve, Gain, RunFacts, Score, System
from sensorium.report.inline_media import Inliner
from sensorium.report.page import MAX_BYTES, write_page
from sensorium.report.wording import duration
from sensorium.tasks.task import Finds, Task
from sensorium.training.console import stage
from sensorium.training.metrics_log import read_metrics
from sensorium.training.progress import Progress
from sensorium.workflow.config import RunConfig
from sensorium.workflow.explaining import mean_over
from sensorium.workflow.judging_time import part_judged, patterns_seconds
from sensorium.workflow.prepare import BAD_ROWS, Say, quiet
from sensorium.workflow.provenance import versions
from sensorium.workflow.report_queries import searches
from sensorium.workflow.report_rows import JudgedRows

logger = logging.getLogger(__name__)

REPORT = "report.html"
PATTERN_INPUTS, PATTERN_ROWS = 4, 256
"""Presence patterns are judged for at most so many inputs, on so many rows."""
PATTERN_BATCH = 128
"""Rows times patterns of one batch."""
CONTRIBUTION_ROWS = 256
SHOWN_BAD_ROWS = 200
SHOWN_CONFIG_CHARACTERS = 50_000


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A run that has been judged: all that its report is made from.

    Attributes:
        summary: what `evaluation.json` holds.
        counts: what was left out, by part and name.
    """

    config: RunConfig
    run: Path
    model: MultimodalLM
    task: Task
    answers: Sequence[str] | None
    decoding: DecodingConfig
    corpus: Corpus
    evaluation: Evaluation
    summary: Mapping[str, Any]
    counts: Mapping[str, int]
    progress: Progress | None = None


def try_report(
    judged: Judged, *, name: str = REPORT, progress: Progress | None = None, say: Say = quiet
) -> Path | None:
    """Write the run's report; a failure is logged and said, and never stops a training."""
    judged = replace(judged, progress=progress)
    return try_writing(lambda: write_report(judged, judged.run / name), judged.run, say)


def try_writing(write: Callable[[], Path], run: Path, say: Say) -> Path | None:
    """Write a report by `write`; a failure is logged and said, and None comes back."""
    try:
        path = write()
    except Exception as error:
        logger.warning("no report was written", exc_info=True)
        say(f"no report was written: {error} (try again: sensorium report {run})")
        return None
    say(f"report: {path}")
    return path


def write_report(judged: Judged, path: Path) -> Path:
    """Write the report.  Raises DiskError."""
    text = write_page(gather(judged))
    data = text.encode("utf-8")
    if len(data) > MAX_BYTES:  # texts alone are that long: the page is made again without its rows
        facts = gather(judged, media_bytes=0, show_rows=False)
        data = write_page(facts).encode("utf-8")
    write_atomic(path, data)
    return path


def gather(judged: Judged, *, media_bytes: int = 7_000_000, show_rows: bool = True) -> RunFacts:
    """Collect the facts of a run; what costs much is measured on its first rows."""
    metric = next(iter(judged.evaluation.metrics))
    inliner = Inliner(judged.config.media, media_bytes)
    rows = JudgedRows(
        judged.model,
        judged.corpus,
        judged.evaluation,
        metric,
        inliner,
        lower_is_better=is_lower_better(metric),
    )
    best, worst = rows.extremes() if show_rows else ([], [])
    bad = bad_rows(judged.run)
    unit, contributions = _contributions(judged)
    return RunFacts(
        name=judged.config.name,
        task=judged.evaluation.task,
        run=str(judged.run),
        command=f"sensorium train {shlex.quote(str(judged.run / 'config.toml'))}",
        judged_on=part_judged(judged.summary),
        metric=metric,
        lower_is_better=frozenset(filter(is_lower_better, judged.evaluation.metrics)),
        model=_model(judged),
        baselines=[_baseline(baseline) for baseline in judged.summary["baselines"]],
        searches=searches(judged.evaluation.directions, judged.corpus, inliner, rows.modality, show_rows=show_rows),
        curves=curves(judged.run, "a token"),
        patterns=presence_patterns(judged),
        contributions=contributions,
        contribution_unit=unit,
        confusion=rows.confusion() if judged.answers is not None and show_rows else None,
        best=best,
        worst=worst,
        left_out=judged.counts,
        bad_rows=bad[:SHOWN_BAD_ROWS],
        num_bad=len(bad),
        about=_about(judged),
        digests=judged.summary.get("digests", {}),
        config=write_toml(judged.config.dump())[:SHOWN_CONFIG_CHARACTERS],
        notes=[*judged.summary.get("notes", ()), *_notes(judged, inliner, show_rows)],
    )


def presence_patterns(judged: Judged) -> list[System]:
    """Judge the model under every presence pattern, on its first rows; empty where that is not cheap."""
    inputs = list(judged.model.config.inputs)
    if not 1 < len(inputs) <= PATTERN_INPUTS or isinstance(judged.task, Finds):
        return []
    if _patterns_note(judged) is not None:
        return []
    with stage(judged.progress, "judging what rows may lack") as advance:
        found = evaluate_missing(
            judged.model,
            judged.task,
            judged.corpus,
            answers=judged.answers,
            decoding=judged.decoding,
            batch_rows=min(judged.config.evaluation.batch_rows, PATTERN_BATCH),
            max_rows=PATTERN_ROWS,
            vectors=judged.evaluation.vectors,
            advance=advance,
            seconds=patterns_seconds(_fitting_s(judged)),
        )
    return [
        System(
            name=" + ".join(result.inputs) or "nothing",
            rows=result.evaluation.num_rows,
            scores={name: Score(value=value) for name, value in result.evaluation.metrics.items()},
        )
        for result in found
    ]


def _patterns_note(judged: Judged) -> str | None:
    """Say so where no presence patterns are judged, since one row under all of them takes longer than all may."""
    num_inputs = len(judged.model.config.inputs)
    row_s = judged.evaluation.seconds / max(1, judged.evaluation.num_rows)
    if not 1 < num_inputs <= PATTERN_INPUTS or 2**num_inputs * row_s <= patterns_seconds(_fitting_s(judged)):
        return None
    return f"What rows may lack was not judged, for time: `sensorium evaluate {judged.run} --missing` does."


def _contributions(judged: Judged) -> tuple[str, list[tuple[str, float]]]:
    """Return the unit and the mean Shapley value of each input; nothing where it cannot be measured."""
    inputs = list(judged.model.config.inputs)
    if not 1 < len(inputs) <= PATTERN_INPUTS or isinstance(judged.task, Finds):
        return "", []
    try:
        with stage(judged.progress, "sharing out what each input gave") as advance:
            given = mean_over(
                judged.model,
                judged.corpus,
                max_rows=CONTRIBUTION_ROWS,
                advance=advance,
                seconds=patterns_seconds(_fitting_s(judged)),
            )
    except SensoriumError as error:  # a target that is impossible without some input has no finite log p
        logger.info("no Shapley values: %s", error)
        return "", []
    return "nats of log p of the right text", [(name, given.shapley[name]) for name in given.names]


def _model(judged: Judged) -> System:
    bounds = judged.summary.get("intervals", {})
    scores = {}
    for name, value in judged.evaluation.metrics.items():
        low, high = bounds.get(name, (None, None))
        scores[name] = Score(value=value, low=low, high=high)
    return System(name="this model", rows=judged.evaluation.num_rows, scores=scores, seconds=_fitting_s(judged))


def _fitting_s(judged: Judged) -> float:
    return float(sum(s for way, s in judged.summary["seconds"].items() if way != "evaluation"))


def _baseline(facts: Mapping[str, Any]) -> System:
    # null stands for what JSON cannot say: the perplexity of the impossible
    values = {name: math.inf if value is None else value for name, value in facts["metrics"].items()}
    scores = {name: Score(value=value) for name, value in values.items()}
    gain = facts.get("difference")
    return System(
        name=facts["name"],
        rows=facts["rows"],
        scores=scores,
        seconds=facts["seconds"],
        gain=None if gain is None else Gain(**gain),
    )


def curves(run: Path, of: str) -> dict[str, list[Curve]]:
    """Return how a run's losses went, in nats `of` something."""
    records = list(read_metrics(run))

    def points(key: str) -> list[tuple[float, float]]:
        return [(float(r["step"]), float(r[key])) for r in records if r.get(key) is not None]

    return {
        f"Training loss, nats {of}": [Curve(name="training", points=points("loss"))],
        f"Validation loss, nats {of}": [Curve(name="validation", points=points("validation"))],
    }


def bad_rows(run: Path) -> list[tuple[str, str, str]]:
    """Return place, input and message of a run's quarantined rows."""
    path = run / BAD_ROWS
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        bad = [json.loads(line) for line in file if line.strip()]
    return [(one["where"], one["input"], one["message"]) for one in bad]


def _about(judged: Judged) -> dict[str, str]:
    config, summary = judged.config, judged.summary
    rows = summary.get("part_rows", {})
    about = {
        "Task": judged.evaluation.task,
        "Inputs": ", ".join(
            f"{n} ({c.section.modality}: {c.section.encoder})" for n, c in config.model.inputs.items()
        )
        or "none",
        "Rows": ", ".join(f"{count:,} {part}" for part, count in rows.items()),
        "Parameters": f"{num_parameters(judged.model):,}",
        "Scorers": ", ".join(
            f"{name} {weight:.2f}" for name, weight in (summary.get("mixture_weights") or {}).items()
        )
        or ", ".join(config.model.scorers),
        "Words split": ", ".join(sorted(set(judged.evaluation.tokenize.values()) - {"none", "tokenizer"})),
        "Seed": str(config.training.seed),
        "Time": ", ".join(f"{way} {duration(s)}" for way, s in summary["seconds"].items()),
        **{name.capitalize(): version for name, version in summary.get("versions", versions()).items()},
    }
    return {name: value for name, value in about.items() if value}


def _notes(judged: Judged, inliner: Inliner, show_rows: bool) -> list[str]:
    notes = [note] if (note := _patterns_note(judged)) is not None else []
    if inliner.num_left_out:
        notes.append(f"{inliner.num_left_out:,} media are named but not shown, so that the page stays small.")
    if not show_rows:
        notes.append("Rows are not shown: their texts alone would make the page too large.")
    return notes

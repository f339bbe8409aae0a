"""Train: count, descend, fit the weights, save, judge; in one run folder.

Enters: a RunConfig.  Leaves: a run folder with a model that answers, and `RunResult` with what was
measured.  A resumed run repeats the cheap parts (they are deterministic) and continues the rest from
its newest whole checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sensorium.data.corpus import Corpus
from sensorium.data.word_vectors import WordVectors
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.intervals import intervals, row_scores
from sensorium.evaluation.paired import Difference
from sensorium.evaluation.runner import Evaluation
from sensorium.model.saving import save_card, save_model
from sensorium.training.console import shown_by
from sensorium.training.progress import Progress
from sensorium.workflow.baselines import Baseline, differences, measure_baselines
from sensorium.workflow.card import write_card
from sensorium.workflow.config import RunConfig
from sensorium.workflow.fitting import Fitted, fit_model
from sensorium.workflow.judging import judge
from sensorium.workflow.judging_time import cut_note, model_seconds
from sensorium.workflow.known_data import known_of
from sensorium.workflow.leaks import with_leaks
from sensorium.workflow.lessons import kept_lessons
from sensorium.workflow.prepare import Prepared, Say, quiet, say_met
from sensorium.workflow.provenance import data_digests, versions
from sensorium.workflow.readiness import ready
from sensorium.workflow.reporting import Judged, try_report
from sensorium.workflow.rescoring import tuned
from sensorium.workflow.run_folder import opened_run, write_decoding, write_json


@dataclass(frozen=True)
class RunResult:
    """What a finished run reports."""

    run: Path
    fitted: Fitted
    evaluation: Evaluation
    judged_on: str
    baselines: list[Baseline]
    prepared: Prepared = field(repr=False)
    decoding: DecodingConfig = field(repr=False)
    digests: dict[str, str] = field(default_factory=dict)

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % interval of each metric that has one."""
        return intervals(self.evaluation)

    @functools.cached_property
    def differences(self) -> list[Difference | None]:
        """Return how the model's rows compare with each baseline's; None where they cannot be paired."""
        return differences(row_scores(self.evaluation), self.baselines)

    def judged(self, config: RunConfig, summary: Mapping[str, Any]) -> Judged:
        """Return what the run's report is made from."""
        return Judged(
            config=config,
            run=self.run,
            model=self.prepared.model,
            task=self.prepared.task,
            answers=self.prepared.answers,
            decoding=self.decoding,
            corpus=judged_corpus(self.prepared)[0],
            evaluation=self.evaluation,
            summary=summary,
            counts=self.prepared.left_out,
        )

    def summary(self) -> dict[str, Any]:
        """Return the plain facts, as written to `evaluation.json`."""
        facts = self._facts()
        note = cut_note(facts)
        return facts if note is None else facts | {"notes": [*facts["notes"], note]}

    def _facts(self) -> dict[str, Any]:
        return {
            "task": self.evaluation.task,
            "judged_on": self.judged_on,
            "rows": self.evaluation.num_rows,
            "not_judged": self.evaluation.num_unjudged,
            "metrics": self.evaluation.metrics,
            "tokenize": self.evaluation.tokenize,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "baselines": [
                baseline.summary() | ({} if difference is None else {"difference": asdict(difference)})
                for baseline, difference in zip(self.baselines, self.differences, strict=True)
            ],
            "mixture_weights": self.fitted.weights,
            "rescoring_weights": self.decoding.rescore.weights if self.decoding.rescore else None,
            "seconds": self.fitted.seconds | {"evaluation": self.evaluation.seconds},
            "quarantined": len(self.prepared.quarantine),
            "part_rows": {name: corpus.num_rows for name, corpus in self.prepared.corpora.items()},
            "counts": self.prepared.left_out,
            "notes": list(self.prepared.notes),
            "digests": self.digests,
            "versions": versions(),
            "run": str(self.run),
        }


def train(
    config: RunConfig,
    *,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say = quiet,
) -> RunResult:
    """Train by `config` into a new run folder, or continue one.

    Raises:
        UsageError, ConfigError: an --out that is taken; a resumed run whose config differs.
        DataError, ModelError, DiskError, OutOfMemoryError, LockedError: as their names say.
    """
    with (
        shown_by(progress),
        opened_run(config.name, config.dump(), out=out, resume=resume, say=say) as run,
    ):
        prepared, vectors = ready(config, run, say=say, resumes=resume)
        prepared = with_leaks(config, prepared, say)
        fitted = fit_model(
            config,
            prepared.model,
            prepared.train,
            prepared.validation,
            run,
            resume=resume,
            progress=progress,
            data=known_of(config, prepared),
        )
        config = _tuned(config, prepared, vectors, run)
        _save(config, prepared, run, write_card(config, None))
        result = _judged(config, prepared, fitted, run, progress, say)
        say_met(prepared.corpora, say)
        summary = result.summary()
        write_json(run / "evaluation.json", summary)
        save_card(run / "model", write_card(config, summary))
        if config.evaluation.report:
            try_report(result.judged(config, summary), progress=progress, say=say)
    return result


def _judged(
    config: RunConfig, prepared: Prepared, fitted: Fitted, run: Path, progress: Progress | None, say: Say
) -> RunResult:
    """Judge the model and its baselines."""
    corpus, judged_on = judged_corpus(prepared)
    fitting_s = sum(fitted.seconds.values())
    evaluation = judge(
        config,
        prepared,
        prepared.model,
        corpus,
        title="judging",
        progress=progress,
        seconds=model_seconds(fitting_s),
    )
    baselines = measure_baselines(
        config,
        prepared,
        corpus,
        progress=progress,
        say=say,
        fitting_s=fitting_s,
        judging_s=evaluation.seconds,
    )
    digests = data_digests(config)
    return RunResult(run, fitted, evaluation, judged_on, baselines, prepared, config.decoding, digests)


def _tuned(config: RunConfig, prepared: Prepared, vectors: WordVectors | None, run: Path) -> RunConfig:
    """Tune how texts are written, where the config asks for it, and keep that; returns the config with it."""
    decoding = tuned(
        config.decoding,
        prepared.model,
        prepared.task,
        prepared.validation,
        is_closed=prepared.answers is not None,
        vectors=vectors,
    )
    write_decoding(run, decoding)
    return config.replace(decoding=decoding)


def _save(config: RunConfig, prepared: Prepared, run: Path, card: str) -> None:
    """Write the run's model; what an earlier one there was taught is taught to it, too."""
    folder, beside = run / "model", kept_lessons(run / "model")
    model, answers = prepared.model, prepared.answers
    save_model(model, folder, answers=answers, card=card, decoding=config.decoding, beside=beside)


def judged_corpus(prepared: Prepared) -> tuple[Corpus, str]:
    """Return the rows the model is judged on: test if there are any, else validation."""
    if prepared.test is not None:
        return prepared.test, "test"
    return prepared.validation, "validation"

"""The baselines beside every run: the majority, each scorer alone, and each input alone.

A scorer alone is the fitted model without the others: what counting, or the network, gave to the mixture.

An input alone is the same model with that one input, trained anew with a share of the run's budget;
what it reaches shows how much the rows can be guessed without the rest.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.corpus import Corpus
from sensorium.evaluation.baselines import majority
from sensorium.evaluation.intervals import row_values
from sensorium.evaluation.paired import Difference, holm, paired_bootstrap
from sensorium.evaluation.registry import is_lower_better, load_metric
from sensorium.evaluation.retrieval import judge_chance
from sensorium.evaluation.runner import Evaluation, evaluate
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Finds, GuessesMajority, Task
from sensorium.training.progress import Progress
from sensorium.training.seeding import seed_everything
from sensorium.workflow.budget import reduced_budget
from sensorium.workflow.config import RunConfig
from sensorium.workflow.fitting import fit_model
from sensorium.workflow.prepare import Prepared, Say

RESAMPLES = 2_000
"""Of the paired test of each baseline."""


@dataclass(frozen=True)
class Baseline:
    """One baseline's result: its rows, metrics, seconds of fitting, and each row's score (see `row_scores`)."""

    name: str
    num_rows: int
    metrics: dict[str, float]
    seconds: float
    scores: Mapping[int, float] = field(default_factory=dict, repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the plain facts."""
        return {"name": self.name, "rows": self.num_rows, "metrics": self.metrics, "seconds": self.seconds}


def row_scores(task: Task, evaluation: Evaluation) -> dict[int, float]:
    """Return the first metric of each judged request by itself, by its row; more = better."""
    if not evaluation.predictions:
        return {}
    said = [prediction.text for _, prediction, _ in evaluation.predictions]
    right: list[Any] = [refs if task.many_references else refs[0] for _, _, refs in evaluation.predictions]
    return _by_row(next(iter(evaluation.metrics)), [row for row, _, _ in evaluation.predictions], said, right)


def _by_row(metric: str, rows: Iterable[int], said: Sequence[str], right: Sequence[Any]) -> dict[int, float]:
    sign = -1.0 if is_lower_better(metric) else 1.0
    return dict(zip(rows, (sign * row_values(metric, said, right)).tolist(), strict=True))


def differences(scores: Mapping[int, float], baselines: Sequence[Baseline]) -> list[Difference | None]:
    """Return how much more a model has than each baseline, a row; None where the same rows were not judged.

    The p values are what so many tests together deserve (Holm).
    """
    tests = [
        paired_bootstrap(list(scores.values()), [b.scores[row] for row in scores], num_resamples=RESAMPLES)
        if scores and b.scores.keys() == scores.keys()
        else None
        for b in baselines
    ]
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    return [None if test is None else replace(test, p=next(adjusted)) for test in tests]


def measure_baselines(
    config: RunConfig, prepared: Prepared, corpus: Corpus, *, progress: Progress | None, say: Say
) -> list[Baseline]:
    """Measure the majority answer, each scorer and each input on `corpus`; none if the config says so."""
    if not config.evaluation.baselines:
        return []
    if isinstance(prepared.task, Finds):
        return [chance_baseline(config, prepared, corpus)]
    found = [majority_baseline(config, prepared, corpus)] if prepared.task.metrics else []
    if len(prepared.model.parts) > 1:
        for name in prepared.model.parts:
            say(f"baseline: {name} alone")
            found.append(single_scorer_baseline(config, prepared, corpus, name))
    if len(config.model.read_inputs) > 1 and prepared.model.learns:
        chosen = config.evaluation.baseline_inputs
        for name in config.model.read_inputs if chosen is None else chosen:
            say(f"baseline: {name} only")
            found.append(single_input_baseline(config, prepared, corpus, name, progress=progress))
    return found


def chance_baseline(config: RunConfig, prepared: Prepared, corpus: Corpus) -> Baseline:
    """Judge an order by chance of what is to be found."""
    started = time.perf_counter()
    rows = np.arange(min(corpus.num_rows, config.evaluation.max_rows or corpus.num_rows))
    metrics = judge_chance(prepared.model, corpus, rows)
    return Baseline("chance", len(rows), metrics, time.perf_counter() - started)


def majority_baseline(config: RunConfig, prepared: Prepared, corpus: Corpus) -> Baseline:
    """Judge the most frequent training target as the answer to every row."""
    started = time.perf_counter()
    rows = range(min(corpus.num_rows, config.evaluation.max_rows or corpus.num_rows))
    references = [corpus.target_text(row) for row in rows]
    test: Any = [[text] for text in references] if prepared.task.many_references else references
    task, train = prepared.task, prepared.train
    if isinstance(task, GuessesMajority):
        guesses = task.majority(prepared.model, train, corpus, rows)
    else:
        guesses = [majority(train.target_text(row) for row in range(train.num_rows))] * len(references)
    metrics = {name: float(load_metric(name)(guesses, test)) for name in task.metrics}
    scores = _by_row(task.metrics[0], rows, guesses, test)
    return Baseline("majority", len(references), metrics, time.perf_counter() - started, scores)


def single_scorer_baseline(config: RunConfig, prepared: Prepared, corpus: Corpus, name: str) -> Baseline:
    """Judge one scorer of the fitted model by itself."""
    result = _judged(config, prepared, prepared.model.scored_by(name), corpus)
    scores = row_scores(prepared.task, result)
    return Baseline(f"{name} alone", result.num_rows, result.metrics, result.seconds, scores)


def single_input_baseline(
    config: RunConfig, prepared: Prepared, corpus: Corpus, name: str, *, progress: Progress | None
) -> Baseline:
    """Train the same model with one input and a share of the budget, and judge it on the same rows."""
    started = time.perf_counter()
    model_config = config.model.only([name])
    training = reduced_budget(config.training, config.evaluation.baseline_budget)
    alone = config.replace(model=model_config, training=training)
    seed_everything(training.seed)
    model = MultimodalLM(model_config, {name: prepared.model.preparers[name]}, prepared.model.tokenizer)
    model.load_pretrained()
    with tempfile.TemporaryDirectory(prefix="sensorium-") as scratch:
        fit_model(alone, model, prepared.train, prepared.validation, Path(scratch), progress=progress)
    seconds = time.perf_counter() - started
    result = _judged(config, prepared, model, corpus)
    return Baseline(f"{name} only", result.num_rows, result.metrics, seconds, row_scores(prepared.task, result))


def _judged(config: RunConfig, prepared: Prepared, model: MultimodalLM, corpus: Corpus) -> Evaluation:
    return evaluate(
        model,
        prepared.task,
        corpus,
        answers=prepared.answers,
        decoding=config.decoding.among(model.parts),
        batch_rows=config.evaluation.batch_rows,
        max_rows=config.evaluation.max_rows,
    )

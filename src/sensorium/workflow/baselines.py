"""The baselines beside every run: the majority, each scorer alone, and each input alone.

A scorer alone is the fitted model without the others: what counting, or the network, gave to the mixture.

An input alone is the same model with that one input, trained anew with a share of the run's budget;
what it reaches shows how much the rows can be guessed without the rest.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.corpus import Corpus
from sensorium.evaluation.baselines import majority_metrics
from sensorium.evaluation.registry import load_metric
from sensorium.evaluation.retrieval import judge_chance
from sensorium.evaluation.runner import Evaluation, evaluate
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Finds, GuessesMajority
from sensorium.training.progress import Progress
from sensorium.training.seeding import seed_everything
from sensorium.workflow.budget import reduced_budget
from sensorium.workflow.config import RunConfig
from sensorium.workflow.fitting import fit_model
from sensorium.workflow.prepare import Prepared, Say


@dataclass(frozen=True)
class Baseline:
    """One baseline's result: its rows, metrics, and seconds of fitting."""

    name: str
    num_rows: int
    metrics: dict[str, float]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the plain facts."""
        return {"name": self.name, "rows": self.num_rows, "metrics": self.metrics, "seconds": self.seconds}


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
        metrics = {name: float(load_metric(name)(guesses, test)) for name in task.metrics}
    else:
        targets = (train.target_text(row) for row in range(train.num_rows))
        metrics = majority_metrics(targets, test, task.metrics)
    return Baseline("majority", len(references), metrics, time.perf_counter() - started)


def single_scorer_baseline(config: RunConfig, prepared: Prepared, corpus: Corpus, name: str) -> Baseline:
    """Judge one scorer of the fitted model by itself."""
    result = _judged(config, prepared, prepared.model.scored_by(name), corpus)
    return Baseline(f"{name} alone", result.num_rows, result.metrics, result.seconds)


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
    return Baseline(f"{name} only", result.num_rows, result.metrics, seconds)


def _judged(config: RunConfig, prepared: Prepared, model: MultimodalLM, corpus: Corpus) -> Evaluation:
    return evaluate(
        model,
        prepared.task,
        corpus,
        answers=prepared.answers,
        decoding=config.decoding,
        batch_rows=config.evaluation.batch_rows,
        max_rows=config.evaluation.max_rows,
    )

"""The baselines beside every run: the majority, each scorer alone, and each input alone.

A scorer alone is the fitted model without the others: what counting, or the network, gave to the mixture.

An input alone is the same model with that one input, trained anew with a share of the run's budget;
what it reaches shows how much the rows can be guessed without the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sensorium.data.corpus import Corpus
from sensorium.evaluation.baselines import majority
from sensorium.evaluation.comparable import comparable_by
from sensorium.evaluation.intervals import row_scores
from sensorium.evaluation.paired import Difference, holm, paired_bootstrap
from sensorium.evaluation.retrieval import search_by_chance, summarise
from sensorium.evaluation.runner import Evaluation, judged, requests_of
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Finds, GuessesMajority, Prediction
from sensorium.training.progress import Progress
from sensorium.training.seeding import seed_everything
from sensorium.workflow.budget import reduced_budget
from sensorium.workflow.config import RunConfig
from sensorium.workflow.fitting import fit_model
from sensorium.workflow.judging import judge
from sensorium.workflow.judging_time import BaselinesTime
from sensorium.workflow.prepare import Prepared, Say
from sensorium.workflow.scratch import scratch_run

RESAMPLES = 2_000
"""Of the paired test of each baseline."""


@dataclass(frozen=True)
class Baseline:
    """One baseline's result: its rows, metrics, and each row's score (see `evaluation.intervals.row_scores`).

    Attributes:
        seconds: of fitting what was fitted for it alone; None where nothing was (a part of the run's model, say).
    """

    name: str
    num_rows: int
    metrics: dict[str, float]
    seconds: float | None
    scores: Mapping[Hashable, float] = field(default_factory=dict, repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the plain facts."""
        return {"name": self.name, "rows": self.num_rows, "metrics": self.metrics, "seconds": self.seconds}


def differences(scores: Mapping[Hashable, float], baselines: Sequence[Baseline]) -> list[Difference | None]:
    """Return how much more a model has than each baseline, a row; None where no row was judged by both.

    They are compared on the rows that both were judged on.

    The p values are what so many tests together deserve (Holm).
    """
    tests = [_difference(scores, baseline.scores) for baseline in baselines]
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    return [None if test is None else replace(test, p=next(adjusted)) for test in tests]


def _difference(scores: Mapping[Hashable, float], others: Mapping[Hashable, float]) -> Difference | None:
    rows = [row for row in others if row in scores]
    if not rows:
        return None
    return paired_bootstrap([scores[row] for row in rows], [others[row] for row in rows], num_resamples=RESAMPLES)


def measure_baselines(
    config: RunConfig,
    prepared: Prepared,
    corpus: Corpus,
    *,
    progress: Progress | None,
    say: Say,
    fitting_s: float = math.inf,
    judging_s: float = 0.0,
) -> list[Baseline]:
    """Measure the majority answer, each scorer and each input on `corpus`; none if the config says so.

    Args:
        fitting_s: seconds that fitting took; baselines judge as many of the rows as a share of them suffices for,
            and are compared with the model on those that it has judged, too.
        judging_s: seconds that judging the model took.
    """
    if not config.evaluation.baselines:
        return []
    if isinstance(prepared.task, Finds):
        return [chance_baseline(config, prepared, corpus)]
    found = [majority_baseline(config, prepared, corpus)] if prepared.task.metrics else []
    alone = list(prepared.model.parts) if len(prepared.model.parts) > 1 else []
    only = _inputs_alone(config, prepared, say)
    time_left = BaselinesTime.after(fitting_s, judging_s, len(alone) + len(only))
    for name in alone:
        say(f"baseline: {name} alone")
        found.append(single_scorer_baseline(config, prepared, corpus, name, progress=progress, left=time_left))
    for name in only:
        say(f"baseline: {name} only")
        found.append(single_input_baseline(config, prepared, corpus, name, progress=progress, left=time_left))
    return found


def _inputs_alone(config: RunConfig, prepared: Prepared, say: Say) -> list[str]:
    """Return the inputs that are tried alone."""
    if len(config.model.read_inputs) < 2 or not prepared.model.learns:
        return []
    chosen = config.evaluation.baseline_inputs
    asked = [name for name in config.model.read_inputs if chosen is None or name in chosen]
    for name in asked:
        if not config.model.is_read_alone(name):
            say(f"no baseline of {name} only: every scorer reads other inputs")
    return [name for name in asked if config.model.is_read_alone(name)]


def chance_baseline(config: RunConfig, prepared: Prepared, corpus: Corpus) -> Baseline:
    """Judge an order by chance of what is to be found."""
    rows = np.arange(min(corpus.num_rows, config.evaluation.max_rows or corpus.num_rows))
    directions = search_by_chance(prepared.model, corpus, rows)
    found = Evaluation(prepared.task.name, len(rows), summarise(directions), 0.0, directions=directions)
    return Baseline("chance", len(rows), found.metrics, None, row_scores(found))


def majority_baseline(config: RunConfig, prepared: Prepared, corpus: Corpus) -> Baseline:
    """Judge the most frequent training target as the answer to every request, as the model's answers are judged."""
    task, train, model = prepared.task, prepared.train, prepared.model
    rows = np.arange(min(corpus.num_rows, config.evaluation.max_rows or corpus.num_rows))
    asked = requests_of(task, corpus, rows)
    if isinstance(task, GuessesMajority):
        guesses = task.majority(model, train, corpus, [request[0] for request in asked])
    else:
        comparable = comparable_by(model.tokenizer)
        commonest = majority(comparable(train.target_text(row)) for row in range(train.num_rows))
        guesses = [commonest] * len(asked)
    predictions = [
        (request[0], Prediction(guess, math.nan), [corpus.target_text(row) for row in request])
        for request, guess in zip(asked, guesses, strict=True)
    ]
    comparable, vectors = comparable_by(model.tokenizer), config.word_vectors()
    found = judged(
        task, Evaluation(task.name, len(rows), {}, 0.0, predictions, comparable=comparable, vectors=vectors)
    )
    return Baseline("majority", len(rows), found.metrics, None, row_scores(found))


def single_scorer_baseline(
    config: RunConfig,
    prepared: Prepared,
    corpus: Corpus,
    name: str,
    *,
    progress: Progress | None,
    left: BaselinesTime,
) -> Baseline:
    """Judge one scorer of the fitted model by itself."""
    title = f"judging {name} alone"
    result = _judged(config, prepared, prepared.model.scored_by(name), corpus, title, progress, left)
    return Baseline(f"{name} alone", result.num_rows, result.metrics, None, row_scores(result))


def single_input_baseline(
    config: RunConfig,
    prepared: Prepared,
    corpus: Corpus,
    name: str,
    *,
    progress: Progress | None,
    left: BaselinesTime,
) -> Baseline:
    """Train the same model with one input and a share of the budget, and judge it on the same rows."""
    started = time.perf_counter()
    model_config = config.model.only([name])
    training = reduced_budget(config.training, config.evaluation.baseline_budget)
    alone = config.replace(model=model_config, training=training)
    seed_everything(training.seed)
    model = MultimodalLM(model_config, {name: prepared.model.preparers[name]}, prepared.model.tokenizer)
    model.load_pretrained()
    with scratch_run(f"the baseline '{name} only'") as scratch:
        fit_model(alone, model, prepared.train, prepared.validation, scratch, progress=progress)
    seconds = time.perf_counter() - started
    result = _judged(config, prepared, model, corpus, f"judging {name} only", progress, left)
    return Baseline(f"{name} only", result.num_rows, result.metrics, seconds, row_scores(result))


def _judged(
    config: RunConfig,
    prepared: Prepared,
    model: MultimodalLM,
    corpus: Corpus,
    title: str,
    progress: Progress | None,
    left: BaselinesTime,
) -> Evaluation:
    found = judge(config, prepared, model, corpus, title=title, progress=progress, seconds=left.next())
    left.took(found.seconds)
    return found

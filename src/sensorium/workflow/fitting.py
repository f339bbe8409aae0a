"""Fit one model: count, descend, remember, then weigh the scorers on held-out rows.

Enters: a model that knows its vocabulary, and two corpora.  Leaves: the model fitted, and how long
each way took.  Both a run and its baselines go through here.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus
from sensorium.data.loader import BatchOrder, Loader
from sensorium.evaluation.runner import mean_nll
from sensorium.model.multimodal import MultimodalLM
from sensorium.training.checkpoint import require_same_data
from sensorium.training.config import TrainingConfig
from sensorium.training.console import shown_by, stage, staged
from sensorium.training.loop import FitReport, fit
from sensorium.training.progress import Progress, Stage
from sensorium.workflow.config import PretrainingConfig, RunConfig
from sensorium.workflow.left_out import through_counts
from sensorium.workflow.prepare import cache_folder
from sensorium.workflow.refitting import (
    JoinedLoaders,
    first_budget,
    refit_counts,
    refits,
    second_budget,
    second_run,
)
from sensorium.workflow.teaching_runs import teacher_of
from sensorium.workflow.vectors import begin_with_learned

WORTH_GROUPING = 1.25
"""How many times fewer encodings pay for the poorer shuffling of whole groups."""
TRIED_BATCHES = 8


@dataclass(frozen=True)
class Fitted:
    """How a model was fitted: the loop's report (None if nothing descends), weights, seconds by way."""

    report: FitReport | None
    weights: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def fit_model(
    config: RunConfig,
    model: MultimodalLM,
    train: Corpus,
    validation: Corpus,
    run: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    data: Mapping[str, str] | None = None,
) -> Fitted:
    """Fit `model` by `config.training`; checkpoints go to `run`.  The model is left in evaluation mode.

    Args:
        data: what checkpoints keep of the data, and are not gone on from with another.

    Raises:
        DataError: a resumed run's data has changed.
    """
    if resume:
        require_same_data(run, data or {})
    with shown_by(progress):
        seconds = count(config, model, train, frozenset(model.config.inputs))
    report = None
    if model.learns:
        started = time.perf_counter()
        model.teacher = teacher_of(config, model)
        try:
            report = _descend(config, model, train, validation, run, resume=resume, progress=progress, data=data)
        finally:
            model.through = model.teacher = None
        seconds["training"] = time.perf_counter() - started
    weights, seconds_after = weigh(config, model, train, validation, progress)
    seconds |= seconds_after
    if refits(config.training):
        started = time.perf_counter()
        _refit(config, model, train, validation, run, resume=resume, progress=progress, data=data)
        seconds["refitting"] = time.perf_counter() - started
    return Fitted(report, weights, seconds)


def count(config: RunConfig, model: MultimodalLM, train: Corpus, inputs: frozenset[str]) -> dict[str, float]:
    """Fit what is fitted before anything descends, encoders of `inputs` too; returns the seconds by way."""
    seconds = {}
    started = time.perf_counter()
    if model.parts:
        rows = config.evaluation.batch_rows
        counted = staged(batches(train, rows), -(-train.num_rows // rows), "counting", "batches")
        model.fit_counts(staged(train.targets(), train.num_rows, "counting words"), counted)
    rows = config.training.batch_rows
    once = functools.partial(staged, total=-(-train.num_rows // rows), title="counting media", unit="batches")
    model.fit_encoders(lambda: once(batches(train, rows)), inputs)
    seconds["counting"] = time.perf_counter() - started
    started = time.perf_counter()
    if begin_with_learned(model, train, cache_folder(config), inputs):
        seconds["word vectors"] = time.perf_counter() - started
    if model.learns and config.model.language.train == "through":
        started = time.perf_counter()
        model.through = through_counts(model, train, config.evaluation.batch_rows, config.media)
        seconds["counting by folds"] = time.perf_counter() - started
    return seconds


def rebalance(model: MultimodalLM, train: Corpus, validation: Corpus, batch_rows: int) -> None:
    """Let the weights of inputs follow what they gain and overfit, if the config says so.

    As many training rows are measured as there are validation rows, at equal distances.
    """
    if model.balance is None or not model.balance.adapts or not model.learns:
        return
    num_rows = min(train.num_rows, validation.num_rows)
    row_N = np.linspace(0, train.num_rows - 1, num_rows).astype(np.int64)
    some = (train.batch(row_N[start : start + batch_rows]) for start in range(0, num_rows, batch_rows))
    model.balance.follow(model.losses_by_input(some), model.losses_by_input(batches(validation, batch_rows)))


def weigh(
    config: RunConfig,
    model: MultimodalLM,
    train: Corpus,
    validation: Corpus,
    progress: Progress | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit what is fitted when all has descended; returns the mixture's weights, and the seconds by way."""
    model.eval()
    seconds = {}
    started = time.perf_counter()
    rows = config.evaluation.batch_rows
    with stage(progress, "remembering", "batches") as told:
        remembered = told.over(batches(train, rows), -(-train.num_rows // rows))
        if model.fit_memories(remembered, batches(validation, rows)):
            seconds["memory"] = time.perf_counter() - started
    started = time.perf_counter()
    with stage(progress, "weighing the scorers", "batches") as told:
        weights = fit_weights(model, validation, rows, told)
    seconds["weights"] = time.perf_counter() - started
    return weights, seconds


def _descend(
    config: RunConfig,
    model: MultimodalLM,
    train: Corpus,
    validation: Corpus,
    run: Path,
    *,
    resume: bool,
    progress: Progress | None,
    data: Mapping[str, str] | None,
) -> FitReport:
    rebalance(model, train, validation, config.evaluation.batch_rows)
    with make_loader(config, train) as loader:
        return fit(
            model,
            loader,
            first_budget(config.training),
            run,
            validate=lambda: validate(model, train, validation, config.evaluation.batch_rows),
            resume=resume,
            progress=progress,
            device=device(),
            name_rows=lambda numbers: ", ".join(train.place(number) for number in numbers),
            data=data,
        )


def validate(model: MultimodalLM, train: Corpus, validation: Corpus, batch_rows: int) -> float:
    """Return nats a token; weights that training goes by are fitted anew before."""
    rebalance(model, train, validation, batch_rows)
    if model.through is not None:
        model.fit_weights(batches(validation, batch_rows))
    return mean_nll(model, validation, batch_rows)


def _refit(
    config: RunConfig,
    model: MultimodalLM,
    train: Corpus,
    validation: Corpus,
    run: Path,
    *,
    resume: bool,
    progress: Progress | None,
    data: Mapping[str, str] | None,
) -> None:
    """Fit the parts on training and validation rows; the weights stay.  See `refitting`."""
    if model.learns and config.training.refit_share:
        with make_loader(config, train) as first, make_loader(config, validation) as second:
            fit(
                model,
                JoinedLoaders([first, second], config.training.seed),
                second_budget(config.training),
                second_run(run),
                resume=resume,
                progress=progress,
                device=device(),
                data=data,
            )
        model.eval()
    if config.training.refit_counts:
        refit_counts(model, [train, validation], config.evaluation.batch_rows)


def fit_weights(
    model: MultimodalLM, validation: Corpus, batch_rows: int, told: Stage | None = None
) -> dict[str, float]:
    """Fit the mixture's weights on held-out rows; empty if there is one scorer."""
    if len(model.parts) < 2:
        return {}
    held_out = batches(validation, batch_rows)
    model.fit_weights(held_out if told is None else told.over(held_out, -(-validation.num_rows // batch_rows)))
    return dict(zip(model.parts, model.scorer.weights, strict=True))


def batches(corpus: Corpus, batch_rows: int) -> Iterator[Batch]:
    """Cut a corpus into batches in table order."""
    order = BatchOrder(corpus.num_rows, batch_rows, seed=0, shuffle=False)
    return (corpus.batch(row_N) for row_N in order.batches(0))


def make_loader(config: PretrainingConfig, corpus: Corpus) -> Loader:
    """Load training batches; rows that share a medium travel together, so that it is encoded once."""
    return Loader(corpus, best_order(config.training, corpus), workers=config.training.workers)


def best_order(training: TrainingConfig, corpus: Corpus) -> BatchOrder:
    """Choose by which input's media, if any, rows are grouped: the one that needs the fewest encodings a batch.

    Rows without targets learn from each other, by contrast, and are not grouped: the more media, the more contrast.
    """
    media = [name for name in corpus.inputs if corpus.is_media(name)]

    def order(group: str | None) -> BatchOrder:
        group_N = None if group is None else corpus.group_N(group)
        return BatchOrder(corpus.num_rows, training.batch_rows, training.seed, group_N=group_N)

    def num_encodings(group: str | None) -> int:
        batches = list(itertools.islice(order(group).batches(0), TRIED_BATCHES))
        return sum(len(np.unique(corpus.group_N(name)[row_N])) for name in media for row_N in batches)

    if not corpus.has_targets:
        return order(None)
    ungrouped = num_encodings(None)
    grouped = {name: num_encodings(name) for name in media}
    best = min(grouped, key=lambda name: grouped[name], default=None)
    return order(best if best is not None and grouped[best] * WORTH_GROUPING < ungrouped else None)


def device() -> str:
    """Name the device that models run on."""
    return "cuda" if torch.cuda.is_available() else "cpu"

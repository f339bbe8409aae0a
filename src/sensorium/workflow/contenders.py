"""One contender of a comparison: a fusion, an input alone, or late fusion; fitted with one seed, and judged.

Enters: a RunConfig, who contends, a seed.  Leaves: an `Outcome`: metrics, a score of every row, and the cost.

All contenders see the same rows and the same budget: what late fusion may spend, in seconds, steps or epochs, is
divided among its models, one an input.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sensorium.core.config import Source
from sensorium.data.corpus import Corpus
from sensorium.data.omissions import Omissions
from sensorium.evaluation.intervals import row_scores
from sensorium.model.config_fusion import FusionSection
from sensorium.model.late_fusion import LateFusion
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import num_parameters
from sensorium.model.taking import TakenSection
from sensorium.tasks.task import predict
from sensorium.training.progress import Silent
from sensorium.training.seeding import seed_everything
from sensorium.version import __version__
from sensorium.workflow.baselines import majority_baseline
from sensorium.workflow.budget import budget_share
from sensorium.workflow.config import RunConfig, parse
from sensorium.workflow.fitting import Fitted, fit_model, fit_weights
from sensorium.workflow.judging import judge
from sensorium.workflow.known_data import content_of
from sensorium.workflow.leaks import with_leaks
from sensorium.workflow.prepare import Prepared, prepare
from sensorium.workflow.scratch import scratch_run
from sensorium.workflow.train import judged_corpus

Kind = Literal["fusion", "input", "late"]
LATE = "late fusion"
TIMED_ROWS = 256
TIMED_RUNS = 3


@dataclass(frozen=True)
class Contender:
    """Who takes part: a fusion by its name in the registry, an input by its name, or late fusion."""

    kind: Kind
    of: str

    @property
    def name(self) -> str:
        """Return what tables call it."""
        return {"fusion": self.of, "input": f"{self.of} only", "late": LATE}[self.kind]


@dataclass(frozen=True)
class Outcome:
    """What one contender did with one seed.

    Attributes:
        judged_on: "test" or "validation" rows.
        metrics: by name.
        majority: the same metrics for the commonest training target.
        row_scores: of every judged request, in table order; more is better.
        parameters: how many numbers training changes.
        ms_per_row: milliseconds to answer a row, in batches of up to 256.
        peak_mib: the most memory the process ever held; None where it is shared with other work.
        steps: updates of the weights.
        seconds: of fitting.
        weights: late fusion's exponents, or the scorers' weights.
        left_out: what was left out of the rows, cut or absent, by part.
        notes: how rows were parted, and what is amiss with those that are judged.
    """

    contender: str
    kind: Kind
    seed: int
    judged_on: str
    metrics: dict[str, float]
    majority: dict[str, float]
    row_scores: list[float] = field(repr=False)
    parameters: int
    ms_per_row: float
    peak_mib: float | None
    steps: int
    seconds: float
    weights: dict[str, float]
    left_out: Mapping[str, Omissions] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def facts(self) -> dict[str, Any]:
        """Return plain values, as a file keeps them."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Outcome:
        """Read what a file kept, in which null stands for what is infinite.  Raises TypeError, KeyError."""
        known = {
            key: {name: math.inf if number is None else number for name, number in facts[key].items()}
            for key in ("metrics", "majority")
        }
        left_out = {part: Omissions(**one) for part, one in facts.get("left_out", {}).items()}
        return cls(**{**facts, **known, "left_out": left_out})


UNHEARD = ("baselines", "baseline_budget", "baseline_inputs", "report")
"""Keys of [evaluation] that a contender is not asked about; all others decide what is measured."""


def key_of(config: RunConfig, contender: Contender, seed: int, content: Mapping[str, str] | None = None) -> str:
    """Name this very measurement: equal keys mean equal config, metrics, content, contender and seed.

    Paths count as they stand to the config's folder, so that results move with it.

    Args:
        content: of all that the config names, as `content_of`, which None asks.
    """
    values = _with_fusion(config, contender.of).dump() if contender.kind == "fusion" else config.dump()
    values["training"]["seed"] = seed
    del values["run"]
    values["evaluation"] = {k: v for k, v in values["evaluation"].items() if k not in UNHEARD}
    if contender.kind != "fusion":  # fusions have no say in a model of one input
        values["fusion"] = {k: v for k, v in values["fusion"].items() if k == "width" or k.startswith("input_")}
    values["data"].pop("cache", None)
    named = _relative(values, config.folder)
    content = content_of(config) if content is None else content
    facts = [__version__, contender.kind, contender.of, named, dict(content)]
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:24]


def _relative(value: Any, folder: Path) -> Any:
    """Let every path in nested values, such as 'folder:/a/b' or 'run:/a/b#photo', start at `folder`."""
    if isinstance(value, Mapping):
        return {key: _relative(one, folder) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_relative(one, folder) for one in value]
    if not isinstance(value, str):
        return value
    start = 0 if value.startswith("/") else value.find(":/") + 1
    is_path = value.startswith("/", start)
    return value[:start] + os.path.relpath(value[start:], folder) if is_path else value


def measure(config: RunConfig, contender: Contender, seed: int, *, own_process: bool = False) -> Outcome:
    """Fit the contender and judge it on the run's test (else validation) rows.

    Raises:
        DataError, ModelError, OutOfMemoryError: as their names say.
    """
    is_first = seed == config.training.seed  # all seeds have the same rows
    config = config.replace(training=config.training.model_copy(update={"seed": seed, "checkpoint_every": None}))
    if contender.kind == "fusion":
        config = _with_fusion(config, contender.of)
    prepared = prepare(config)
    corpus, judged_on = judged_corpus(prepared)
    started = time.perf_counter()
    model, fits, weights = _fitted(config, contender, prepared)
    seconds = time.perf_counter() - started
    evaluation = judge(config, prepared, model, corpus, title=f"judging {contender.name}")
    return Outcome(
        contender=contender.name,
        kind=contender.kind,
        seed=seed,
        judged_on=judged_on,
        metrics=evaluation.metrics,
        majority=majority_baseline(config, prepared, corpus).metrics if prepared.task.metrics else {},
        row_scores=list(row_scores(evaluation).values()),
        parameters=num_parameters(model),
        ms_per_row=_ms_per_row(config, prepared, model, corpus),
        peak_mib=peak_mib() if own_process else None,
        steps=sum(fitted.report.num_steps for fitted in fits if fitted.report is not None),
        seconds=seconds,
        weights=weights,
        left_out=prepared.omissions,
        notes=list(with_leaks(config, prepared).notes) if is_first else (),  # after what it takes was measured
    )


def _fitted(
    config: RunConfig, contender: Contender, prepared: Prepared
) -> tuple[MultimodalLM, list[Fitted], dict[str, float]]:
    if contender.kind == "fusion":
        fitted = _fit(config, prepared.model, prepared)
        return prepared.model, [fitted], fitted.weights
    if contender.kind == "input":
        model, fitted = _single(config, contender.of, prepared)
        return model, [fitted], fitted.weights
    names = list(config.model.inputs)
    training = budget_share(config.training, 1 / len(names))
    singles = {name: _single(config.replace(training=training), name, prepared) for name in names}
    late = LateFusion({name: model for name, (model, _) in singles.items()}).eval()
    weights = fit_weights(late, prepared.validation, config.evaluation.batch_rows)
    return late, [fitted for _, fitted in singles.values()], weights


def _single(config: RunConfig, name: str, prepared: Prepared) -> tuple[MultimodalLM, Fitted]:
    alone = config.replace(model=config.model.only([name]))
    seed_everything(config.training.seed)
    model = MultimodalLM(alone.model, {name: prepared.model.preparers[name]}, prepared.model.tokenizer)
    model.load_pretrained()
    return model, _fit(alone, model, prepared)


def _fit(config: RunConfig, model: MultimodalLM, prepared: Prepared) -> Fitted:
    with scratch_run("a contender") as scratch:
        return fit_model(config, model, prepared.train, prepared.validation, scratch, progress=Silent())


def _with_fusion(config: RunConfig, name: str) -> RunConfig:
    """Return the same run with another fusion; its own options and weights only if the config is about that one."""
    values = config.dump()
    if name != values["fusion"]["features"]:
        kept = FusionSection.model_fields.keys() - TakenSection.model_fields.keys()
        values["fusion"] = {k: v for k, v in values["fusion"].items() if k in kept}
    values["fusion"]["features"] = name
    return parse_again(values, config.folder, config.name)


def parse_again(values: Mapping[str, Any], folder: Path, name: str) -> RunConfig:
    """Read what a config of one task, or of one of several, wrote out: settings of other tasks are let be."""
    return parse(values, Source(), folder=folder, name=name, is_only_task=False)


def _ms_per_row(config: RunConfig, prepared: Prepared, model: MultimodalLM, corpus: Corpus) -> float:
    batch = corpus.batch(np.arange(min(corpus.num_rows, TIMED_ROWS)))
    decoding, fastest = config.decoding.among(model.parts), float("inf")
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        predict(model, batch, prepared.answers, decoding, prepared.task)
        fastest = min(fastest, time.perf_counter() - started)
    return 1000 * fastest / max(batch.num_rows, 1)


def peak_mib() -> float | None:
    """Return the most memory this process has held so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10

"""Train, judge and show the demo model.

Enters: nothing but the `demo` extra.  Leaves: a run folder, and `DemoReport` with a line for every way
of asking: nothing at all (majority), one input alone, typed, spoken, both.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.types import Media
from sensorium.data.corpus import Corpus
from sensorium.evaluation.runner import evaluate
from sensorium.tasks.task import Prediction
from sensorium.training.progress import Progress
from sensorium.workflow.config import RunConfig, config_from_text
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.prepare import Say
from sensorium.workflow.train import RunResult, judged_corpus, train

ASKED = {"typed": ("photo", "question"), "spoken": ("photo", "speech"), "both": ("photo", "question", "speech")}
NUM_SAMPLES = 6


@dataclass(frozen=True)
class Line:
    """One row of the demo's table."""

    name: str
    num_rows: int
    accuracy: float
    seconds: float | None


@dataclass(frozen=True)
class Sample:
    """One test row, asked in one way, and what the model said."""

    inputs: dict[str, str]
    expected: str
    prediction: Prediction


@dataclass(frozen=True)
class DemoReport:
    """What the demo shows."""

    run: Path
    lines: list[Line]
    samples: list[Sample]
    result: RunResult

    def summary(self) -> dict[str, Any]:
        """Return the plain facts."""
        return {
            "run": str(self.run),
            "task": self.result.evaluation.task,
            "table": [
                {"name": line.name, "rows": line.num_rows, "accuracy": line.accuracy, "seconds": line.seconds}
                for line in self.lines
            ],
            "samples": [
                {
                    "inputs": sample.inputs,
                    "expected": sample.expected,
                    "text": sample.prediction.text,
                    "probability": sample.prediction.probability,
                }
                for sample in self.samples
            ],
        }


def demo_config(folder: Path, seconds: float | None = None) -> RunConfig:
    """Return the demo's config; speech and caches are kept under `folder`."""
    text = (files("sensorium.demo") / "demo.toml").read_text(encoding="utf-8")
    config = config_from_text(text, folder, "demo.toml")
    if seconds is None:
        return config
    return config.replace(training=config.training.model_copy(update={"seconds": seconds}))


def run_demo(
    *, out: Path | None = None, seconds: float | None = None, progress: Progress | None = None, say: Say
) -> DemoReport:
    """Train the demo model, and judge it in every way of asking.

    Raises:
        MissingExtraError: the `demo` extra is not installed.
    """
    say("speaking the questions and reading easy-VQA ...")
    result = train(demo_config(Path(), seconds), out=out, progress=progress, say=say)
    corpus, _ = judged_corpus(result.prepared)
    training_s = sum(result.fitted.seconds.values())
    lines = [Line(b.name, b.num_rows, b.metrics["accuracy"], b.seconds) for b in result.baselines]
    for name, inputs in ASKED.items():
        if name == "both":
            measured = result.evaluation
        else:
            say(f"judging: {name}")
            measured = _judge(result, corpus, frozenset(inputs))
        lines.append(Line(name, measured.num_rows, measured.metrics["accuracy"], training_s))
    return DemoReport(result.run, lines, _samples(result, corpus), result)


def _judge(result: RunResult, corpus: Corpus, only: frozenset[str]) -> Any:
    prepared = result.prepared
    return evaluate(
        prepared.model,
        prepared.task,
        corpus,
        answers=prepared.answers,
        decoding=result.decoding,
        only=only,
    )


def _samples(result: RunResult, corpus: Corpus) -> list[Sample]:
    """Ask six rows spread over the test part: two typed, two spoken, two both."""
    prepared = result.prepared
    predictor = Predictor(prepared.model, prepared.answers, result.decoding)
    rows = np.linspace(0, corpus.num_rows - 1, NUM_SAMPLES + 2).astype(int)[1:-1]
    ways = [inputs for inputs in ASKED.values() for _ in range(NUM_SAMPLES // len(ASKED))]
    found = []
    for row, way in zip(rows.tolist(), ways, strict=True):
        sample = corpus.sample(row)
        given = {name: sample.inputs[name] for name in way}
        shown = {name: str(item.path) if isinstance(item, Media) else str(item) for name, item in given.items()}
        found.append(Sample(shown, sample.target or "", predictor.predict([given])[0]))
    return found

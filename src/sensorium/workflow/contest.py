"""Several models of the same task, measured on the same rows: size, speed at batch 1, quality.

Enters: models that answer, each with the rows as it prepares them.  Leaves: a `Measured` for each.

Speed is what one row takes from prepared values to text, decoded as configured: encoders, fusion, scorers, search.
The contestants take turns row by row, so that whatever else the machine does falls on all of them, and the median
over rows is taken of each row's quickest turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus
from sensorium.data.quarantine import Quarantine
from sensorium.evaluation.runner import evaluate, requests
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.registry import judged_by
from sensorium.tasks.task import Finds, predict
from sensorium.training.console import stage
from sensorium.workflow.config import RunConfig
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.prepare import build_corpus, open_parts

TIMED_ROWS = 20
TURNS = 5


@dataclass(frozen=True)
class Contestant:
    """One model and the rows it is judged on.

    Attributes:
        name: how it is called in the table.
        size: bytes of all its weights, and of those that were learned by gradient.
        answers_rows: whether its task can be asked row by row.
    """

    name: str
    predictor: Predictor
    config: RunConfig
    corpus: Corpus
    size: tuple[int, int]
    folder: Path
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, predictor: Predictor, config: RunConfig, *, size: tuple[int, int], folder: Path
    ) -> Contestant:
        """Prepare the run's test, else validation, rows, from the media themselves.  Raises DataError."""
        whole = Predictor(
            predictor.model.thawed(), predictor.answers, predictor.decoding, lessons=predictor.lessons
        )
        return cls(name, whole, config, judged_rows(config, whole), size, folder)

    def answered_by(
        self, name: str, model: MultimodalLM, *, size: tuple[int, int], folder: Path, notes: Mapping[str, Any]
    ) -> Contestant:
        """Return another model's contestant, for the same rows, prepared the same way."""
        own = self.predictor
        predictor = Predictor(model, own.answers, own.decoding, lessons=own.lessons)
        return Contestant(name, predictor, self.config, self.corpus, size, folder, notes)

    def answer(self, batch: Batch) -> None:
        """Do what one request asks for."""
        model, task = self.predictor.model, self.predictor.task
        with torch.inference_mode():
            if isinstance(task, Finds):
                model.encode_all(batch.to(model.device))
            else:
                predict(model, batch, self.predictor.answers, self.predictor.decoding, task)

    def request(self, number: int) -> Batch:
        """Return one row as a batch."""
        return self.corpus.batch(np.array([number]))


def judged_rows(config: RunConfig, predictor: Predictor) -> Corpus:
    """Prepare a run's test, else validation, rows for its model.  Raises DataError."""
    quarantine = Quarantine(config.data.max_bad_fraction)
    parts = open_parts(config, quarantine)
    part = parts.get("test", parts["validation"])
    return build_corpus(config, predictor.model, part, quarantine=quarantine)


@dataclass(frozen=True)
class Measured:
    """What was measured of one model.

    Attributes:
        name: how it is called.
        megabytes: of all weights, 10^6 bytes.
        learned_megabytes: of those that gradients made; what was counted is the rest.
        ms_a_row: median, one row at a time.
        metrics: by name, as `sensorium evaluate` gives them.
        same: share of the judged requests that it answers with the first contestant's very text; None where rows
            are found, not answered.
        folder: where it is.
    """

    name: str
    megabytes: float
    learned_megabytes: float
    ms_a_row: float
    metrics: dict[str, float]
    same: float | None
    folder: str
    notes: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def measure(contestants: Sequence[Contestant], *, max_rows: int | None = None) -> list[Measured]:
    """Judge and time every contestant, the first being what the others are compared with."""
    times = _times(contestants)
    judged = [_judge(contestant, max_rows) for contestant in contestants]
    first = judged[0][1]
    return [
        Measured(
            contestant.name,
            contestant.size[0] / 1e6,
            contestant.size[1] / 1e6,
            times[contestant.name],
            metrics,
            _same(texts, first),
            str(contestant.folder),
            dict(contestant.notes),
        )
        for contestant, (metrics, texts) in zip(contestants, judged, strict=True)
    ]


def _judge(contestant: Contestant, max_rows: int | None) -> tuple[dict[str, float], dict[str, str]]:
    config, predictor = contestant.config, contestant.predictor
    task = predictor.task
    with stage(None, "judging") as advance:
        found = evaluate(
            predictor.model,
            task if isinstance(task, Finds) else judged_by(task, config.evaluation.metrics),
            contestant.corpus,
            answers=predictor.answers,
            decoding=predictor.decoding,
            batch_rows=config.evaluation.batch_rows,
            max_rows=config.evaluation.max_rows if max_rows is None else max_rows,
            vectors=config.word_vectors(),
            advance=advance,
        )
    rows = [contestant.corpus.where(row) for row, _, _ in found.predictions]
    texts = dict(zip(rows, found.said, strict=True))
    return found.metrics, texts


def _same(texts: Mapping[str, str], first: Mapping[str, str]) -> float | None:
    both = texts.keys() & first.keys()
    return sum(texts[row] == first[row] for row in both) / len(both) if both else None


def _times(contestants: Sequence[Contestant]) -> dict[str, float]:
    """Return each contestant's milliseconds a row."""
    num_rows = min(contestant.corpus.num_rows for contestant in contestants)
    rows = np.arange(min(num_rows, 50 * TIMED_ROWS))
    numbers = [request[0] for request in requests(contestants[0].corpus, rows)[:TIMED_ROWS]]
    best: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:  # whatever is made when a model is first asked
        contestant.answer(contestant.request(numbers[0]))
    for number in numbers:
        batches = [contestant.request(number) for contestant in contestants]
        quickest = [float("inf")] * len(contestants)
        for _ in range(TURNS):
            for k, (contestant, batch) in enumerate(zip(contestants, batches, strict=True)):
                started = time.perf_counter()
                contestant.answer(batch)
                quickest[k] = min(quickest[k], time.perf_counter() - started)
        for contestant, seconds in zip(contestants, quickest, strict=True):
            best[contestant.name].append(1000 * seconds)
    return {name: statistics.median(values) for name, values in best.items()}

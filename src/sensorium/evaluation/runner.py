"""Run a model over a corpus and judge it by its task's metrics.

Enters: a model, its task, a corpus.  Leaves: an `Evaluation`: metrics, predictions, seconds.
Rows are decoded in table order; where a task has many references, rows with equal inputs are one
request and their targets its references.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from sensorium.core.errors import DataError
from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus
from sensorium.data.word_vectors import WordVectors
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.registry import VECTOR_METRICS, load_metric
from sensorium.evaluation.retrieval import judge
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Finds, Prediction, Task, predict

Item = TypeVar("Item")


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        task: the task's name.
        num_rows: rows judged (each reference counts as a row).
        metrics: values by name; accuracies and F1 in 0..1, BLEU in 0..100, perplexity >= 1.
        seconds: wall time of decoding and scoring.
        predictions: one a judged request, beside its references and row index.
    """

    task: str
    num_rows: int
    metrics: dict[str, float]
    seconds: float
    predictions: list[tuple[int, Prediction, list[str]]] = field(default_factory=list, repr=False)


def evaluate(
    model: MultimodalLM,
    task: Task,
    corpus: Corpus,
    *,
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
    batch_rows: int = 512,
    max_rows: int | None = None,
    only: frozenset[str] | None = None,
    vectors: WordVectors | None = None,
) -> Evaluation:
    """Decode and judge every row of `corpus`, or its first `max_rows`.

    Args:
        task: one without metrics is judged by perplexity alone, and nothing is decoded.
        only: hide all inputs but these (to see what a subset of modalities gives).
        vectors: of words; texts are then judged by their similarity too.

    A task that finds rows, rather than writing, is judged by `retrieval.judge`.

    Raises:
        DataError: there are no rows.
    """
    started = time.perf_counter()
    rows = np.arange(corpus.num_rows if max_rows is None else min(max_rows, corpus.num_rows))
    if not len(rows):
        raise DataError("no rows to evaluate")
    model.eval()
    if isinstance(task, Finds):
        metrics = judge(model, corpus, rows, batch_rows, only=only)
        return Evaluation(task.name, len(rows), metrics, time.perf_counter() - started)
    asked = requests(corpus, rows) if task.many_references else [[int(row)] for row in rows]
    outcome: list[tuple[int, Prediction, list[str]]] = []
    nll, num_tokens = 0.0, 0
    for chunk in _chunks(asked if task.metrics else [], batch_rows):
        first = np.array([request[0] for request in chunk])
        batch = _restrict(corpus.batch(first), only)
        predictions = predict(model, batch, answers, decoding, task)
        request_of = {corpus.row_number(request[0]): request for request in chunk}
        for number, prediction in zip(batch.row_id_B.tolist(), predictions, strict=True):
            request = request_of[number]  # rows that could not be decoded are quarantined, and not here
            outcome.append((request[0], prediction, [corpus.target_text(row) for row in request]))
    for chunk_rows in _chunks(list(rows), batch_rows):
        batch = _restrict(corpus.batch(np.array(chunk_rows)), only)
        total, count = likelihood(model, batch)
        nll, num_tokens = nll + total, num_tokens + count
    metrics = _judge(task, outcome, vectors)
    metrics["perplexity"] = math.exp(min(nll / max(num_tokens, 1), 700.0))
    return Evaluation(task.name, len(rows), metrics, time.perf_counter() - started, outcome)


def likelihood(model: MultimodalLM, batch: Batch) -> tuple[float, int]:
    """Return the batch's total negative log-likelihood in nats, and its number of tokens."""
    with torch.inference_mode():
        nll_B, num_tokens_B = model.losses(batch)
    return float(nll_B.double().sum()), int(num_tokens_B.sum())


def mean_nll(model: MultimodalLM, corpus: Corpus, batch_rows: int = 512) -> float:
    """Return nats per token over the corpus: the validation loss."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for chunk in _chunks(list(range(corpus.num_rows)), batch_rows):
        nll, num_tokens = likelihood(model, corpus.batch(np.array(chunk)))
        total, count = total + nll, count + num_tokens
    model.train(was_training)
    return total / max(count, 1)


def _judge(
    task: Task, outcome: list[tuple[int, Prediction, list[str]]], vectors: WordVectors | None
) -> dict[str, float]:
    texts = [prediction.text for _, prediction, _ in outcome]
    if task.many_references:
        references: list[list[str]] | list[str] = [refs for _, _, refs in outcome]
    else:
        references = [refs[0] for _, _, refs in outcome]
    names = [*task.metrics, *(VECTOR_METRICS if task.metrics and vectors is not None else ())]
    return {name: float(load_metric(name, vectors)(texts, references)) for name in names}


def requests(corpus: Corpus, rows: np.ndarray) -> list[list[int]]:
    """Group rows with equal inputs: one request each, with as many references."""
    key_RK = np.stack([corpus.group_N(name)[rows] for name in corpus.inputs], axis=1)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, key in zip(rows.tolist(), map(tuple, key_RK.tolist()), strict=True):
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _restrict(batch: Batch, only: frozenset[str] | None) -> Batch:
    return batch if only is None else batch.only(only)


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

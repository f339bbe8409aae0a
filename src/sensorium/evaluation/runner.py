"""Run a model over a corpus and judge it by its task's metrics.

Enters: a model, its task, a corpus.  Leaves: an `Evaluation`: metrics, predictions, seconds.
Rows are decoded in table order; where a task has many references, rows with equal inputs are one
request and their targets its references.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch

from sensorium.core.errors import DataError
from sensorium.core.logspace import possible_total
from sensorium.core.memory import WHILE_JUDGING, named_memory_errors
from sensorium.core.types import Batch
from sensorium.data.corpus import Corpus
from sensorium.data.omissions import Omissions, rows_asked
from sensorium.data.word_vectors import WordVectors
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.answered import Advance, Outcome, answer_and_score
from sensorium.evaluation.comparable import Comparable, comparable_by
from sensorium.evaluation.metrics import perplexity
from sensorium.evaluation.registry import VECTOR_METRICS, load_metric, split_name
from sensorium.evaluation.retrieval import Direction, search, summarise
from sensorium.evaluation.unseen_labels import KnownLabels
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Finds, Task

log = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        task: the task's name.
        num_rows: rows judged (each reference counts as a row).
        metrics: values by name; accuracies, F1, METEOR and ROUGE in 0..1, BLEU in 0..100, CIDEr in 0..10,
            perplexity >= 1.
        seconds: wall time of decoding and scoring.
        predictions: one a judged request, beside its references and row index.
        directions: of a task that finds, every input that searched another.
        likelihoods: by the row's number in its table, its negative log-likelihood in nats, and its tokens.
        comparable: gives a text the form in which it is judged.
        vectors: of words, by which texts were judged, too.
        left_out: what was left out of the rows, cut or absent.
        rows: which of the corpus were asked about; empty = the first `num_rows`.
        num_unjudged: rows that there was no time for.
        notes: what is to be known of the judged rows, such as labels that training never had.
    """

    task: str
    num_rows: int
    metrics: dict[str, float]
    seconds: float
    predictions: Outcome = field(default_factory=list, repr=False)
    directions: list[Direction] = field(default_factory=list, repr=False)
    likelihoods: Mapping[int, tuple[float, int]] = field(default_factory=dict, repr=False)
    comparable: Comparable = field(default=str, repr=False)
    vectors: WordVectors | None = field(default=None, repr=False)
    left_out: Omissions = field(default_factory=Omissions)
    rows: Sequence[int] = field(default=(), repr=False)
    num_unjudged: int = 0
    notes: Sequence[str] = ()

    @functools.cached_property
    def said(self) -> list[str]:
        """Return what was predicted, in the form in which it is judged."""
        return [self.comparable(prediction.text) for _, prediction, _ in self.predictions]

    @functools.cached_property
    def right(self) -> list[list[str]]:
        """Return the references of each prediction, in the form in which they are judged."""
        return [[self.comparable(text) for text in references] for _, _, references in self.predictions]

    @property
    def tokenize(self) -> dict[str, str]:
        """Return by metric how texts were split, for those that compare texts; see `registry.split_name`."""
        return {name: split_name(name) for name in self.metrics} if self.predictions else {}


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
    advance: Advance | None = None,
    seconds: float | None = None,
) -> Evaluation:
    """Decode and judge every row of `corpus`, or its first `max_rows`.

    Args:
        task: one without metrics is judged by perplexity alone, and nothing is decoded.
        only: hide all inputs but these (to see what a subset of modalities gives).
        vectors: of words; texts are then judged by their similarity too.
        advance: told how many rows of how many are done.
        seconds: how long it may take; where all rows would take longer, as many are judged as fit, which are drawn
            without looking at them.  The result says of how many it is.

    A task that finds rows, rather than writing, is judged by `retrieval.search`.

    Raises:
        DataError: there are no rows.
        UsageError: `max_rows` is below 1.
    """
    return evaluate_patterns(
        model,
        task,
        corpus,
        [frozenset(corpus.inputs) if only is None else only],
        answers=answers,
        decoding=decoding,
        batch_rows=batch_rows,
        max_rows=max_rows,
        vectors=vectors,
        advance=advance,
        seconds=seconds,
    )[0]


def evaluate_patterns(
    model: MultimodalLM,
    task: Task,
    corpus: Corpus,
    patterns: Sequence[frozenset[str]],
    *,
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
    batch_rows: int = 512,
    max_rows: int | None = None,
    vectors: WordVectors | None = None,
    advance: Advance | None = None,
    seconds: float | None = None,
) -> list[Evaluation]:
    """Judge the same rows once for each pattern, the set of inputs that are shown; else as `evaluate`.

    The patterns of a row stand in one batch, so that a medium is encoded once for all of them.  The seconds of a
    result are each pattern's equal share of the time.

    Args:
        seconds: see `evaluate`.
    """
    started = time.perf_counter()
    rows = np.arange(rows_asked(max_rows, corpus.num_rows))
    if not len(rows):
        raise DataError("no rows to evaluate")
    model.eval()
    if isinstance(task, Finds):
        return [_judge_finding(model, task, corpus, rows, batch_rows, pattern) for pattern in patterns]
    tallies = answer_and_score(
        model,
        task,
        corpus,
        requests_of(task, corpus, rows) if task.metrics else [[int(row)] for row in rows],
        patterns,
        answers=answers,
        decoding=decoding,
        batch_rows=batch_rows,
        advance=advance,
        seconds=seconds,
    )
    share_s = (time.perf_counter() - started) / len(patterns)
    labels = KnownLabels.by(task, model.tokenizer, answers)
    whole = Evaluation(task.name, 0, {}, share_s, comparable=comparable_by(model.tokenizer), vectors=vectors)
    whole = _of_rows(whole, corpus, len(rows), tallies[0].rows, labels)
    return [judged(task, replace(whole, predictions=t.outcome, likelihoods=t.likelihoods)) for t in tallies]


def _of_rows(
    evaluation: Evaluation, corpus: Corpus, num_asked: int, rows: Sequence[int], labels: KnownLabels | None
) -> Evaluation:
    """Say which rows of those asked for are judged, and what is amiss with them."""
    num_unjudged = num_asked - len(rows)
    return replace(
        evaluation,
        num_rows=len(rows),
        left_out=corpus.left_out.beyond(num_asked, corpus.num_rows).unjudged(num_unjudged),
        rows=rows,
        num_unjudged=num_unjudged,
        notes=_notes(labels, corpus, rows),
    )


def _notes(labels: KnownLabels | None, corpus: Corpus, rows: Sequence[int]) -> list[str]:
    note = "" if labels is None else labels.unseen_note(map(corpus.target_text, rows))
    return [note] if note else []


def judged(task: Task, evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with the metrics of its texts, and of its likelihoods where they were measured."""
    extra = VECTOR_METRICS if task.metrics and evaluation.vectors is not None else ()
    metrics = {
        name: float(load_metric(name, evaluation.vectors)(evaluation.said, evaluation.right))
        for name in dict.fromkeys([*task.metrics, *extra])
    }
    if evaluation.likelihoods:
        nll_N, num_tokens_N = zip(*evaluation.likelihoods.values(), strict=True)
        metrics["perplexity"] = perplexity(nll_N, num_tokens_N)
    return replace(evaluation, metrics=metrics)


def _judge_finding(
    model: MultimodalLM, task: Task, corpus: Corpus, rows: np.ndarray, batch_rows: int, pattern: frozenset[str]
) -> Evaluation:
    started = time.perf_counter()
    directions = search(model, corpus, rows, batch_rows, only=pattern)
    seconds = time.perf_counter() - started
    left_out = corpus.left_out.beyond(len(rows), corpus.num_rows)
    return Evaluation(
        task.name,
        len(rows),
        summarise(directions),
        seconds,
        directions=directions,
        left_out=left_out,
        rows=rows.tolist(),
    )


def likelihood(model: MultimodalLM, batch: Batch) -> tuple[float, int, int]:
    """Return the batch's total negative log-likelihood in nats, its tokens, and how many rows were left out.

    Rows that the model rules out are, as in training: those whose frames are too few to spell their text.
    """
    with torch.inference_mode():
        nll_B, num_tokens_B = model.losses(batch)
    total, num_tokens, num_impossible = possible_total(nll_B, num_tokens_B)
    return float(total), int(num_tokens), int(num_impossible)


def mean_nll(model: MultimodalLM, corpus: Corpus, batch_rows: int = 512) -> float:
    """Return nats per token over the corpus, the validation loss; infinite where every row is ruled out."""
    was_training = model.training
    model.eval()
    total, count, num_impossible = 0.0, 0, 0
    for chunk in _chunks(list(range(corpus.num_rows)), batch_rows):
        with named_memory_errors(batch_rows, WHILE_JUDGING):
            nll, num_tokens, num_left_out = likelihood(model, corpus.batch(np.array(chunk)))
        total, count, num_impossible = total + nll, count + num_tokens, num_impossible + num_left_out
    model.train(was_training)
    if num_impossible:
        log.warning(
            "validation: %d of %d rows have a text that the model rules out (more tokens than its frames can "
            "spell); they are left out",
            num_impossible, corpus.num_rows,
        )  # fmt: skip
    return math.inf if num_impossible and not count else total / max(count, 1)


def requests_of(task: Task, corpus: Corpus, rows: np.ndarray) -> list[list[int]]:
    """Return the rows of each request that a task is judged by; the first of each is asked, all are references."""
    return requests(corpus, rows) if task.many_references else [[int(row)] for row in rows]


def requests(corpus: Corpus, rows: np.ndarray) -> list[list[int]]:
    """Group rows with equal inputs: one request each, with as many references."""
    key_RK = np.stack([corpus.group_N(name)[rows] for name in corpus.inputs], axis=1)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, key in zip(rows.tolist(), map(tuple, key_RK.tolist()), strict=True):
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

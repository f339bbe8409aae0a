"""Answer and score rows, batch by batch: each batch is conditioned once for both.

Enters: a model, its task, requests as lists of rows with equal inputs, and the patterns under which they are shown.
Leaves: a `Tally` a pattern.  A batch is as large as the caller wants, or as its texts let it be: what a search
holds is rows x paths x words.  Where all would take longer than they may, as many
requests are done as fit, drawn without looking at them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sensorium.core.memory import WHILE_JUDGING, named_memory_errors
from sensorium.core.pytree import select
from sensorium.core.types import Batch, Conditioning
from sensorium.data.corpus import Corpus
from sensorium.decoding.config import DecodingConfig
from sensorium.language import pieces
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Prediction, Task, predict

Advance = Callable[[int, int], None]
"""Told now and then how many rows of how many are done."""

Outcome = list[tuple[int, Prediction, list[str]]]
"""Each request's first row, what was answered, and its references."""


@dataclass
class Tally:
    """What one pattern gave, in table order.

    Attributes:
        outcome: answers.
        likelihoods: by row number the target's negative log-likelihood (nats), and its tokens.
        rows: the rows that were asked about, unreadable ones included.
    """

    outcome: Outcome = field(default_factory=list)
    likelihoods: dict[int, tuple[float, int]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)

    def in_order(self) -> Tally:
        """Return the same in table order."""
        return Tally(
            sorted(self.outcome, key=lambda one: one[0]), dict(sorted(self.likelihoods.items())), sorted(self.rows)
        )


def answer_and_score(
    model: MultimodalLM,
    task: Task,
    corpus: Corpus,
    requests: Sequence[Sequence[int]],
    patterns: Sequence[frozenset[str]],
    *,
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
    batch_rows: int,
    advance: Advance | None = None,
    seconds: float | None = None,
) -> list[Tally]:
    """Answer each request under each pattern, and score every row's target; a task without metrics only scores.

    Rows that could not be decoded are quarantined, and neither answered nor scored.

    Args:
        advance: told how many rows of how many are done.
        seconds: how long it may take.  Where all rows would take longer, those of as many requests as fit are done,
            one at least, under all patterns the same; who is asked so is drawn alike whatever the model.

    Raises:
        OutOfMemoryError: a batch does not fit.
    """
    tallies = [Tally() for _ in patterns]
    size = max(1, batch_rows // len(patterns))
    if task.metrics:
        most = pieces.MOST_NUMBERS // (len(model.vocab) * (1 if answers else decoding.paths_per_row))
        size = max(1, min(size, most // len(patterns)))
    total, done = sum(map(len, requests)), 0
    for chunk in _chunks(requests, size) if seconds is None else _chunks_in_time(requests, size, seconds):
        rows = [row for request in chunk for row in request]
        with torch.inference_mode(), named_memory_errors(batch_rows, WHILE_JUDGING):
            _take(tallies, model, task, corpus, chunk, patterns, answers, decoding)
        done += len(rows)
        for tally in tallies:
            tally.rows += rows
        if advance is not None:
            advance(done, total)
    return [tally.in_order() for tally in tallies]


def _take(
    tallies: Sequence[Tally],
    model: MultimodalLM,
    task: Task,
    corpus: Corpus,
    requests: Sequence[Sequence[int]],
    patterns: Sequence[frozenset[str]],
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
) -> None:
    """Add one batch of requests to the tallies."""
    rows = [row for request in requests for row in request]
    batch = corpus.batch(np.array(rows))
    if not batch.num_rows:
        return
    shown = batch.under(patterns)
    cond = model.condition(shown)
    nll_B, num_tokens_B = model.judged(shown, cond)
    pairs, numbers = list(zip(nll_B.double().tolist(), num_tokens_B.tolist(), strict=True)), batch.row_id_B.tolist()
    for p, tally in enumerate(tallies):
        tally.likelihoods.update(zip(numbers, pairs[p * len(numbers) : (p + 1) * len(numbers)], strict=True))
    if not task.metrics:
        return
    row_of = {corpus.row_number(row): row for row in rows}
    place = {row_of[number]: i for i, number in enumerate(batch.row_id_B.tolist())}
    met = [(request, [place[row] for row in request if row in place][:1]) for request in requests]
    asked = [(request, places[0]) for request, places in met if places]
    row_R = torch.tensor([p * batch.num_rows + i for p in range(len(patterns)) for _, i in asked])
    found = _answer(model, shown, cond, row_R, answers, decoding, task)
    for p, tally in enumerate(tallies):
        own = found[p * len(asked) : (p + 1) * len(asked)]
        for (request, _), prediction in zip(asked, own, strict=True):
            tally.outcome.append((request[0], prediction, [corpus.target_text(row) for row in request]))


def _answer(
    model: MultimodalLM,
    batch: Batch,
    cond: Conditioning,
    row_R: torch.Tensor,
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
    task: Task,
) -> list[Prediction]:
    """Answer some rows of a batch from what it was conditioned on."""
    if len(row_R) < batch.num_rows:
        batch, cond = batch.rows(row_R), select(cond, row_R.to(cond.memory.present_B.device))
    return predict(model.given(batch, cond), batch, answers, decoding, task, exact=False)


def _chunks(requests: Sequence[Sequence[int]], most: int) -> Iterator[Sequence[Sequence[int]]]:
    """Cut requests into runs of at most `most` rows, a request at least."""
    start = 0
    while start < len(requests):
        chunk = _first(requests, start, most)
        start += len(chunk)
        yield chunk


def _chunks_in_time(
    requests: Sequence[Sequence[int]], most: int, seconds: float, now: Callable[[], float] = time.perf_counter
) -> Iterator[Sequence[Sequence[int]]]:
    """Cut requests, in an order that is drawn, into runs of 1, 2, 4 and so on up to `most` rows, as long as
    there is time for them, by what the run before took; one run at least.

    Time changes no run but those that would not fit, so that whatever fits is cut alike on every machine.
    """
    drawn = random.Random(0).sample(list(requests), len(requests))
    ends, start, size = now() + seconds, 0, 1
    while start < len(drawn):
        chunk, began = _first(drawn, start, size), now()
        start += len(chunk)
        yield chunk
        left, taken = ends - now(), (now() - began) / sum(map(len, chunk))
        size = min(most, 2 * size)
        if taken * size > left:
            size = int(left / taken) if left > 0 else 0
        if size < 1:
            return


def _first(requests: Sequence[Sequence[int]], start: int, most: int) -> Sequence[Sequence[int]]:
    """Return the requests from `start` on that have at most `most` rows together, one at least."""
    end, num_rows = start + 1, len(requests[start])
    while end < len(requests) and num_rows + len(requests[end]) <= most:
        num_rows += len(requests[end])
        end += 1
    return requests[start:end]

"""Judge a model under every presence pattern: each of the 2^m sets of inputs that rows may show.

Enters: a fitted model and a corpus.  Leaves: one `PatternResult` a pattern, from all inputs down to none.
All patterns are judged on the same rows, so that their metrics compare; nothing is imputed: what a pattern hides
is absent, as it is in a row that lacks it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.core.errors import UsageError
from sensorium.data.corpus import Corpus
from sensorium.data.scan import ABSENT
from sensorium.data.word_vectors import WordVectors
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.answered import Advance
from sensorium.evaluation.runner import Evaluation, evaluate_patterns
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Task

MOST_INPUTS = 10
"""More have over a thousand patterns: a table that nobody reads."""


@dataclass(frozen=True)
class PatternResult:
    """What a model gives where rows show some inputs alone.

    Attributes:
        inputs: those that are shown, in the model's order.
        num_complete: how many of the judged rows have all of them; the others lack some anyway.
    """

    inputs: tuple[str, ...]
    num_complete: int
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """Return the inputs joined by '+'; 'nothing' if there are none."""
        return "+".join(self.inputs) or "nothing"

    def facts(self) -> dict[str, Any]:
        """Return the plain facts."""
        return {
            "inputs": list(self.inputs),
            "rows": self.evaluation.num_rows,
            "complete_rows": self.num_complete,
            "metrics": self.evaluation.metrics,
        }


def presence_patterns(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every subset of `names`, the largest first.  Raises UsageError: there are too many."""
    if len(names) > MOST_INPUTS:
        raise UsageError(
            f"{len(names)} inputs have {2 ** len(names):,} presence patterns",
            advice=f"at most {MOST_INPUTS} inputs are tried in every way; name a pattern by --only",
        )
    return [subset for size in range(len(names), -1, -1) for subset in itertools.combinations(names, size)]


def evaluate_missing(
    model: MultimodalLM,
    task: Task,
    corpus: Corpus,
    *,
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
    batch_rows: int = 512,
    max_rows: int | None = None,
    vectors: WordVectors | None = None,
    advance: Advance | None = None,
    seconds: float | None = None,
) -> list[PatternResult]:
    """Judge the first `max_rows` rows under every presence pattern, or those that `seconds` suffice for.

    See `evaluate_patterns`.

    Raises:
        UsageError: too many inputs.
        DataError: no row has a target.
    """
    patterns = presence_patterns(list(model.config.inputs))
    results = evaluate_patterns(
        model,
        task,
        corpus,
        [frozenset(pattern) for pattern in patterns],
        answers=answers,
        decoding=decoding,
        batch_rows=batch_rows,
        max_rows=max_rows,
        vectors=vectors,
        advance=advance,
        seconds=seconds,
    )
    return [
        PatternResult(pattern, _num_complete(corpus, pattern, result.rows), result)
        for pattern, result in zip(patterns, results, strict=True)
    ]


def _num_complete(corpus: Corpus, pattern: Sequence[str], rows: Sequence[int]) -> int:
    present_KN = [corpus.group_N(name)[list(rows)] != ABSENT for name in pattern]
    return int(np.logical_and.reduce(present_KN).sum()) if present_KN else len(rows)

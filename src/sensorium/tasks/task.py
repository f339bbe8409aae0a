"""A task says how a request becomes text, and by which metrics the text is judged.

Enters: a model and a batch.  Leaves: one Prediction a row.  Two ways of decoding serve every task:
`choose` among known answers (exact probabilities over a trie) and `write` freely (search).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.core.protocols import RecallingScorer
from sensorium.core.pytree import select
from sensorium.core.types import Batch, Conditioning
from sensorium.data.corpus import Corpus, Failure
from sensorium.data.list_cells import Means
from sensorium.data.tokenizers import Tokenizer
from sensorium.data.tokenizers.characters import Form, as_written, one_line
from sensorium.decoding.best_candidates import best_candidates
from sensorium.decoding.config import DecodingConfig, build, filters
from sensorium.decoding.consensus import Consensus, agreed, drawn
from sensorium.decoding.generated import Generated
from sensorium.decoding.rescoring import features, rescored
from sensorium.decoding.trie import Trie, ended
from sensorium.model.multimodal import MultimodalLM

CLOSED_LIMIT = 1_000
"""A task that may be closed is, if training knew at most this many distinct answers."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer: its text, its probability, and the runners-up with theirs.

    The probability is exact: among the allowed answers if the task is closed, else of the whole
    text under the model, EOS included.

    Attributes:
        token_ids: the very tokens that were written, EOS included if the text ended; empty where the answer was
            chosen as a whole, or found by a task's own way.
        is_bound: whether it is at least so probable, rather than exactly: not all other answers were scored.
        cut: the inputs of which the row had more than the model takes: their end was not read.
    """

    text: str
    probability: float
    alternatives: tuple[tuple[str, float], ...] = ()
    token_ids: tuple[int, ...] = field(default=(), repr=False, kw_only=True)
    is_bound: bool = field(default=False, repr=False, kw_only=True)
    cut: tuple[str, ...] = field(default=(), kw_only=True)


class Task(Protocol):
    """One kind of request."""

    name: str
    tokenizer: str
    """Of the targets, unless the config names one; empty for a task that writes no text."""
    metrics: tuple[str, ...]
    """The main one first."""
    many_references: bool
    """Rows with equal inputs are one request with several references (captions)."""
    lists: Means
    """What a list in a cell of the target means, see `sensorium.data.list_cells`."""

    def is_closed(self, num_answers: int) -> bool:
        """Say whether to choose among `num_answers` known answers, unless the config decides."""
        ...


def target_form(task: Task, closed: bool | None) -> Form:
    """Return the form in which a task takes its targets: answers that are chosen among are those of one line.

    Judging compares them so; blanks around them, or of another kind, must not make two answers of one.  It goes by
    what may be closed, not by how many answers there are, so that it is the same for every table.

    Args:
        closed: what the config decides, None where it leaves that to the task.
    """
    return one_line if closed or (closed is None and task.is_closed(1)) else as_written


@runtime_checkable
class Decodes(Protocol):
    """A task with a way of its own to answer."""

    def decode(self, model: MultimodalLM, batch: Batch, decoding: DecodingConfig) -> Sequence[Prediction]:
        """Answer every row of `batch`."""
        ...


@runtime_checkable
class NeedsNoSearch(Protocol):
    """A task whose best answer is found exactly, so that no setting of `[decoding]` has a say."""

    needs_no_search: bool


@runtime_checkable
class Finds(Protocol):
    """A task that finds, among other rows, what means the same as an input; it writes no text."""

    num_found: int
    """How many are shown unless asked otherwise."""


@runtime_checkable
class ChecksRows(Protocol):
    """A task that cannot use every row whose cells can be read."""

    def faults(self, model: MultimodalLM, corpus: Corpus) -> list[Failure]:
        """Return the rows it cannot use, and why."""
        ...


@runtime_checkable
class GuessesMajority(Protocol):
    """A task whose majority baseline is not one text for every row."""

    def majority(self, model: MultimodalLM, train: Corpus, corpus: Corpus, rows: Sequence[int]) -> list[str]:
        """Return what the commonest targets in `train` give for `rows` of `corpus`."""
        ...


def predict(
    model: MultimodalLM,
    batch: Batch,
    answers: Sequence[str] | None,
    decoding: DecodingConfig,
    task: Task | None = None,
    *,
    exact: bool = True,
) -> list[Prediction]:
    """Answer every row of `batch`: choose among `answers`, or do as `task` does, or write freely.

    Args:
        exact: whether the probability of an answer that is chosen is wanted exactly; see `choose`.
    """
    with torch.inference_mode():
        if isinstance(task, Decodes) and not answers:
            return list(task.decode(model, batch, decoding))
        return choose(model, batch, answers, exact=exact) if answers else write(model, batch, decoding)


def choose(
    model: MultimodalLM, batch: Batch, answers: Sequence[str], num_best: int = 5, *, exact: bool = True
) -> list[Prediction]:
    """Give each row its likeliest allowed answers, exactly, by probabilities renormalised over all of them.

    Answers that are one text to the tokenizer ("yes", "Yes") are one, the first of them.
    Answers that cannot be among the likeliest are not scored.  Where no answer begins another, the first tokens
    already decide among the allowed ones: EOS is then the only way on, has probability 1 under the constraint, and
    is not computed.  Rows with the same inputs are answered once.

    Args:
        exact: whether probabilities are wanted exactly.  Else they are at least what is told, `is_bound` says so
            where more is possible, and only what is needed to know the likeliest two is scored: the answers are the
            same.
    """
    text_of = distinct(model.tokenizer, answers)
    candidates, answers = [list(ids) for ids in text_of], list(text_of.values())
    whole = not all(candidates) or not _prefix_free(candidates)
    trie = Trie.of(ended(candidates) if whole else candidates)
    first_U, of_B = _distinct_rows(batch)
    cond = model.condition(batch)
    cond = select(cond, first_U.to(cond.memory.present_B.device))
    num_best = min(num_best if exact else 2, len(candidates))
    best = best_candidates(model.scorer, cond, trie, num_best=num_best, with_shares=exact)
    chosen = [
        _chosen([answers[i] for i in index], shares, is_bound)
        for index, shares, is_bound in zip(
            best.index_BK.tolist(), best.share_BK.tolist(), best.is_bound_B.tolist(), strict=True
        )
    ]
    return [chosen[u] for u in of_B.tolist()]


def _chosen(texts: Sequence[str], shares: Sequence[float], is_bound: bool) -> Prediction:
    return Prediction(texts[0], shares[0], tuple(zip(texts, shares, strict=True)), is_bound=is_bound)


def _distinct_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the first row of each set of rows that share all their media, (U,), and each row's set, (B,)."""
    if not batch.inputs:
        key_BK = torch.zeros(batch.num_rows, 1, dtype=torch.int64)
    else:
        key_BK = torch.stack([media.row_B.cpu() for media in batch.inputs.values()], 1)
    _, of_B = torch.unique(key_BK, dim=0, return_inverse=True)
    first_U = torch.full((int(of_B.max()) + 1 if len(of_B) else 0,), batch.num_rows)
    return first_U.scatter_reduce(0, of_B, torch.arange(batch.num_rows), "amin"), of_B


def distinct(tokenizer: Tokenizer, answers: Iterable[str]) -> dict[tuple[int, ...], str]:
    """Return the first text of each sequence of ids, by the sequence: all that a model can tell apart."""
    found: dict[tuple[int, ...], str] = {}
    for text in answers:
        found.setdefault(tuple(tokenizer.encode(text)), text)
    return found


def _prefix_free(candidates: Sequence[Sequence[int]]) -> bool:
    ordered = sorted(map(tuple, candidates))
    return all(longer[: len(text)] != text for text, longer in pairwise(ordered))


def rescorers(model: MultimodalLM, names: Sequence[str]) -> dict[str, Any]:
    """Return the named scorers of a model.  Raises ConfigError: it has none of that name."""
    for name in names:
        if name not in model.parts:
            advice = nearest(name, list(model.parts))
            raise ConfigError(f"no scorer '{name}' in this model", where="decoding.rescore.by", advice=advice)
    return {name: model.parts[name] for name in names}


def _consensus(
    model: MultimodalLM, cond: Conditioning, found: Generated, decoding: DecodingConfig, asked: Consensus
) -> Generated:
    """Return the texts found, and others drawn, by what they have in common with all that might be said."""
    draws = None
    if asked.draws:
        chosen, longest = filters(decoding), decoding.max_tokens
        draws = drawn(model.scorer, cond, asked, filters=chosen, max_tokens=longest)
    recalled = None
    if asked.memory is not None:
        memory = model.parts.get(asked.memory)
        if not isinstance(memory, RecallingScorer):
            able = [name for name, part in model.parts.items() if isinstance(part, RecallingScorer)]
            advice = f"such scorers of this model: {', '.join(able) or 'none'}"
            raise ConfigError(
                f"'{asked.memory}' recalls no texts", where="decoding.consensus.memory", advice=advice
            )
        recalled = memory.recall(cond)
    return agreed(found, draws, recalled, asked.memory_share)


def write(model: MultimodalLM, batch: Batch, decoding: DecodingConfig) -> list[Prediction]:
    """Write each row's text by the configured search; choose among what it found as configured."""
    cond = model.condition(batch)
    result = build(decoding)(model.scorer, cond)
    if decoding.consensus is not None:
        result = _consensus(model, cond, result, decoding, decoding.consensus)
    if decoding.rescore is not None and decoding.rescore.weights is not None:
        feature_BKF = features(rescorers(model, decoding.rescore.by), result, cond)
        result = rescored(result, feature_BKF, decoding.rescore.weight_F())
    texts = [
        tuple(i for i, real in zip(ids, mask, strict=True) if real)
        for ids, mask in zip(result.token_BT.tolist(), result.mask_BT.tolist(), strict=True)
    ]
    return [
        Prediction(model.tokenizer.decode(list(ids)), math.exp(log_p), token_ids=ids)
        for ids, log_p in zip(texts, result.total_B.tolist(), strict=True)
    ]

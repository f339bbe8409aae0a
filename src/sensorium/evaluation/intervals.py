"""The interval beside every metric of an evaluation, in seconds even for BLEU over thousands of rows.

Enters: an evaluation.  Leaves: 95 % bounds by metric: the percentile bootstrap over rows, as `metrics_interval`.
Most metrics are functions of sums over rows (matches, errors, spans), so that rows are counted once and a draw is a
weighted sum of the kinds of rows there are; macro F1, precision and recall sum pairs of labels.  CIDEr's document
frequencies stay those of all rows.  Perplexity, distinct-n, similarities and what finds rows have none.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.data.word_vectors import WordVectors
from sensorium.evaluation.metrics import labelled
from sensorium.evaluation.metrics_bleu import bleu_counts, sentence_bleu, smoothing_of
from sensorium.evaluation.metrics_cider import cider_d_rows, cider_rows
from sensorium.evaluation.metrics_error_rate import character_errors, word_errors
from sensorium.evaluation.metrics_span import token_counts, total_counts
from sensorium.evaluation.registry import is_lower_better, load_metric, parsed
from sensorium.evaluation.runner import Evaluation
from sensorium.evaluation.word_splits import Split, caption_words

DRAWS = 1_000
LEAST_NATS = -745.0
"""What an impossible row counts a token, so that means stay finite: no double is as small as its exponential."""
_DRAWS_AT_ONCE, _DRAWN_AT_ONCE = 50, 1 << 22
_FEW_KINDS = 1_000
"""Above, drawing row by row is faster than drawing how often each kind comes."""

Floats = NDArray[np.float64]
Counted = tuple[Callable[..., Floats], Callable[[Floats], Floats]]
"""Rows, and perhaps how words are split, to counts (N, K); sums of counts (R, K) to values (R,)."""


def intervals(evaluation: Evaluation, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return (low, high) by metric; nothing where no row was judged by its text."""
    said, right = evaluation.said, evaluation.right
    if not said:
        return {}
    found = {}
    for name in evaluation.metrics:
        base, options = parsed(name)
        if base in _COUNTED:
            count, judge = _COUNTED[base]
            found[name] = _bounds(judge(_drawn_sums(count(said, right, **options), seed)))
        elif base in _BY_LABEL:
            found[name] = _bounds(_BY_LABEL[base](said, right, seed))
    return found


def row_values(name: str, said: Sequence[str], right: Sequence[Any], vectors: WordVectors | None = None) -> Floats:
    """Return a metric's value on each row, (N,), of which the metric itself need not be the mean.

    BLEU is that of sentences (`metrics_bleu.sentence_bleu`), since few rows match in four words; CIDEr goes by the
    document frequencies of all these rows.
    """
    base, options = parsed(name)
    if base in _BY_ROW:
        return np.array(_BY_ROW[base](said, right, **options), float)
    metric = load_metric(name, vectors)
    return np.array([metric([text], [refs]) for text, refs in zip(said, right, strict=True)])


def row_scores(evaluation: Evaluation) -> dict[Hashable, float]:
    """Return how well each judged row, or query, did by itself; more is better.

    By the first metric where texts were judged; by whether the first hit is right where rows search each other; by
    log-likelihood a token where nothing was written.
    """
    if evaluation.predictions:
        name = next(iter(evaluation.metrics))
        value_N = row_values(name, evaluation.said, evaluation.right, evaluation.vectors)
        rows = (row for row, _, _ in evaluation.predictions)
        return dict(zip(rows, (-value_N if is_lower_better(name) else value_N).tolist(), strict=True))
    if evaluation.directions:
        return {
            (direction.query, direction.found, one.row): float(one.rank_R[0] == 1)
            for direction in evaluation.directions
            for one in direction.searched
        }
    return {row: max(-nll / max(n, 1), LEAST_NATS) for row, (nll, n) in evaluation.likelihoods.items()}


def _drawn_sums(count_NK: Floats, seed: int) -> Floats:
    """Sum the rows of each draw: (R, K)."""
    different_UK, times_U = np.unique(count_NK, axis=0, return_counts=True)
    return np.concatenate([draw_RU @ different_UK for draw_RU in _drawn(times_U, seed)])


def _drawn(times_U: NDArray[np.int64], seed: int) -> Iterator[Floats]:
    """Yield how often each kind of row is drawn, (some of R, U), where there are so many rows of it."""
    random, num_rows, num_kinds = np.random.default_rng(seed), int(times_U.sum()), len(times_U)
    at_once = max(1, min(_DRAWS_AT_ONCE, _DRAWN_AT_ONCE // num_kinds))
    for start in range(0, DRAWS, at_once):
        size = min(at_once, DRAWS - start)
        if num_kinds <= _FEW_KINDS:
            yield random.multinomial(num_rows, times_U / num_rows, size=size).astype(float)
            continue
        kind_N, draw_RU = np.repeat(np.arange(num_kinds), times_U), np.empty((size, num_kinds))
        for draw_U in draw_RU:
            draw_U[:] = np.bincount(kind_N[random.integers(num_rows, size=num_rows)], minlength=num_kinds)
        yield draw_RU


def _bounds(value_R: Floats) -> tuple[float, float]:
    low, high = np.quantile(value_R, [0.025, 0.975])
    return float(low), float(high)


def _sentence_bleu(order: int) -> Callable[..., list[float]]:
    def rows(said: Sequence[str], right: Any, split: Split = caption_words) -> list[float]:
        return [sentence_bleu(row) for row in bleu_counts(said, right, max_order=order, split=split)]

    return rows


_BY_ROW: dict[str, Callable[..., list[float]]] = {
    "cider": cider_rows,
    "cider_d": cider_d_rows,
    **{f"bleu{order}": _sentence_bleu(order) for order in range(1, 5)},
}


def _macro(judge: Callable[[Floats, Floats, Floats], Floats]) -> Callable[[Sequence[str], Any, int], Floats]:
    """Return the values of R draws of a mean over labels, which are those that a draw holds."""

    def value(said: Sequence[str], right: Any, seed: int) -> Floats:
        pairs = dict(sorted(Counter(labelled(said, right)).items()))  # draws must not go by the rows' order
        number = {label: i for i, label in enumerate(sorted({label for pair in pairs for label in pair}))}
        said_U, meant_U = np.array([[number[one], number[other]] for one, other in pairs]).T
        found = []
        for draw_RU in _drawn(np.array([*pairs.values()]), seed):
            right_RL = _summed(draw_RU * (said_U == meant_U), said_U, len(number))
            said_RL, meant_RL = (_summed(draw_RU, kind_U, len(number)) for kind_U in (said_U, meant_U))
            num_held_R = ((said_RL + meant_RL) > 0).sum(1)
            found.append(judge(right_RL, said_RL, meant_RL).sum(1) / num_held_R)
        return np.concatenate(found)

    return value


def _summed(value_RU: Floats, kind_U: NDArray[np.int64], num_kinds: int) -> Floats:
    """Sum the columns of each kind: (R, kinds)."""
    order_U = np.argsort(kind_U, kind="stable")
    kind_K, start_K = np.unique(kind_U[order_U], return_index=True)
    sum_RL = np.zeros((len(value_RU), num_kinds))
    sum_RL[:, kind_K] = np.add.reduceat(value_RU[:, order_U], start_K, axis=1)
    return sum_RL


_BY_LABEL = {
    "macro_f1": _macro(lambda right, said, meant: 2 * right / np.maximum(said + meant, 1)),
    "macro_precision": _macro(lambda right, said, _: right / np.maximum(said, 1)),
    "macro_recall": _macro(lambda right, _, meant: right / np.maximum(meant, 1)),
}


def _mean_of(name: str) -> Counted:
    def count(said: Sequence[str], right: Any, **options: Any) -> Floats:
        if name in _BY_ROW:
            value_N = np.array(_BY_ROW[name](said, right, **options), float)
        else:
            metric = functools.partial(load_metric(name), **options)
            value_N = np.array([metric([text], [refs]) for text, refs in zip(said, right, strict=True)])
        return np.stack([value_N, np.ones_like(value_N)], axis=1)

    return count, _ratio


def _ratio(sum_RK: Floats) -> Floats:
    return sum_RK[:, 0] / np.maximum(sum_RK[:, 1], 1)


def _share(sum_RK: Floats) -> Floats:
    """As `_ratio`, but 1 of nothing."""
    return np.where(sum_RK[:, 1] > 0, _ratio(sum_RK), 1.0)


def _found_of(right_R: Floats, all_R: Floats, others_R: Floats) -> Floats:
    """Return precision or recall of spans, as `SpanCounts` has them."""
    return np.where(all_R > 0, right_R / np.maximum(all_R, 1), np.where(others_R > 0, 0.0, 1.0))


def _bleu(order: int) -> Counted:
    def count(said: Sequence[str], right: Any, split: Split = caption_words) -> Floats:
        rows, is_smoothed = bleu_counts(said, right, max_order=order, split=split), smoothing_of(split) == "exp"
        return np.array(
            [[*r.num_matches, *r.num_ngrams, is_smoothed, r.num_words, r.num_reference_words] for r in rows], float
        )

    def judge(sum_RK: Floats) -> Floats:
        match_RO, ngram_RO = sum_RK[:, :order], sum_RK[:, order : 2 * order]
        # What smoothing gives to the k-th order without a match is 1 / 2^k (a column of the counts says if).
        is_smoothed_R, is_none_RO = sum_RK[:, 2 * order] > 0, match_RO == 0
        given_RO = np.where(is_none_RO, 0.5 ** np.cumsum(is_none_RO, 1), match_RO)
        is_judged_R = match_RO.any(1) & ngram_RO.all(1) & (is_smoothed_R | ~is_none_RO.any(1))
        share_RO = given_RO / np.maximum(ngram_RO, 1)
        brevity_R = np.minimum(0, 1 - sum_RK[:, -1] / np.maximum(sum_RK[:, -2], 1))
        value_R: Floats = np.where(is_judged_R, 100 * np.exp(brevity_R + np.log(share_RO).mean(1)), 0)
        return value_R

    return count, judge


def _spans(judge: Callable[[Floats], Floats]) -> Counted:
    def count(said: Sequence[str], right: Any) -> Floats:
        rows = [total_counts([text], [refs]) for text, refs in zip(said, right, strict=True)]
        return np.array([[r.right, r.predicted, r.referred] for r in rows], float)

    return count, judge


_MEANS = ("meteor_exact", "meteor_exact_stem", "meteor_exact_stem_wordnet", "rouge_l", "cider", "cider_d")
_COUNTED: dict[str, Counted] = {
    **{name: _mean_of(name) for name in _MEANS},
    "accuracy": _mean_of("accuracy"),
    "exact_match": _mean_of("exact_match"),
    "wer": (lambda said, right, **options: np.array(word_errors(said, right, **options), float), _ratio),
    "cer": (lambda said, right: np.array(character_errors(said, right), float), _ratio),
    "token_accuracy": (lambda said, right: np.array(token_counts(said, right), float), _share),
    "span_precision": _spans(lambda sum_R3: _found_of(sum_R3[:, 0], sum_R3[:, 1], sum_R3[:, 2])),
    "span_recall": _spans(lambda sum_R3: _found_of(sum_R3[:, 0], sum_R3[:, 2], sum_R3[:, 1])),
    "span_f1": _spans(lambda sum_R3: _share(np.stack([2 * sum_R3[:, 0], sum_R3[:, 1] + sum_R3[:, 2]], 1))),
    **{f"bleu{order}": _bleu(order) for order in range(1, 5)},
}

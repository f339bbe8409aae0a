"""The interval beside every metric of an evaluation, in seconds even for BLEU over thousands of rows.

Enters: an evaluation.  Leaves: 95 % bounds by metric: the percentile bootstrap over rows, as `metrics_interval`.
Most metrics are functions of sums over rows (matches, errors, spans), so that rows are counted once and a draw is a
weighted sum; CIDEr's document frequencies stay those of all rows; macro F1, precision and recall are judged anew
for each draw.  Perplexity, distinct-n, similarities and what finds rows have none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.evaluation.metrics_bleu import bleu_counts, bleu_of
from sensorium.evaluation.metrics_cider import cider_d_rows, cider_rows
from sensorium.evaluation.metrics_error_rate import character_errors, word_errors
from sensorium.evaluation.metrics_interval import bootstrap_interval
from sensorium.evaluation.metrics_span import total_counts
from sensorium.evaluation.registry import load_metric, parsed
from sensorium.evaluation.runner import Evaluation
from sensorium.evaluation.word_splits import Split, caption_words

DRAWS = 1_000
_DRAWS_AT_ONCE = 50
_JUDGED_ROWS, _FEWEST_DRAWS = 200_000, 100

Floats = NDArray[np.float64]
Counted = tuple[Callable[..., Floats], Callable[[Floats], Floats]]
"""Rows, and perhaps how words are split, to counts (N, K); sums of counts (R, K) to values (R,)."""


def intervals(
    evaluation: Evaluation, *, many_references: bool = True, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return (low, high) by metric; nothing where no row was judged by its text.

    Args:
        many_references: rows are judged against all their references, else against the first.
    """
    said = [prediction.text for _, prediction, _ in evaluation.predictions]
    right: list[Any] = [refs if many_references else refs[0] for _, _, refs in evaluation.predictions]
    if not said:
        return {}
    found = {}
    for name in evaluation.metrics:
        base, options = parsed(name)
        if base in _COUNTED:
            count, judge = _COUNTED[base]
            found[name] = _bounds(judge(_drawn_sums(count(said, right, **options), seed)))
        elif base in _JUDGED_ANEW:
            draws = max(_FEWEST_DRAWS, min(DRAWS, _JUDGED_ROWS // len(said)))
            bounds = bootstrap_interval(load_metric(name), said, right, num_resamples=draws, seed=seed)
            found[name] = (bounds.low, bounds.high)
    return found


def row_values(name: str, said: Sequence[str], right: Sequence[Any]) -> Floats:
    """Return a metric's value on each row, (N,), of which the metric itself need not be the mean.

    BLEU is smoothed (Chen and Cherry 2014), since few rows match in four words; CIDEr goes by the document
    frequencies of all these rows.
    """
    base, options = parsed(name)
    if base in _BY_ROW:
        return np.array(_BY_ROW[base](said, right, **options), float)
    metric = load_metric(name)
    return np.array([metric([text], [refs]) for text, refs in zip(said, right, strict=True)])


def _drawn_sums(count_NK: Floats, seed: int) -> Floats:
    """Sum the rows of each draw: (R, K)."""
    random, num_rows = np.random.default_rng(seed), len(count_NK)
    even_N = np.full(num_rows, 1 / num_rows)
    chunks = [
        random.multinomial(num_rows, even_N, size=min(_DRAWS_AT_ONCE, DRAWS - start)) @ count_NK
        for start in range(0, DRAWS, _DRAWS_AT_ONCE)
    ]
    return np.concatenate(chunks)


def _bounds(value_R: Floats) -> tuple[float, float]:
    low, high = np.quantile(value_R, [0.025, 0.975])
    return float(low), float(high)


def _sentence_bleu(order: int) -> Callable[..., list[float]]:
    def rows(said: Sequence[str], right: Any, split: Split = caption_words) -> list[float]:
        return [bleu_of([row], "exp") for row in bleu_counts(said, right, max_order=order, split=split)]

    return rows


_BY_ROW: dict[str, Callable[..., list[float]]] = {
    "cider": cider_rows,
    "cider_d": cider_d_rows,
    **{f"bleu{order}": _sentence_bleu(order) for order in range(1, 5)},
}
_JUDGED_ANEW = frozenset({"macro_f1", "macro_precision", "macro_recall"})


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


def _bleu(order: int) -> Counted:
    def count(said: Sequence[str], right: Any, split: Split = caption_words) -> Floats:
        rows = bleu_counts(said, right, max_order=order, split=split)
        return np.array([[*r.num_matches, *r.num_ngrams, r.num_words, r.num_reference_words] for r in rows], float)

    def judge(sum_RK: Floats) -> Floats:
        match_RO, ngram_RO = sum_RK[:, :order], sum_RK[:, order : 2 * order]
        has_all_R = (match_RO > 0).all(1)
        share_RO = np.where(match_RO > 0, match_RO, 1) / np.maximum(ngram_RO, 1)
        brevity_R = np.minimum(0, 1 - sum_RK[:, -1] / np.maximum(sum_RK[:, -2], 1))
        value_R: Floats = np.where(has_all_R, 100 * np.exp(brevity_R + np.log(share_RO).mean(1)), 0)
        return value_R

    return count, judge


def _spans(judge: Callable[[Floats], Floats]) -> Counted:
    def count(said: Sequence[str], right: Any) -> Floats:
        rows = [total_counts([text], [refs]) for text, refs in zip(said, right, strict=True)]
        return np.array([[r.right, r.predicted, r.referred] for r in rows], float)

    return count, judge


def _tokens(said: Sequence[str], right: Any) -> Floats:
    meant = (refs if isinstance(refs, str) else refs[0] for refs in right)
    rows = [(text.split(), tags.split()) for text, tags in zip(said, meant, strict=True)]
    return np.array([[sum(a == b for a, b in zip(*row, strict=True)), len(row[0])] for row in rows], float)


_MEANS = ("meteor_exact", "meteor_exact_stem", "meteor_exact_stem_wordnet", "rouge_l", "cider", "cider_d")
_COUNTED: dict[str, Counted] = {
    **{name: _mean_of(name) for name in _MEANS},
    "accuracy": _mean_of("accuracy"),
    "exact_match": _mean_of("exact_match"),
    "wer": (lambda said, right, **options: np.array(word_errors(said, right, **options), float), _ratio),
    "cer": (lambda said, right: np.array(character_errors(said, right), float), _ratio),
    "token_accuracy": (_tokens, _ratio),
    "span_precision": _spans(lambda sum_R3: _ratio(sum_R3[:, [0, 1]])),
    "span_recall": _spans(lambda sum_R3: _ratio(sum_R3[:, [0, 2]])),
    "span_f1": _spans(lambda sum_R3: 2 * sum_R3[:, 0] / np.maximum(sum_R3[:, 1] + sum_R3[:, 2], 1)),
    **{f"bleu{order}": _bleu(order) for order in range(1, 5)},
}

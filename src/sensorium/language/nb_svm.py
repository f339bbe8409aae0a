"""NB-SVM: a linear classifier over counts weighted by naive Bayes' log-count ratios, as a scorer of labels.

Enters: counts x of n-grams.  Leaves: log P(c | x).  For each class c, against all others,

    p = a + sum_{n in c} x_n,  q = a + sum_{n not in c} x_n,      r = log( (p / |p|_1) / (q / |q|_1) )
    w, b = margin classifier on r * x,       u = |w|_1 / F
    m_c = ((1 - beta) u + beta w) . (r * x) + (1 - beta) u log((N_c + a) / (N_not_c + a)) + beta b

beta moves between naive Bayes, times u, and the plain classifier.
Source: Wang and Manning 2012, "Baselines and bigrams: simple, good sentiment and topic classification",
equations 1-5; classes beyond two are taken one against the rest.

A margin is no probability: P(c | x) = softmax_c(s m_c), with s fitted to rows that a classifier of the others
has not seen (the one-parameter form of Platt 1999).
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
from pydantic import Field

from sensorium.language.label_scorer import Examples, LabelScorer, Linear
from sensorium.language.margin_solver import Loss, fit_margin
from sensorium.language.sparse_counts import Floats, Ints, SparseCounts

_FEWEST_HELD_OUT = 10
_LARGEST_SLOPE = 1e3


class NbSvm(LabelScorer):
    """Score labels by margins over log-count ratios.

    Args:
        config: the classifier and its blend with naive Bayes.
        vocab: the labels.
        width: not used.
    """

    class Config(LabelScorer.Config):
        """The classifier and its blend with naive Bayes."""

        binary: bool = True
        smoothing: float = Field(1.0, gt=0.0)
        """a, added to every count."""
        cost: float = Field(1.0, gt=0.0)
        """C, the price of a margin that is missed."""
        beta: float = Field(0.25, ge=0.0, le=1.0)
        loss: Loss = "squared_hinge"
        bias: bool = True
        """Let margins have an intercept; the authors' own program has none."""
        folds: int = Field(5, ge=2, le=100)
        """Every so many-th row, in an order by content, is held out to fit the slope."""

    config: Config

    def solve(self, examples: Examples) -> Linear:
        """Fit one classifier a class (one for two classes), and the slope of their margins."""
        weight_FC, bias_C = self._margins(examples.counts, examples.class_N, examples.num_classes)
        bias_KC = np.zeros((examples.has_NK.shape[1], examples.num_classes))
        return Linear(weight_FC, bias_KC, bias_C, self._slope(examples))

    def _margins(self, counts: SparseCounts, class_N: Ints, num_classes: int) -> tuple[Floats, Floats]:
        weight_FC, bias_C = np.zeros((counts.num_columns, num_classes)), np.zeros(num_classes)
        if num_classes == 2:
            weight_FC[:, 1], bias_C[1] = self._one_margin(counts, class_N == 1)
            weight_FC[:, 0], bias_C[0] = -weight_FC[:, 1], -bias_C[1]
        elif num_classes > 2:
            for c in range(num_classes):
                weight_FC[:, c], bias_C[c] = self._one_margin(counts, class_N == c)
        return weight_FC, bias_C

    def _one_margin(self, counts: SparseCounts, is_in_N: np.ndarray) -> tuple[Floats, float]:
        ratio_F = log_count_ratio(counts, is_in_N, self.config.smoothing)
        scaled = SparseCounts(
            counts.column_E, counts.value_E * ratio_F[counts.column_E], counts.offset_N1, counts.num_columns
        )
        y_N = np.where(is_in_N, 1.0, -1.0)
        w_F, bias = fit_margin(scaled, y_N, cost=self.config.cost, loss=self.config.loss, bias=self.config.bias)
        bayes = (1 - self.config.beta) * (np.abs(w_F).mean() if len(w_F) else 0.0)
        log_odds = np.log(is_in_N.sum() + self.config.smoothing) - np.log((~is_in_N).sum() + self.config.smoothing)
        intercept = bayes * log_odds + self.config.beta * bias if self.config.bias else 0.0
        return ratio_F * (bayes + self.config.beta * w_F), intercept

    def _slope(self, examples: Examples) -> float:
        """Fit the slope on every `folds`-th row, by a classifier of the others.

        Rows are told by what they hold, so that a table in another order gives the same slope.
        """
        is_held_N = np.zeros(len(examples.class_N), bool)
        is_held_N[_by_content(examples.counts, examples.class_N)[:: self.config.folds]] = True
        if is_held_N.sum() < _FEWEST_HELD_OUT:
            return 1.0
        kept_M, held_M = np.flatnonzero(~is_held_N), np.flatnonzero(is_held_N)
        counts, class_N = examples.counts, examples.class_N
        weight_FC, bias_C = self._margins(counts.rows(kept_M), class_N[kept_M], examples.num_classes)
        return fit_slope(counts.rows(held_M).times(weight_FC) + bias_C, class_N[held_M])


def _by_content(counts: SparseCounts, class_N: Ints) -> Ints:
    """Return the rows (N,) in an order like chance, which only what they hold decides."""
    pair_E2 = np.stack([counts.column_E, counts.value_E.astype(np.int64)], 1)
    parts = [pair_E2[start:end] for start, end in pairwise(counts.offset_N1.tolist())]
    digests = [
        hashlib.blake2b(part.tobytes() + int(label).to_bytes(8, "little"), digest_size=16).digest()
        for part, label in zip(parts, class_N, strict=True)
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)


def log_count_ratio(counts: SparseCounts, is_in_N: np.ndarray, smoothing: float = 1.0) -> Floats:
    """Return r (F,): how much likelier each n-gram is in a class than outside."""
    p_F2 = counts.sum_by_class(is_in_N.astype(np.int64), 2) + smoothing
    log_p_F2 = np.log(p_F2) - np.log(p_F2.sum(0).clip(smoothing))  # no n-gram at all has no sum
    ratio_F: Floats = log_p_F2[:, 1] - log_p_F2[:, 0]
    return ratio_F


def fit_slope(margin_NC: Floats, class_N: Ints) -> float:
    """Return the s in (0, 1000] that maximises sum_n log softmax(s margin_n)[class_n], by Newton's method."""
    own_N = margin_NC[np.arange(len(class_N)), class_N]
    low, high = 0.0, _LARGEST_SLOPE
    slope = 1.0
    for _ in range(100):
        scaled_NC = slope * margin_NC
        p_NC = np.exp(scaled_NC - scaled_NC.max(1, keepdims=True))
        p_NC /= p_NC.sum(1, keepdims=True)
        mean_N = (p_NC * margin_NC).sum(1)
        gain = float((own_N - mean_N).sum())
        low, high = (slope, high) if gain > 0 else (low, slope)
        spread = float((p_NC * (margin_NC - mean_N[:, None]) ** 2).sum())
        step = slope + gain / spread if spread > 0 else -1.0
        found = step if low < step < high else (low + high) / 2  # Newton, kept within what is known
        if abs(found - slope) <= 1e-9 * slope:
            break
        slope = found
    return slope

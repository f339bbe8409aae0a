"""Naive Bayes as a scorer of labels: multinomial, Bernoulli, complement.

Enters: counts x of n-grams.  Leaves: log P(c | x), linear in x before it is normalised.

    multinomial   log P(c) + sum_f x_f log p_fc,       p_fc = (n_fc + a) / (n_c + a F)
    bernoulli     log P(c) + sum_f [x_f > 0] log p_fc + [x_f = 0] log(1 - p_fc),    p_fc = (d_fc + a) / (d_c + 2 a)
    complement    -sum_f x_f w_fc,   w_fc = log((n_f - n_fc + a) / sum_f (n_f - n_fc + a))

n counts occurrences, d rows, a is the smoothing.  With several inputs each has its own p (its words compete
only with each other), and inputs are independent given the class, so an absent one says nothing.
Sources: McCallum and Nigam 1998, "A comparison of event models for naive Bayes text classification";
Rennie et al. 2003, "Tackling the poor assumptions of naive Bayes text classifiers", equations 5-8.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sensorium.core.vocabulary import Vocab
from sensorium.language.label_scorer import Examples, LabelScorer, Linear
from sensorium.language.sparse_counts import Floats, Ints

Kind = Literal["multinomial", "bernoulli", "complement"]


class NaiveBayes(LabelScorer):
    """Score labels by how often their rows held each n-gram.

    Args:
        config: the event model and its smoothing.
        vocab: the labels.
        width: not used.
    """

    class Config(LabelScorer.Config):
        """The event model and its smoothing."""

        kind: Kind = "multinomial"
        smoothing: float = Field(1.0, gt=0.0)
        """Added to every count (Lidstone; 1 is Laplace)."""
        normalise: bool = False
        """Divide each class's weights by their sum, as Rennie et al. do in equation 8 (complement alone)."""

    config: Config

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__(config, vocab, width)

    @property
    def is_binary(self) -> bool:
        """Say whether an n-gram counts once a row: always in the Bernoulli model."""
        return self.config.binary or self.config.kind == "bernoulli"

    def solve(self, examples: Examples) -> Linear:
        """Turn counts into log-probabilities, input by input."""
        weight_FC = np.zeros((examples.counts.num_columns, examples.num_classes))
        bias_KC = np.zeros((examples.has_NK.shape[1], examples.num_classes))
        count_FC = examples.counts.sum_by_class(examples.class_N, examples.num_classes)
        for k, has_N in enumerate(examples.has_NK.T):
            rows_C = np.bincount(examples.class_N[has_N], minlength=examples.num_classes)
            of_input_F = examples.input_F == k
            weight_FC[of_input_F], bias_KC[k] = self._estimate(count_FC[of_input_F], rows_C)
        ignores_shares = self.config.kind == "complement" and examples.num_classes > 1
        intercept_C = np.zeros(examples.num_classes) if ignores_shares else np.log(examples.share_C)
        return Linear(weight_FC, bias_KC, intercept_C)

    def _estimate(self, count_FC: Floats, rows_C: Ints) -> tuple[Floats, Floats | float]:
        match self.config.kind:
            case "multinomial":
                return multinomial(count_FC, self.config.smoothing), 0.0
            case "bernoulli":
                return bernoulli(count_FC, rows_C, self.config.smoothing)
            case "complement":
                return complement(count_FC, self.config.smoothing, normalise=self.config.normalise), 0.0


def multinomial(count_FC: Floats, smoothing: float) -> Floats:
    """Return weights (F, C) from how often each class holds each n-gram."""
    smoothed_FC = count_FC + smoothing
    weight_FC: Floats = np.log(smoothed_FC) - np.log(smoothed_FC.sum(0))
    return weight_FC


def bernoulli(count_FC: Floats, rows_C: Ints, smoothing: float) -> tuple[Floats, Floats]:
    """Return weights (F, C) and bias (C,) from how many of each class's `rows_C` rows hold each n-gram."""
    p_FC = (count_FC + smoothing) / (rows_C + 2 * smoothing)
    log_absent_FC = np.log1p(-p_FC)
    return np.log(p_FC) - log_absent_FC, log_absent_FC.sum(0)


def complement(count_FC: Floats, smoothing: float, *, normalise: bool = False) -> Floats:
    """Return weights (F, C) from how often all other classes hold each n-gram."""
    others_FC = count_FC.sum(1, keepdims=True) + smoothing - count_FC
    weight_FC: Floats = np.log(others_FC.sum(0)) - np.log(others_FC)
    return weight_FC / weight_FC.sum(0) if normalise else weight_FC

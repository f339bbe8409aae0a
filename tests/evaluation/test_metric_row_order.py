"""Every metric, interval and paired test is of rows, not of the order in which they stand."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from sensorium.evaluation.intervals import intervals, row_values
from sensorium.evaluation.metrics_interval import bootstrap_interval
from sensorium.evaluation.metrics_ranking import ranking_metrics, ranks
from sensorium.evaluation.paired import paired_bootstrap
from sensorium.evaluation.registry import METRICS, load_metric
from sensorium.evaluation.runner import Evaluation
from sensorium.tasks.task import Prediction

METRICS_TRIED = sorted(METRICS.keys() - {"meteor_exact_stem_wordnet"})
"""WordNet is a package of its own; its rows are means as those of the other METEORs."""
WORDS = ["a", "red", "blue", "circle", "square", "above", "left"]
TAGS = ["O", "B-X", "I-X", "B-Y"]
ONE_REFERENCE = ("accuracy", "exact_match", "macro", "span", "token", "wer", "cer")


def rows(name: str, number: int = 40) -> list[tuple[str, list[str]]]:
    drawn = random.Random(4)
    words = TAGS if name.startswith(("span", "token")) else WORDS
    labels = name.startswith(("macro", "accuracy", "exact"))

    def one() -> tuple[str, list[str]]:
        length = 1 if labels else 6
        right = drawn.choices(words, k=length)
        said = [word if drawn.random() < 0.7 else drawn.choice(words) for word in right]
        others = [] if name.startswith(ONE_REFERENCE) else [" ".join(drawn.choices(words, k=5))]
        return " ".join(said), [" ".join(right), *others]

    return [one() for _ in range(number)]


def columns(pairs: list[tuple[str, list[str]]]) -> tuple[list[str], list[list[str]]]:
    return [said for said, _ in pairs], [right for _, right in pairs]


def bounds(name: str, pairs: list[tuple[str, list[str]]]) -> dict[str, tuple[float, float]]:
    predictions = [(i, Prediction(said, 0.5), right) for i, (said, right) in enumerate(pairs)]
    return intervals(Evaluation("t", len(pairs), {name: 0.0}, 0.0, predictions))


@pytest.mark.parametrize("name", METRICS_TRIED)
def test_a_metric_and_its_interval_do_not_depend_on_the_order(name):
    plain = rows(name)
    order = random.Random(1).sample(range(len(plain)), len(plain))
    mixed = [plain[i] for i in order]
    metric = load_metric(name)
    assert metric(*columns(mixed)) == pytest.approx(metric(*columns(plain)), rel=1e-12)
    if not name.startswith("distinct"):
        each = row_values(name, *columns(plain))
        assert row_values(name, *columns(mixed)) == pytest.approx(each[order], rel=1e-12)
    expected, found = bounds(name, plain), bounds(name, mixed)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-12), key


def test_the_plain_bootstrap_does_not_depend_on_the_order():
    plain = rows("bleu2")
    mixed = plain[::-1]
    metric = load_metric("bleu2")
    first, second = (bootstrap_interval(metric, *columns(one), num_resamples=50) for one in (plain, mixed))
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high), rel=1e-12)


def test_a_paired_test_does_not_depend_on_the_order():
    random_ = np.random.default_rng(0)
    one_N, other_N = random_.random(50), random_.random(50)
    assert paired_bootstrap(one_N, other_N) == paired_bootstrap(one_N[::-1], other_N[::-1])


def test_ranks_with_ties_do_not_depend_on_the_order():
    generator = torch.Generator().manual_seed(2)
    score_QN = torch.randint(0, 3, (12, 12), generator=generator).float()  # most tie
    is_right_QN = torch.rand(12, 12, generator=generator) < 0.2
    is_right_QN |= torch.eye(12, dtype=torch.bool)
    expected = ranking_metrics(ranks(score_QN, is_right_QN))
    for seed in range(4):
        order_Q, order_N = (torch.randperm(12, generator=generator.manual_seed(seed + k)) for k in (10, 20))
        mixed = (tensor[order_Q][:, order_N] for tensor in (score_QN, is_right_QN))
        assert ranking_metrics(ranks(*mixed)) == pytest.approx(expected)

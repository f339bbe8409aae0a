"""Intervals by sums of counts equal those of the metrics judged anew."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.evaluation.intervals import _COUNTED, intervals, row_values
from sensorium.evaluation.metrics_interval import bootstrap_interval
from sensorium.evaluation.registry import load_metric
from sensorium.evaluation.runner import Evaluation
from sensorium.tasks.task import Prediction

WORDS = ["a", "red", "blue", "circle", "square", "above", "left"]
TAGS = ["O", "B-X", "I-X", "B-Y"]


def texts(number: int, seed: int, words=WORDS) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, 5)) for _ in range(number)]


def cases(name: str, number: int) -> tuple[list[str], list]:
    words = TAGS if name.startswith(("span", "token")) else WORDS
    right, noise = texts(number, 1, words), texts(number, 2, words)
    rng = np.random.default_rng(3)
    said = [
        " ".join(a if rng.random() < 0.7 else b for a, b in zip(r.split(), n.split(), strict=True))
        for r, n in zip(right, noise, strict=True)
    ]
    if words is WORDS:  # shorter than what is right, so that brevity counts
        said = [" ".join(text.split()[: 3 + i % 3]) for i, text in enumerate(said)]
    many = name.startswith(("bleu", "meteor", "rouge", "cider"))
    return said, ([[r, n] for r, n in zip(right, noise, strict=True)] if many else right)


@pytest.mark.parametrize("name", sorted(_COUNTED.keys() - {"meteor_exact_stem_wordnet"}))
def test_sums_of_counts_give_the_metric_itself(name):
    said, right = cases(name, 40)
    count, judge = _COUNTED[name]
    assert judge(count(said, right).sum(0, keepdims=True))[0] == pytest.approx(load_metric(name)(said, right))
    empty = count([said[0]], right[:1]) * 0
    assert np.isfinite(judge(empty)).all()


@pytest.mark.parametrize(
    "name", ["accuracy", "bleu2", "wer", "span_f1", "macro_f1", "macro_recall", "rouge_l", "wer@captions"]
)
def test_bounds_are_those_of_the_plain_bootstrap(name):
    said, right = cases(name, 60)
    plain = bootstrap_interval(load_metric(name), said, right, num_resamples=400)
    predictions = [
        (i, Prediction(text, 0.5), refs if isinstance(refs, list) else [refs])
        for i, (text, refs) in enumerate(zip(said, right, strict=True))
    ]
    evaluation = Evaluation("t", len(said), {name: plain.value, "perplexity": 2.0}, 0.0, predictions)
    found = intervals(evaluation)
    width = plain.high - plain.low
    assert found[name] == pytest.approx((plain.low, plain.high), abs=0.2 * width + 1e-9)
    assert set(found) == {name}


def test_document_frequencies_stay_those_of_all_rows():
    said, right = cases("cider_d", 60)
    predictions = [(i, Prediction(text, 0.5), refs) for i, (text, refs) in enumerate(zip(said, right, strict=True))]
    found = intervals(Evaluation("t", 60, {"cider_d": 1.0, "distinct2": 0.5}, 0.0, predictions))
    value_N = row_values("cider_d", said, right)
    assert value_N.mean() == pytest.approx(load_metric("cider_d")(said, right))
    drawn = np.random.default_rng(5).choice(value_N, (4000, 60)).mean(1)
    assert found["cider_d"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=0.05)
    assert found.keys() == {"cider_d"}


def test_values_of_single_rows_tell_texts_apart():
    said, right = ["a red circle above", "blue square left"], [["a red circle left of a square"], ["a b c"]]
    assert row_values("bleu4", said, right)[0] > row_values("bleu4", said, right)[1] == 0
    assert load_metric("bleu4")(said[:1], right[:1]) == 0
    assert row_values("cider_d", said, right)[0] > 0


def test_nothing_judged_has_no_interval():
    assert intervals(Evaluation("write", 3, {"perplexity": 2.0}, 0.0)) == {}

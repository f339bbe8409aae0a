import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from sensorium.core.errors import ConfigError, DataError, UsageError
from sensorium.core.registry import names
from sensorium.evaluation.metrics import accuracy, exact_match, macro_f1, normalised, perplexity
from sensorium.evaluation.metrics_interval import bootstrap_interval
from sensorium.evaluation.registry import ENTRY_POINTS, METRICS, load_metric

LABELS = st.lists(st.tuples(*[st.sampled_from(["red", "blue", "Blue", "tall", ""])] * 2), min_size=1, max_size=30)


@given(LABELS)
def test_accuracy_and_macro_f1_equal_scikit_learn(pairs):
    predictions, references = (list(column) for column in zip(*pairs, strict=True))
    assert accuracy(predictions, references) == pytest.approx(accuracy_score(references, predictions))
    expected = f1_score(references, predictions, average="macro", zero_division=0)
    assert macro_f1(predictions, references) == pytest.approx(expected)


def test_any_of_several_references_is_right():
    predictions, references = ["yes", "no", "blue"], [["yes", "yeah"], ["yes", "yeah"], ["navy", "blue"]]
    assert accuracy(predictions, references) == pytest.approx(2 / 3)
    assert exact_match(predictions, references) == pytest.approx(2 / 3)
    # yes: TP 1, FN 1; no: FP 1; blue: TP 1
    assert macro_f1(predictions, references) == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_one_plain_reference_is_not_a_list_of_letters():
    assert accuracy(["y"], ["yes"]) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat.", "cat"),
        ("a man, an apple & the theatre", "man apple theatre"),
        ("U.S.A.", "usa"),
        ("twenty-one", "twentyone"),
        ("\tanother\n", "another"),
        ("the", ""),
        ("你好。", "你好。"),
    ],
)
def test_normalisation_is_squads(text, expected):
    assert normalised(text) == expected


def test_exact_match_forgives_what_accuracy_does_not():
    assert exact_match(["The red ball!"], ["red ball"]) == 1
    assert accuracy(["The red ball!"], ["red ball"]) == 0


def test_perplexity_is_per_token():
    uniform = [n * math.log(50) for n in (3, 1, 7)]
    assert perplexity(uniform, [3, 1, 7]) == pytest.approx(50)
    assert perplexity([math.log(2), 3 * math.log(8)], [1, 3]) == pytest.approx(2 ** (10 / 4))
    assert perplexity([math.inf, 1.0], [2, 2]) == math.inf
    assert perplexity([1e6], [1]) == math.inf
    assert math.isnan(perplexity([math.nan], [1]))


WORDNET = "meteor_exact_stem_wordnet"  # needs data that has to be downloaded; see test_metrics_captions
PLAIN = (["a dog runs over the green lawn", "two men sit on a bench"], ["x y z u", "v w q r"])
TAGS = (["B-NP I-NP O", "O B-VP"], ["O O B-NP", "B-NP O"])
SAMPLES = {  # texts, others that share nothing with them, and what a text says of itself and of those
    **dict.fromkeys(("accuracy", "macro_f1", "macro_precision", "macro_recall", "exact_match"), (*PLAIN, 1, 0)),
    **{f"bleu{n}": (*PLAIN, 100, 0) for n in (1, 2, 3, 4)},
    **dict.fromkeys(("span_f1", "span_precision", "span_recall"), (*TAGS, 1, 0)),
    # One chunk of m words: 1 - 0.5 / m^3.
    **dict.fromkeys(("meteor_exact", "meteor_exact_stem"), (*PLAIN, 1 - 0.25 * (7**-3 + 6**-3), 0)),
    "rouge_l": (*PLAIN, 1, 0),
    **dict.fromkeys(("cider", "cider_d"), (["a b c d e", "u v w x y"], ["f g h i", "z p q r"], 10, 0)),
    **dict.fromkeys(("distinct1", "distinct2"), (["a b c", "d e f"], ["x x x", "x x x"], 1, None)),
    "token_accuracy": (["B-NP I-NP O", "O B-VP"], ["O O B-NP", "B-NP O"], 1, 0),
    "vqa_accuracy": (["two dogs", "bench"], ["cat", "a lawn"], 1, 0),
    "wer": (PLAIN[0], ["x y z u v w q", "v w q r s t"], 0, 1),
    "cer": (["abc", "de"], ["xyz", "uv"], 0, 1),
}


def test_every_metric_has_a_sample():
    assert SAMPLES.keys() | {WORDNET} == METRICS.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_metric_is_best_for_equals_and_refuses_nothing_to_judge(name):
    metric = load_metric(name)
    texts, others, best, worst = SAMPLES[name]
    assert metric(texts, texts) == pytest.approx(best)
    assert metric(texts, [[text, text] for text in texts]) == pytest.approx(best)
    if worst is not None:
        assert metric(others, texts) == pytest.approx(worst)
    for predictions, references in ([], []), (["a"], []), (["a"], ["a", "b"]), (["a"], [[]]):
        with pytest.raises(DataError):
            metric(predictions, references)


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample[:2] == PLAIN])
def test_any_of_several_references_will_do(name):
    texts, _, best, _ = SAMPLES[name]
    assert load_metric(name)(texts, [["something else", text] for text in texts]) == pytest.approx(best)


def test_metrics_are_found_by_name():
    assert set(METRICS) <= set(names(METRICS, ENTRY_POINTS))
    with pytest.raises(ConfigError, match=r"no metric 'acuracy'.*did you mean 'accuracy'"):
        load_metric("acuracy")


def test_no_tokens_have_no_perplexity():
    for arguments in ([], []), ([0.0], [0]), ([1.0], [1, 2]):
        with pytest.raises(DataError):
            perplexity(*arguments)


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    rows = np.random.default_rng(1).normal(3, 2, size=400).tolist()
    interval = bootstrap_interval(lambda x: float(np.mean(x)), rows, num_resamples=2000)
    half = 1.96 * np.std(rows) / math.sqrt(400)
    assert interval.value == pytest.approx(np.mean(rows))
    assert interval.low == pytest.approx(np.mean(rows) - half, abs=0.03)
    assert interval.high == pytest.approx(np.mean(rows) + half, abs=0.03)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    draw, covered = random.Random(5), 0
    for trial in range(200):
        right = [draw.random() < 0.7 for _ in range(80)]
        interval = bootstrap_interval(
            lambda x: sum(x) / len(x), right, num_resamples=200, confidence=0.8, seed=trial
        )
        covered += interval.low <= 0.7 <= interval.high
    assert 0.70 < covered / 200 < 0.90


def test_bootstrap_keeps_rows_together_and_repeats_with_its_seed():
    predictions, references = ["a", "b", "c", "d"] * 5, ["a", "b", "c", "d"] * 5
    whole = bootstrap_interval(accuracy, predictions, references)
    assert (whole.low, whole.value, whole.high) == (1, 1, 1)
    references[:7] = "xyzxyzx"
    first, again, other = (bootstrap_interval(macro_f1, predictions, references, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.low <= first.value <= first.high


def test_bootstrap_refuses_what_cannot_be_meant():
    for columns in ([],), ([1], [1, 2]), ():
        with pytest.raises(DataError):
            bootstrap_interval(lambda *x: 0.0, *columns)
    for settings in {"confidence": 1.0}, {"confidence": 0}, {"num_resamples": 0}:
        with pytest.raises(UsageError):
            bootstrap_interval(lambda x: 0.0, [1], **settings)


@pytest.mark.parametrize(("one", "other"), [("+", "-"), ("A", "the"), ("?", "!"), ("*", ""), ("an", "a")])
def test_answers_of_what_is_dropped_alone_stay_apart(one: str, other: str) -> None:
    assert exact_match([one], [other]) == 0
    assert exact_match([f" {one.lower()} "], [one]) == 1

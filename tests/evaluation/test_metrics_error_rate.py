"""Error rates against jiwer's published figures, its own run, and the textbook recursion."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.evaluation.metrics_error_rate import character_error_rate, edit_distance, word_error_rate
from sensorium.evaluation.registry import load_metric

# What jiwer 4.0 says of these rows: wer 0.3958333333333333, cer 0.3333333333333333.
HEARD = ["grass runs the one with grass the", "one one grass grass green red ball", "runs one dog", "runs red dog the with dog red in", "the in with with ball green", "red", "a a dog", "dog", "", "the one", "grass in", "red ball runs"]  # fmt: skip
SAID = ["grass a the one with grass the", "one dog green grass green red ball in", "in runs one with", "in red one red the with dog red grass", "red the with with ball ball green", "red", "a dog", "in", "ball", "the dog", "grass in", "a ball runs runs"]  # fmt: skip

texts = st.text("ab ", max_size=7)


def recursion(got, want):
    @functools.cache
    def distance(i, j):
        if not i or not j:
            return i + j
        differ = got[i - 1] != want[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + differ)

    return distance(len(got), len(want))


@given(texts, texts)
def test_distance_equals_the_recursion(got, want):
    assert edit_distance(got, want) == recursion(got, want)


def test_rates_equal_jiwers():
    assert word_error_rate(HEARD, SAID) == pytest.approx(0.3958333333333333, abs=1e-12)
    assert character_error_rate(HEARD, SAID) == pytest.approx(0.3333333333333333, abs=1e-12)


@pytest.mark.slow
@given(st.lists(st.tuples(texts, texts.filter(str.strip)), min_size=1, max_size=5))
def test_rates_equal_jiwers_own_run(rows):
    jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed")
    heard, said = map(list, zip(*rows, strict=True))
    assert word_error_rate(heard, said) == pytest.approx(jiwer.wer(said, heard))


def test_white_space_counts_once_and_insertions_may_exceed_one():
    assert word_error_rate([" a  b\n"], ["a b"]) == 0
    assert character_error_rate([" a  b\n"], ["a b"]) == 0
    assert word_error_rate(["a b c"], ["d"]) == 3


def test_the_nearest_of_several_references_counts():
    assert word_error_rate(["a b"], [["c d", "a b c"]]) == pytest.approx(1 / 3)


def test_where_nothing_is_said_all_that_is_written_is_an_error():
    for metric, errors in (("wer", 2), ("cer", 3)):
        assert load_metric(metric)(["a b"], [" "]) == errors
        assert load_metric(metric)(["", ""], ["", ""]) == 0
        assert load_metric(metric)(["you", ""], ["", ""]) == (1 if metric == "wer" else 3)
        assert load_metric(metric)(["", "b"], ["", "b"]) == 0

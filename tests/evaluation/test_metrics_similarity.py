"""Similarity by word vectors: by hand, and what holds for any texts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError
from sensorium.data.word_vectors import WordVectors
from sensorium.evaluation.registry import VECTOR_METRICS, load_metric

VECTORS = WordVectors(("cat", "dog", "car", "red"), torch.tensor([[2.0, 0], [1, 1], [0, 1], [-1, 0]]))
HALF = 0.5**0.5
average = load_metric("embedding_similarity", VECTORS)
greedy = load_metric("semantic_similarity", VECTORS)


def test_the_average_by_hand():
    # (2, 0) beside the mean of (1, 1) and (0, 1) = (0.5, 1)
    assert average(["Cat"], ["dog car"]) == pytest.approx(0.5 / 1.25**0.5)
    assert average(["cat"], ["red"]) == pytest.approx(-1)
    assert average(["cat zebra"], ["cat"]) == pytest.approx(1), "a word without a vector is left out"


def test_greedy_matching_by_hand():
    # cat is 1 beside cat; dog is HALF beside cat; so P = (1 + HALF) / 2, R = 1
    p = (1 + HALF) / 2
    assert greedy(["cat dog"], ["cat"]) == pytest.approx(2 * p / (p + 1))
    # zebra matches itself alone: P = (1 + HALF) / 2; R = (1 + 1 of zebra...) by columns: zebra 1, cat HALF
    assert greedy(["zebra dog"], ["zebra cat"]) == pytest.approx((1 + HALF) / 2)
    assert greedy(["zebra"], ["cat"]) == 0


@pytest.mark.parametrize("metric", [average, greedy])
def test_the_best_reference_counts_and_rows_are_averaged(metric):
    assert metric(["cat", "car"], [["car", "cat"], ["car"]]) == pytest.approx(1)
    low = metric(["cat"], ["car"])
    assert metric(["cat", "cat"], [["car"], ["cat"]]) == pytest.approx((low + 1) / 2)


@pytest.mark.parametrize("metric", [average, greedy])
def test_texts_without_words_or_vectors(metric):
    assert metric([""], ["cat"]) == 0
    assert metric(["cat"], [""]) == 0
    assert metric([""], [""]) == 1
    assert metric(["zebra"], ["zebra"]) == 1


texts = st.lists(st.sampled_from(["cat", "dog", "car", "red", "zebra"]), max_size=5).map(" ".join)


@given(texts, texts)
def test_both_are_symmetric_and_bounded(one, other):
    for metric in (average, greedy):
        value = metric([one], [other])
        assert -1 - 1e-6 <= value <= 1 + 1e-6
        assert value == pytest.approx(metric([other], [one]), abs=1e-6)


@pytest.mark.parametrize("name", VECTOR_METRICS)
def test_without_vectors_the_advice_says_where_to_name_them(name):
    with pytest.raises(ConfigError, match=r"evaluation\.vectors"):
        load_metric(name)

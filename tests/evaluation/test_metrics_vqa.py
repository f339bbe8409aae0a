"""VQA accuracy against the definition, spelled out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.evaluation.metrics_vqa import vqa_accuracy, vqa_form

TEN = ["yes"] * 2 + ["no"] * 7 + ["maybe"]


def by_leaving_out(prediction: str, answers: list[str]) -> float:
    """Leave each person out in turn, and count the others, as the definition says."""
    shares = []
    for left_out in range(len(answers)):
        others = [answer for i, answer in enumerate(answers) if i != left_out]
        shares.append(min(1.0, others.count(prediction) / 3))
    return sum(shares) / len(shares)


@given(st.sampled_from("uvwx"), st.lists(st.sampled_from("uvw"), min_size=4, max_size=10))
def test_it_is_the_mean_over_people_left_out(prediction, answers):
    assert vqa_accuracy([prediction], [answers]) == pytest.approx(by_leaving_out(prediction, answers))


def test_published_shares():
    # Of ten who answer, three or more who agree: 1; two: 0.6; one: 0.3.
    found = [vqa_accuracy([answer], [TEN]) for answer in ("no", "yes", "maybe", "cat")]
    assert found == pytest.approx([1, 0.6, 0.3, 0])
    assert vqa_accuracy(["no", "yes"], [json.dumps(TEN), TEN]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("The Dog.", "dog"), ("two", "2"), ("1,000", "1000"), ("3.5", "3.5"), ("black/white", "black white"),
        ("yes, sir", "yes sir"), ("don't know", "dont know"), ("it’s a  cat\n", "its cat"), ("", ""),
    ],
)  # fmt: skip
def test_forms(answer, form):
    assert vqa_form(answer) == form


def test_a_list_of_something_else_is_refused():
    with pytest.raises(DataError, match="no list of answers"):
        vqa_accuracy(["a"], ["[1, 2]"])
    assert vqa_accuracy(["[a"], ["[a"]) == 1  # a text that only looks like a list

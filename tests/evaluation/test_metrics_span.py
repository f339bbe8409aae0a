"""Span metrics: cases worked by hand, and seqeval where it is installed."""

import random

import pytest

from sensorium.core.errors import DataError
from sensorium.data.tagging import Span, spans, to_bio, to_bioes
from sensorium.evaluation.metrics_span import span_counts, span_f1, span_precision, span_recall, token_accuracy


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-NP I-NP O B-NP", [("NP", 0, 2), ("NP", 3, 4)]),
        ("B-NP B-NP", [("NP", 0, 1), ("NP", 1, 2)]),
        ("I-NP I-NP O", [("NP", 0, 2)]),  # a span that begins with I, as conlleval allows
        ("B-NP I-VP", [("NP", 0, 1), ("VP", 1, 2)]),
        ("S-X B-X E-X S-X", [("X", 0, 1), ("X", 1, 3), ("X", 3, 4)]),
        ("B-X I-X E-X I-X", [("X", 0, 3), ("X", 3, 4)]),
        ("B I O B", [("", 0, 2), ("", 3, 4)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
        ("O NN Begin", []),
        ("", []),
    ],
)
def test_spans(tags, expected):
    assert spans(tags.split()) == [Span(*span) for span in expected]


def random_tags(rng: random.Random, marks: str) -> list[str]:
    tags = [f"{mark}-{kind}" for mark in marks for kind in ("X", "Y")] + ["O"]
    return [rng.choice(tags) for _ in range(rng.randrange(1, 9))]


def test_bioes_and_back_keeps_every_span():
    rng = random.Random(0)
    for marks in ("BI", "BIES"):
        for tags in (random_tags(rng, marks) for _ in range(300)):
            assert spans(to_bioes(tags)) == spans(tags) == spans(to_bio(tags))
            assert to_bio(to_bioes(to_bio(tags))) == to_bio(tags)
    assert to_bioes(["B-X", "I-X", "I-X", "B-X", "O"]) == ["B-X", "I-X", "E-X", "S-X", "O"]


def test_f1_by_hand():
    references = ["B-NP I-NP O B-VP", "B-NP O"]
    predictions = ["B-NP I-NP O O", "B-NP I-NP"]  # 1 right, 2 predicted, 3 wanted
    assert span_precision(predictions, references) == 1 / 2
    assert span_recall(predictions, references) == 1 / 3
    assert span_f1(predictions, references) == pytest.approx(2 / 5)
    assert token_accuracy(predictions, references) == 4 / 6
    counts = span_counts(predictions, references)
    assert (counts["NP"].right, counts["NP"].predicted, counts["NP"].referred) == (1, 2, 2)
    assert counts["VP"].precision == counts["VP"].recall == counts["VP"].f1 == 0
    assert span_f1(["O O"], ["O O"]) == 0


def test_rows_of_unequal_length_are_named():
    with pytest.raises(DataError, match=r"row 1: 1 tags do not pair with the reference's 2"):
        span_f1(["O", "O"], ["O", "O O"])


@pytest.mark.parametrize("marks", ["BI", "BIES"])
def test_equals_seqeval(marks):
    seqeval = pytest.importorskip("seqeval.metrics")
    rng = random.Random(1)
    for _ in range(200):
        wanted = [random_tags(rng, marks) for _ in range(3)]
        found = [[rng.choice([tag, *random_tags(rng, marks)[:1]]) for tag in row] for row in wanted]
        texts = [" ".join(row) for row in found], [" ".join(row) for row in wanted]
        assert span_f1(*texts) == pytest.approx(seqeval.f1_score(wanted, found, zero_division=0))
        assert span_precision(*texts) == pytest.approx(seqeval.precision_score(wanted, found, zero_division=0))
        assert span_recall(*texts) == pytest.approx(seqeval.recall_score(wanted, found, zero_division=0))

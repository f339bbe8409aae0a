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
        ("O NN Begin", [("NN", 1, 2), ("Begin", 2, 3)]),  # of no scheme: token by token
        ("U-X L-X M-X B-X M-X E-X", [("X", 0, 1), ("X", 1, 2), ("X", 2, 3), ("X", 3, 6)]),
        ("X-B X-I O Y-U", [("X", 0, 2), ("Y", 3, 4)]),
        ("b_per i_per o", [("per", 0, 2)]),
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
    assert span_f1(["O O"], ["O O"]) == span_precision(["O O"], ["O O"]) == span_recall(["O O"], ["O O"]) == 1
    assert span_f1(["O O"], ["O B-X"]) == span_precision(["O O"], ["O B-X"]) == 0


def test_rows_with_too_many_tags_are_named():
    with pytest.raises(DataError, match=r"row 1: 2 tags do not pair with the reference's 1"):
        span_f1(["O", "O O"], ["O", "O"])


def test_tokens_without_a_tag_are_wrong_and_in_no_span():
    assert token_accuracy(["B-X O", ""], ["B-X O O B-X", "O"]) == 2 / 5
    assert span_recall(["B-X O", ""], ["B-X O O B-X", "O"]) == 1 / 2
    assert span_precision(["B-X O", ""], ["B-X O O B-X", "O"]) == 1


def written(spans_of: list[tuple[str, int, int]], length: int, scheme: str, *, suffix: bool) -> list[str]:
    """Tag a sentence in a scheme, straight from the spans."""
    tags = ["O"] * length
    first, middle, last, single = {"BIO": "BIIB", "IOB1": "IIII", "BILOU": "BILU", "BMES": "BMES", "IOE2": "IIEE"}[
        scheme
    ]
    for kind, start, end in spans_of:
        marks = [first, *[middle] * (end - start - 2), last] if end - start > 1 else [single]
        if scheme == "IOB1" and start and tags[start - 1] in (f"I-{kind}", f"B-{kind}", f"{kind}-I", f"{kind}-B"):
            marks[0] = "B"
        tags[start:end] = [f"{kind}-{mark}" if suffix else f"{mark}-{kind}" for mark in marks]
    return tags


@pytest.mark.parametrize("suffix", [False, True])
@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BILOU", "BMES", "IOE2"])
def test_every_scheme_says_the_same_spans_and_seqeval_agrees(scheme, suffix):
    seqeval, schemes = pytest.importorskip("seqeval.metrics"), pytest.importorskip("seqeval.scheme")
    strict = {"BIO": "IOB2", "BMES": "IOBES"}.get(scheme, scheme)
    rng = random.Random(2)
    for _ in range(100):
        sides = []
        for _ in range(2):
            spans_of, at = [], 0
            while at < 9:
                end = at + rng.randrange(1, 4)
                if rng.random() < 0.6:
                    spans_of.append((rng.choice("XYZ") * 2, at, min(end, 10)))
                at = end
            sides.append((spans_of, written(spans_of, 10, scheme, suffix=suffix)))
        for spans_of, tags in sides:
            assert spans(tags) == [Span(*span) for span in spans_of]
            assert spans(to_bioes(tags)) == spans(to_bio(tags)) == spans(tags)
            assert span_f1([" ".join(tags)], [" ".join(tags)]) == 1
        (_, found), (meant, wanted) = sides
        if meant:
            ours = span_f1([" ".join(found)], [" ".join(wanted)])
            as_seqeval = [
                [[tag.replace("M-", "I-") if scheme == "BMES" else tag for tag in found]]
                for found in (wanted, found)
            ]
            if not suffix:
                kind = getattr(schemes, strict)
                assert ours == pytest.approx(
                    seqeval.f1_score(*as_seqeval, mode="strict", scheme=kind, zero_division=0)
                )
            elif scheme != "BMES":
                kind = getattr(schemes, strict)
                theirs = seqeval.f1_score(*as_seqeval, mode="strict", scheme=kind, suffix=True, zero_division=0)
                assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    "tags", ["NN VB NN", "U-PER O U-LOC", "PER-B PER-I O", "B_X I_X", "b-x i-x o", "O O", "S", "PER PER O"]
)
def test_identical_tags_are_perfect_by_every_metric(tags):
    for metric in (span_f1, span_precision, span_recall, token_accuracy):
        assert metric([tags], [tags]) == 1


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

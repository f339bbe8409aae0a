"""Labels that training never had are told by name, beside the one that they look like."""

from __future__ import annotations

import pytest

from sensorium.data.tokenizers import TOKENIZERS, build
from sensorium.evaluation.unseen_labels import KnownLabels, alike_note

ALIKE = [
    ("0", "0.0"),
    ("1", "+1"),
    ("7", "007"),
    ("True", "TRUE"),
    ("True", "true"),
    ("caf\xe9", "CAFE\u0301"),
    ("cat", "\uff23\uff41\uff54"),
    ("cat", "c\u200bat"),
    ("cat", "ca\xadt"),
    ("hot dog", "hot\u200b dog"),
    ("stra\xdfe", "STRASSE"),
    ("yes", "Yes."),
    ("2024-01-31T13:00:05", "2024-01-31 13:00:05"),
    ("2024-01-31T00:00:00", "2024-01-31"),
    ("2024-01-31 00:00:00", "2024-01-31"),
]


class Plain:
    """A tokenizer that changes nothing."""

    def normalised(self, text):
        return text


@pytest.mark.parametrize(("known", "said"), ALIKE)
def test_what_looks_like_a_known_label_is_told_beside_it(known, said):
    note = KnownLabels(Plain(), [known, "other"]).unseen_note([known, said, "other"])
    assert note.startswith("1 of 3 rows have a label that training never had and cannot be answered right: ")
    assert "training has '" in note
    assert note.endswith("; write each label in one way, in this table or where training reads it")


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_labels_that_look_alike_within_training_are_told_by_their_rows(one, other):
    note = alike_note({one: 3, other: 12, "else": 4})
    assert note.startswith("labels that look alike are different answers, by rows: ")
    assert note.index("(12)") < note.index("(3)")
    assert "else" not in note
    assert note.endswith("; write each label in one way")


@pytest.mark.parametrize(
    ("one", "other"),
    [("0", "00.5"), ("C", "C++"), ("c", "C#"), ("-1", "1"), ("yes", "no"), ("2024-01-31T13:00:05", "2024-01-31")],
)
def test_what_does_not_look_alike_is_not_told(one, other):
    assert alike_note({one: 1, other: 1}) == ""
    assert "training has" not in KnownLabels(Plain(), [one]).unseen_note([other])


def test_invisible_differences_are_shown_by_their_signs():
    assert "'c\\u200bat' (1; training has 'cat')" in KnownLabels(Plain(), ["cat"]).unseen_note(["c\u200bat"])


def test_all_known_says_nothing_and_many_are_counted():
    labels = KnownLabels(Plain(), ["a", "b"])
    assert labels.unseen_note(["a", "b", " b  "]) == ""
    note = labels.unseen_note([*("c" for _ in range(5)), "d", "e", "f", "B"])
    assert note == (
        "9 of 9 rows have a label that training never had and cannot be answered right: "
        "'B' (1; training has 'b'), 'c' (5), 'd' (1), and 2 more"
        "; write each label in one way, in this table or where training reads it"
    )


@pytest.mark.parametrize("name", sorted(set(TOKENIZERS) - {"tag", "hf", "published"}))
def test_what_a_tokenizer_writes_alike_is_known(name):
    tokenizer = build(name).fit(["Yes", "no", "caf\xe9"] * 3)
    labels = KnownLabels(tokenizer, ["Yes", "no", "caf\xe9"])
    is_composed = tokenizer.normalised("cafe\u0301") == "caf\xe9"
    assert labels.unseen_note(["Yes", "no ", "caf\xe9"]) == ""
    assert (labels.unseen_note(["cafe\u0301"]) == "") == is_composed
    assert labels.unseen_note(["zebra"]).endswith("right: 'zebra' (1)")


def test_each_tag_of_a_row_is_looked_at():
    tokenizer = build("tag").fit(["B-NP O", "O O"])
    labels = KnownLabels(tokenizer, None)
    assert labels.unseen_note(["B-NP O O"]) == ""
    assert labels.unseen_note(["B-NP b-np", "I-NP B-VP"]).startswith("2 of 2 rows")

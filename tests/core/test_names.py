"""Names that people type: the near one is found whatever the letters' case or the joining signs."""

from __future__ import annotations

import pytest

from sensorium.core.errors import DataError, UsageError
from sensorium.core.names import near, nearest, require_known

KNOWN = ("question", "photo", "image_path")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Question", "question"),
        ("QUESTION", "question"),
        (" question ", "question"),
        ("Image-Path", "image_path"),
        ("image path", "image_path"),
        ("qestion", "question"),
        ("\u200bquestion", "question"),
        ("question\u00a0", "question"),
        ("\uff51uestion", "question"),
        ("fish", None),
    ],
)
def test_the_name_that_was_meant(said, meant):
    assert near(said, KNOWN) == meant


def test_of_two_that_differ_in_case_alone_the_first_is_named():
    assert near("TEXT", ["Text", "text"]) == "Text"


def test_advice_lists_all_where_none_is_near():
    assert nearest("fish", KNOWN) == "known: question, photo, image_path"
    assert nearest("fish", [], listed="it has") == "it has none"
    assert nearest("fish", [f"column{i:02d}" for i in range(50)]).endswith("column29, and 20 more")


def test_an_unknown_name_is_refused_with_the_near_one():
    require_known(["photo"], KNOWN, "input")
    with pytest.raises(DataError, match=r"^t.csv: no column 'Photo' \(did you mean 'photo'\?\)$"):
        require_known(["photo", "Photo"], KNOWN, "column", where="t.csv", error=DataError)
    with pytest.raises(UsageError, match="no input 'x'"):
        require_known("x", KNOWN, "input")


@pytest.mark.parametrize("known", ["cafe\u0301", "\u200bcaf\xe9", "caf\xe9\u00ad", "caf\xe9\u3000"])
def test_names_that_look_alike_are_told_by_their_signs(known):
    assert nearest("caf\xe9", [known]).endswith(f"they look alike: {known!a} is not 'caf\\xe9'")
    assert "alike" not in nearest("Caf\xe9", ["caf\xe9"])

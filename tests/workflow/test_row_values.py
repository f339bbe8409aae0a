"""Values that Python programs hand over as an input mean what they would in a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError, UsageError
from sensorium.workflow.api import Sensorium


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Sensorium:
    folder: Path = tmp_path_factory.mktemp("values")
    (folder / "t.csv").write_text("a,b,label\n" + "nan x,0.1 y,p\nother,2.5 z,q\n" * 8)
    text = {"modality": "text", "encoder": "bag_of_words"}
    config = {
        "data": {"train": "t.csv"},
        "inputs": {"a": text, "b": text},
        "target": {"column": "label", "task": "classify"},
        "fusion": {"width": 8},
        "training": {"epochs": 1},
    }
    return Sensorium.from_config(config, folder).fit(folder / "run")


@pytest.mark.parametrize("nothing", [float("nan"), np.float32("nan"), np.datetime64("NaT"), ""])
def test_a_missing_value_is_an_absent_input(model, nothing):
    assert model.predict(a=nothing, b="y").probability == model.predict(b="y").probability
    with pytest.raises(UsageError, match="a row without any input"):
        model.predict(a=nothing)


def test_numbers_are_written_as_in_tables(model):
    assert model.predict(b=np.float32(0.1)).probability == model.predict(b="0.1").probability


@pytest.mark.parametrize(
    ("value", "message"),
    [({"a": 1}, "an object"), ("\0", "NUL"), ("\ud83d", "not valid UTF-8"), (np.array(["a", "b"]), "not a list")],
)
def test_what_is_no_text_is_refused(model, value, message):
    with pytest.raises((DataError, UsageError), match=message):
        model.predict(a=value)


@pytest.mark.parametrize("numbers", [[1], [0, 1, 2], [0, -1], []])
def test_each_row_has_one_number_of_its_own(model, numbers):
    with pytest.raises(UsageError, match="2 rows need as many numbers"):
        model.predictor.predict([{"a": "x"}, {"a": "y"}], numbers=numbers)

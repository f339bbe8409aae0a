"""What people do with what they saved: through the command line and Python, from a table to the end."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sensorium
from sensorium.cli.main import app
from sensorium.core.errors import DataError, UsageError

CONFIG = """
[data]
train = "t.csv"
[inputs.text]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "classify"
[fusion]
width = 8
[training]
epochs = 2
batch_rows = 32
learning_rate = 0.01
[evaluation]
report = false
baselines = false
"""


def reviews(num: int) -> list[tuple[str, str]]:
    rng = random.Random(0)
    words = {"pos": ["good", "great", "fine", "nice"], "neg": ["bad", "awful", "poor", "dull"]}
    return [
        (" ".join(rng.choices(words[label], k=4)), label) for i in range(num) for label in [("pos", "neg")[i % 2]]
    ]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", reviews(60))
    (tmp_path / "c.toml").write_text(CONFIG)
    done = CliRunner().invoke(app, ["train", "c.toml", "--out", "run"])
    assert done.exit_code == 0, done.output
    return tmp_path


def test_saving_keeps_what_else_lies_in_a_folder(folder):
    (folder / "models").mkdir()
    (folder / "models" / "thesis.txt").write_text("years of work")
    model = sensorium.load("run")
    for out in ("models", "run", ".", "t.csv"):
        with pytest.raises(UsageError):
            model.save(out)
    assert (folder / "models" / "thesis.txt").read_text() == "years of work"
    assert (folder / "run" / "evaluation.json").exists()
    assert model.save("models/reviews") == Path("models/reviews")
    assert sensorium.load("models/reviews").predict(text="good great").text == model.predict(text="good great").text


def test_a_run_on_corrected_data_is_not_gone_on_with(folder):
    rows = reviews(60)
    rows[3] = (rows[3][0], "pos")
    write(folder / "t.csv", rows)
    refused = CliRunner().invoke(app, ["train", "c.toml", "--out", "run", "--resume"])
    assert isinstance(refused.exception, DataError)
    assert "column 'label'" in str(refused.exception)


def test_a_run_that_is_moved_with_its_project_answers_from_any_folder(folder, tmp_path_factory, monkeypatch):
    before = sensorium.load("run").predict(text="good great bad")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "project"
    folder.rename(elsewhere)
    monkeypatch.chdir(elsewhere.parent)
    after = sensorium.load("project/run").predict(text="good great bad")
    assert (after.text, after.probability) == (before.text, pytest.approx(before.probability, abs=1e-6))
    monkeypatch.chdir(elsewhere)
    folder.mkdir()  # pytest removes it

"""Rows that one task is judged on and another learns from are counted, by `train` and `check`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.training.progress import Silent
from sensorium.workflow.task_leaks import leaks_between
from sensorium.workflow.tasks_config import load_any
from sensorium.workflow.tasks_prepare import prepare_tasks
from sensorium.workflow.tasks_train import train_any

CONFIG = """
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 8
channels = [4]
grid = 1
[inputs.said]
modality = "text"
encoder = "bag_of_words"
[fusion]
width = 8
[language]
scorers = ["ngram"]
[training]
max_steps = 1
[evaluation]
baselines = false
report = false
[tasks.colour]
inputs = ["photo", "said"]
[tasks.colour.data]
train = "colour.csv"
split_column = "split"
cache = ""
[tasks.colour.target]
column = "label"
task = "classify"
[tasks.shape]
inputs = ["photo", "said"]
[tasks.shape.data]
train = "shape.csv"
split_column = "split"
cache = ""
[tasks.shape.target]
column = "label"
task = "classify"
"""


def write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = [f"{photo},{said},{'ab'[i % 2]},{split}" for i, (photo, said, split) in enumerate(rows)]
    path.write_text("\n".join(["photo,said,label,split", *lines]), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    colour = [(f"{i}.png", "what", "train") for i in range(6)]
    colour += [("6.png", "what", "validation"), ("7.png", "what", "validation"), ("8.png", "what", "test")]
    colour += [("", "Written here", "train"), ("", "only here", "validation")]
    shape = [(f"{i}.png", "what", "train") for i in (6, 9, 10)]
    shape += [("copy.png", "which", "validation"), ("", "written  HERE", "validation"), ("11.png", "what", "test")]
    write(tmp_path / "colour.csv", colour)
    write(tmp_path / "shape.csv", shape)
    (tmp_path / "c.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


OF_COLOUR = "validation: of 3 rows 1 have media that train 'shape'"
OF_SHAPE = "validation: of 2 rows 2 have media that train 'colour'"


def test_rows_are_counted_by_content_and_by_whole_texts(folder):
    tasks = prepare_tasks(load_any(folder / "c.toml")).tasks
    found = leaks_between({name: task.corpora for name, task in tasks.items()})
    assert [len(sentences) for sentences in found.values()] == [1, 1], "test rows are known to nobody"
    assert found["colour"][0].startswith(OF_COLOUR)
    assert "colour.csv:8 and shape.csv:2" in found["colour"][0]
    assert found["shape"][0].startswith(OF_SHAPE)
    assert "shape.csv:5 and colour.csv:2" in found["shape"][0]


def test_what_only_its_own_training_has_is_not_anothers(folder):
    write(folder / "shape.csv", [(f"{i}.png", "what", "train") for i in (9, 10)] + [("9.png", "x", "validation")])
    tasks = prepare_tasks(load_any(folder / "c.toml")).tasks
    found = leaks_between({name: task.corpora for name, task in tasks.items()})
    assert found == {"colour": [], "shape": []}


def test_train_says_it_and_keeps_it(folder):
    said: list[str] = []
    train_any(load_any(folder / "c.toml"), out=folder / "run", progress=Silent(), say=said.append)
    for name, sentence in (("colour", OF_COLOUR), ("shape", OF_SHAPE)):
        assert any(line.startswith(f"{name} warning: {sentence}") for line in said)
    summary = json.loads((folder / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert any(note.startswith(OF_SHAPE) for note in summary["tasks"]["shape"]["notes"])


def test_check_says_it(folder):
    facts = json.loads(CliRunner().invoke(app, ["check", str(folder / "c.toml"), "--json"]).stdout)
    assert any(
        str(value).startswith(OF_COLOUR) for key, value in facts.items() if key.startswith("colour: warning")
    )
    assert any(str(value).startswith(OF_SHAPE) for key, value in facts.items() if key.startswith("shape: warning"))

"""Rows that are judged and known from training are counted and named, by `train`, `check` and the report."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from sensorium.cli.check import check
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.leaks import leaks
from sensorium.workflow.prepare import prepare
from sensorium.workflow.train import train

TEXT = """
[data]
train = "train.csv"
validation = "test.csv"
cache = ""
[inputs.text]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "classify"
[training]
epochs = 1
[evaluation]
baselines = false
"""
PHOTO = """
[data]
train = "train.csv"
validation = "test.csv"
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 8
[target]
column = "label"
task = "classify"
"""


@pytest.fixture
def texts(tmp_path):
    words = [f"w{i}" for i in range(400)]
    draw = np.random.default_rng(0).choice
    train = [" ".join(draw(words, 12)) for _ in range(60)]
    test = [train[3].upper(), *(" ".join(train[i].split()[2:11]) for i in range(10, 15)), " ".join(draw(words, 12))]
    for name, rows in {"train": train, "test": test}.items():
        lines = [f"{text},{i % 2}" for i, text in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    (tmp_path / "c.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_train_says_it_keeps_it_and_reports_it(texts, tmp_path):
    said = []
    train(load_config(texts / "c.toml"), out=tmp_path / "run", progress=Silent(), say=said.append)
    expected = "validation: of 7 rows 1 have the very texts and 5 have nearly the texts of training rows"
    assert any(line.startswith(f"warning: {expected}") and "test.csv:2 and train.csv:5" in line for line in said)
    (note,) = json.loads((tmp_path / "run/evaluation.json").read_text(encoding="utf-8"))["notes"]
    assert note.startswith(expected)
    assert expected in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_check_says_it(texts, capsys):
    check(str(texts / "c.toml"))
    assert "1 have the very texts and 5 have nearly the texts" in capsys.readouterr().out


def test_media_are_compared_by_content_and_by_what_they_show(tmp_path):
    random = np.random.default_rng(0)
    pictures = [
        Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((90, 90)) for _ in range(12)
    ]
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    file = io.BytesIO()
    pictures[1].resize((50, 60)).save(file, "JPEG", quality=60)
    (tmp_path / "small.jpg").write_bytes(file.getvalue())
    tables = {"train": [f"{i}.png" for i in range(10)], "test": ["copy.png", "10.png", "small.jpg", "11.png"]}
    for name, rows in tables.items():
        lines = [f"{cell},{i % 2}" for i, cell in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["photo,label", *lines]), encoding="utf-8")
    (tmp_path / "c.toml").write_text(PHOTO, encoding="utf-8")
    config = load_config(tmp_path / "c.toml")
    (sentence,) = leaks(prepare(config).corpora, {"photo": "image"}, config.media)
    assert "of 4 rows 1 have the very 'photo' and 1 have nearly the 'photo' of training rows" in sentence
    assert "test.csv:2 and train.csv:2" in sentence


def test_search_that_was_cut_short_says_so_even_where_it_found_nothing(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for i in range(12):
        picture = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        picture.resize((90, 90)).save(tmp_path / f"{i}.png")
    for name, rows in {"train": range(8), "test": range(8, 12)}.items():
        lines = [f"{i}.png,{i % 2}" for i in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(["photo,label", *lines]), encoding="utf-8")
    (tmp_path / "c.toml").write_text(PHOTO, encoding="utf-8")
    config = load_config(tmp_path / "c.toml")
    corpora = prepare(config).corpora
    assert leaks(corpora, {"photo": "image"}, config.media) == []
    monkeypatch.setattr("sensorium.workflow.leaks.MOST_MEDIA", 3)
    (sentence,) = leaks(corpora, {"photo": "image"}, config.media)
    assert sentence.startswith("validation: no rows with nearly the 'photo' of training rows were found; looked at")
    assert "looked at 3 of 4 of them, and at 3 of 8 of training" in sentence

"""Where `[data] folder` lets media paths start, every command that reads a table lets them start there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from small_runs import COMMON

import sensorium

CONFIG = """
[data]
train = "tables/t.csv"
folder = "shots"
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 16
channels = [4, 4]
grid = 2
[inputs.name]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "classify"
[language]
scorers = ["naive_bayes"]
[fusion.alignment]
inputs = ["photo", "name"]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "tables").mkdir()
    (folder / "shots").mkdir()
    lines = ["photo,name,label"]
    for i in range(24):
        Image.new("RGB", (16, 16), (200, 20, 20) if i % 2 else (20, 200, 20)).save(folder / "shots" / f"{i}.png")
        lines.append(f"{i}.png,{'red' if i % 2 else 'green'},{'warm' if i % 2 else 'cold'}")
    (folder / "tables" / "t.csv").write_text("\n".join(lines))
    (folder / "c.toml").write_text(CONFIG + COMMON)
    sensorium.Sensorium.from_config(folder / "c.toml").fit(folder / "run")
    return folder


def test_predict_explain_evaluate_and_retrieve_find_the_photos(run, monkeypatch, sensorium_command):
    monkeypatch.chdir(run)
    code, out, err = sensorium_command("predict", "run", "--table", "tables/t.csv", "--json")
    assert code == 0, err
    told = [answer["probability"] for answer in json.loads(out)["predictions"][:4]]
    model = sensorium.load("run")
    names = ("green", "red", "green", "red")
    asked = [model.predict(photo=f"shots/{i}.png", name=names[i]).probability for i in range(4)]
    assert told == pytest.approx(asked, rel=1e-4)
    assert sensorium_command("evaluate", "run", "--data", "tables/t.csv")[0] == 0
    assert sensorium_command("explain", "run", "--row", "tables/t.csv:3", "--map", "none")[0] == 0
    words = ("retrieve", "run", "--input", "name=red", "--among", "tables/t.csv", "--find", "photo", "--json")
    code, out, err = sensorium_command(*words)
    assert code == 0, err
    assert json.loads(out)["found"][0]["cell"].endswith(".png")

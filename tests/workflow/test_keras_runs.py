"""Networks that Keras saved in whole runs: their features are kept, and the model needs their files no more."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import sensorium
from sensorium.core.errors import ConfigError
from sensorium.data.keras_file import import_keras
from sensorium.model.frozen import FeaturePreparer
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.train import RunResult, train

# Importing it to see whether it is there would choose a backend.
if importlib.util.find_spec("keras") is None:
    pytest.skip("needs the extra 'keras'", allow_module_level=True)
keras = import_keras()
L = keras.layers
COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
CONFIG = """
[data]
train = "rows.csv"
cache = "{cache}"
[inputs.photo]
modality = "image"
encoder = "keras:photo.keras"
pixels = "0..1"
layer = "{layer}"
frozen = true
[inputs.question]
modality = "text"
encoder = "keras:question.h5"
vocabulary = "words.txt"
frozen = true
[inputs.sound]
modality = "audio"
encoder = "keras:sound.keras"
num_mels = 12
frozen = true
[target]
column = "answer"
task = "classify"
[fusion]
features = "concat"
width = 16
[language]
scorers = ["transformer"]
[language.transformer]
layers = 1
width = 16
heads = 2
[training]
max_steps = 3
batch_rows = 6
[evaluation]
baselines = false
"""


def write_networks(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    place = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, strides=4, name="places")(place)
    keras.Model(place, L.Dense(5, name="top")(L.Flatten()(x))).save(folder / "photo.keras")
    keras.Sequential([keras.Input((6,), dtype="int64"), L.Embedding(9, 6), L.LSTM(5)]).save(folder / "question.h5")
    keras.Sequential([keras.Input((None, 12)), L.Conv1D(5, 3, strides=4)]).save(folder / "sound.keras")
    (folder / "words.txt").write_text("\n".join(["", "[UNK]", "is", "it", *COLORS]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_networks(tmp_path)
    rows = []
    for i in range(18):
        name = list(COLORS)[i % 3]
        Image.new("RGB", (20, 18), COLORS[name]).save(tmp_path / f"{i}.png")
        soundfile.write(tmp_path / f"{i}.wav", np.sin(np.arange(4000) * (0.1 + i % 3)) / 2, 16_000)
        cells = [f"is it {name}?", f"{i}.png", f"{i}.wav"]
        if i % 6 > 2:
            cells[i % 6 - 3] = ""
        rows.append([*cells, name])
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "photo", "sound", "answer"], *rows])
    return tmp_path


def run(folder: Path, out: str, layer: str = "places", cache: str = "") -> RunResult:
    config = config_from_text(CONFIG.format(layer=layer, cache=cache), folder)
    return train(config, out=folder / out, progress=Silent())


def answers(folder: Path, out: str) -> list[tuple[str, float]]:
    model = sensorium.load(folder / out)
    rows = [
        {"photo": str(folder / "0.png"), "question": "is it red?", "sound": str(folder / "0.wav")},
        {"photo": str(folder / "1.png")},
        {"sound": str(folder / "1.wav")},
    ]
    return [(one.text, one.probability) for one in model.predict(rows)]


def test_a_model_needs_the_files_no_more(folder: Path) -> None:
    result = run(folder, "run")
    assert all(isinstance(preparer, FeaturePreparer) for preparer in result.prepared.model.preparers.values())
    want = answers(folder, "run")
    for name in ("photo.keras", "question.h5", "sound.keras", "words.txt"):
        (folder / name).unlink()
    assert answers(folder, "run") == want
    assert answers(folder, "run/model") == want


def test_another_layer_is_not_read_from_the_cache_of_the_first(folder: Path) -> None:
    widths = [
        run(folder, f"run-{i}", layer, str(folder / "cache")).prepared.model.encoders["photo"].outlet.norm.weight
        for i, layer in enumerate(("places", "top", "places"))
    ]
    assert [len(width) for width in widths] == [4, 5, 4]


def test_it_is_used_as_it_was_saved(folder: Path) -> None:
    text = CONFIG.format(layer="top", cache="").replace("frozen = true", "", 1)
    with pytest.raises(ConfigError, match=r"'image.keras' learns nothing.*set frozen = true"):
        config_from_text(text, folder)


def test_how_pixels_are_scaled_has_to_be_said(folder: Path) -> None:
    text = CONFIG.format(layer="top", cache="").replace('pixels = "0..1"', "", 1)
    with pytest.raises(ConfigError, match=r"'inputs.photo.pixels' is missing"):
        config_from_text(text, folder)

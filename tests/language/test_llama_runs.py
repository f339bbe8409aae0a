"""A published decoder through a whole run: trained, saved, its source deleted, loaded, asked."""

import shutil

import llama_folders
import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium import Sensorium

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def photos(folder):
    llama_folders.save_folder(llama_folders.network(), folder / "lm")
    rows = ["photo,caption"]
    for i in range(16):
        name = list(COLOURS)[i % 2]
        Image.fromarray(np.full((16, 16, 3), COLOURS[name], np.uint8)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,a {name} world")
    (folder / "photos.csv").write_text("\n".join(rows) + "\n")


def fit(folder, options, *, scorers, steps, **target):
    photos(folder)
    config = {
        "data": {"train": "photos.csv"},
        "inputs": {"photo": {"modality": "image", "encoder": "cnn", "size": 16, "channels": [8, 8]}},
        "target": {"column": "caption", "task": "caption", **target},
        "fusion": {"width": 16},
        "language": {"scorers": list(scorers), "llama": options},
        "training": {"max_steps": steps, "batch_rows": 8, "learning_rate": 0.01},
        "evaluation": {"baselines": False, "report": False},
        "decoding": {"max_tokens": 12},
    }
    return Sensorium.from_config(config, folder).fit(folder / "run")


@pytest.mark.parametrize(
    ("options", "target"),
    [({"lora": {"rank": 2}, "rate_decay": 0.9}, {"keep": "seen"}), ({"dtype": "bfloat16"}, {})],
    ids=["lora", "bfloat16"],
)
def test_a_saved_model_needs_no_source(tmp_path, options, target):
    trained = fit(tmp_path, options, scorers=("llama:lm", "ngram"), steps=3, **target)
    before = trained.predict(photo=tmp_path / "0.png")
    shutil.rmtree(tmp_path / "lm")
    loaded = sensorium.load(tmp_path / "run")
    after = loaded.predict(photo=tmp_path / "0.png")
    assert (after.text, after.probability) == (before.text, pytest.approx(before.probability, rel=1e-4))


def test_it_learns_what_the_photos_show(tmp_path):
    trained = fit(tmp_path, {"frozen": False}, scorers=["llama:lm"], steps=80)
    said = [trained.predict(photo=tmp_path / f"{i}.png").text for i in range(2)]
    assert said == ["a red world", "a blue world"]

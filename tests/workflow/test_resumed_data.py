"""A resumed run goes on with what it was begun with, or not at all: whatever has changed is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from PIL import Image

from sensorium.core.errors import ConfigError, DataError, SensoriumError
from sensorium.training.generations import latest_whole
from sensorium.training.progress import Silent
from sensorium.workflow.tasks_config import any_from_text
from sensorium.workflow.tasks_train import run_any

MADE_IN = "/tmp/golden"
NAMES = {"holes": "shapes.csv", "tasks": "shapes.csv", "pretraining": "shapes.csv", "crf": "tags.txt"}


@pytest.fixture(scope="module", params=NAMES)
def begun(request, golden, tmp_path_factory) -> Path:
    """A folder with a run of a kind that has made its steps, and its own copy of the data."""
    folder = tmp_path_factory.mktemp(request.param)
    copytree(golden / "data", folder / "data")
    text = (golden / request.param / "config.toml").read_text(encoding="utf-8").replace(MADE_IN, str(folder))
    (folder / "config.toml").write_text(re.sub(r"epochs = \d+", "epochs = 1", text), encoding="utf-8")
    resume(folder, first=True)
    return folder


def resume(folder: Path, *, first: bool = False, change: Callable[[str], str] = lambda text: text) -> None:
    text = change((folder / "config.toml").read_text(encoding="utf-8"))
    run_any(any_from_text(text, folder), out=folder / "run", resume=not first, progress=Silent())


def table(folder: Path) -> Path:
    name = next(name for name in NAMES if folder.name.startswith(name))
    return folder / "data" / NAMES[name]


def corrected(text: str) -> str:
    """Correct one label."""
    return text.replace(",yes\n", ",no\n", 1) if ",yes\n" in text else text.replace(" B-PER\n", " O\n", 1)


def reordered(text: str) -> str:
    lines = text.split("\n\n" if "NNP" in text else "\n")
    lines[1:4] = lines[3:0:-1]
    return ("\n\n" if "NNP" in text else "\n").join(lines)


def shortened(text: str) -> str:
    end = "\n\n" if "NNP" in text else "\n"
    return end.join(text.rstrip().split(end)[:-1]) + end


@pytest.mark.parametrize("change", [corrected, reordered, shortened])
def test_another_table_is_refused_and_named(begun, change):
    path = table(begun)
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    model = (begun / "run" / "model" / "manifest.json").read_bytes()
    if begun.name.startswith("pretraining") and change is corrected:
        pytest.skip("no label is read")
    try:
        path.write_text(change(text), encoding="utf-8")
        assert change(text) != text
        with pytest.raises(DataError, match=r"begun with has changed: .*(column|rows)"):
            resume(begun)
    finally:
        path.write_text(text, encoding="utf-8")
    assert (begun / "run" / "model" / "manifest.json").read_bytes() == model
    resume(begun)


def test_another_photo_under_the_same_name_is_refused_and_named(begun):
    if begun.name.startswith("crf"):
        pytest.skip("no photo is read")
    photo = begun / "data" / "1.png"
    before = photo.read_bytes()
    try:
        Image.effect_noise((40, 40), 90).convert("RGB").save(photo)
        with pytest.raises(DataError, match="files of input 'photo'"):
            resume(begun)
    finally:
        photo.write_bytes(before)


def test_a_column_that_nobody_reads_may_come_and_test_rows_may_change(begun):
    path = table(begun)
    if path.suffix != ".csv":
        pytest.skip("not a table of named columns")
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    lines = text.splitlines()
    try:
        path.write_text("\n".join([f"{lines[0]},note", *(f"{line},x" for line in lines[1:])]) + "\n")
        resume(begun)
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "setting",
    [
        *('workers = 0"', "keep_checkpoints = 1", "log_every", "checkpoint_every"),
        *("max_bad_fraction = 0.01", "max_pixels = 40000000", 'cache = ""'),
    ],
)
def test_what_training_calls_free_may_change(begun, setting):
    changed = {
        'workers = 0"': ("workers = 0", "workers = 1"),
        "keep_checkpoints = 1": ("keep_checkpoints = 1", "keep_checkpoints = 3"),
        "log_every": ("[training]\n", "[training]\nlog_every = 2\n"),
        "checkpoint_every": ("[training]\n", "[training]\ncheckpoint_every = 2\n"),
        "max_bad_fraction = 0.01": ("max_bad_fraction = 0.01", "max_bad_fraction = 0.5"),
        "max_pixels = 40000000": ("max_pixels = 40000000", "max_pixels = 4000"),
        'cache = ""': ('cache = ""', f'cache = "{begun / "cache"}"'),
    }
    old, new = changed[setting]
    text = (begun / "config.toml").read_text(encoding="utf-8")
    assert old in text
    resume(begun, change=lambda text: text.replace(old, new))
    assert new.strip().splitlines()[-1] in (begun / "run" / "config.toml").read_text(encoding="utf-8")
    resume(begun)


@pytest.mark.parametrize("key", ["learning_rate", "epochs", "batch_rows", "warmup"])
def test_what_weights_depend_on_may_not(begun, key):
    with pytest.raises(ConfigError, match=rf"training\.{key}"):
        resume(begun, change=lambda text: re.sub(rf"\n{key} = .+\n", f"\n{key} = 7\n", text))


def test_a_checkpoint_of_a_day_before_digests_were_kept_is_taken_at_its_word(begun):
    folder, _ = latest_whole(begun / "run")
    state = json.loads((folder / "state.json").read_text())
    assert state["data"]
    from sensorium.training.checkpoint import require_same_data

    for what in state["data"]:
        with pytest.raises(SensoriumError, match=re.escape(what)):
            require_same_data(begun / "run", {**state["data"], what: "another"})
    require_same_data(begun / "run", state["data"])
    require_same_data(begun / "run", {})

"""Small real data that many tests share."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

# A busy machine must not fail a property: no time limit for an example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A job in the background of a shell ignores Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
CONFIG = """
[data]
train = "shapes.csv"
validation_fraction = 0.25
cache = ""

[inputs.photo]
modality = "image"
encoder = "cnn"
size = 16
channels = [8, 16]
grid = 2

[inputs.question]
modality = "text"
encoder = "gru"

[target]
column = "answer"

[fusion]
features = "concat"
width = 32

[language]
scorers = ["transformer"]

[language.transformer]
layers = 1
width = 32
heads = 2

[training]
epochs = 2
batch_rows = 16
learning_rate = 0.004
"""


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shapes.csv` (photo, question, answer; 120 rows, 30 photos) and `shapes.toml`."""
    folder = tmp_path_factory.mktemp("shapes")
    rows = []
    for i in range(30):
        name = list(COLORS)[i % 3]
        Image.new("RGB", (16, 16), COLORS[name]).save(folder / f"{i}.png")
        for j, asked in enumerate(COLORS):
            rows.append((f"{i}.png", f"is it {asked}?", "yes" if asked == name else "no"))
            if j == 0:
                # every fourth row has a hole: no question, no photo, or neither
                photo = "" if i % 10 == 3 else f"{i}.png"
                rows.append((photo, "what color is it?" if i % 10 != 4 else "", name))
    with (folder / "shapes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "question", "answer"])
        writer.writerows(rows)
    (folder / "shapes.toml").write_text(CONFIG, encoding="utf-8")
    return folder


@pytest.fixture
def shapes(shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shapes folder, with the working directory in a fresh place so that runs/ is made there."""
    monkeypatch.chdir(tmp_path)
    return shapes_folder


class LargestTensor(TorchDispatchMode):
    """Remembers the most numbers that any operation made at once, whatever the machine's allocator does."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            # A view that is expanded holds no more than what it shows.
            if isinstance(tensor, torch.Tensor) and 0 not in tensor.stride():
                self.numbers = max(self.numbers, tensor.numel())
        return made


@pytest.fixture
def largest_tensor() -> LargestTensor:
    """A context within which the largest tensor that is made is remembered."""
    return LargestTensor()


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of reference data sets, if it is there."""
    folder = Path(os.environ.get("SENSORIUM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"reference data sets are not in {folder}; set SENSORIUM_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny published network by its architecture, made when it is first asked for."""
    from published_folders import save_published

    folder = tmp_path_factory.mktemp("published")
    return lambda name: folder / name if (folder / name).is_dir() else save_published(name, folder / name)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small finished runs, by name, and of their data; a test copies what it changes."""
    folder = tmp_path_factory.mktemp("golden")
    for archive in (Path(__file__).parent / "golden").glob("*.zip"):
        shutil.unpack_archive(archive, folder / archive.stem)
    return folder

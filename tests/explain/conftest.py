"""One small model that sees, hears and reads, trained for a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from sensorium import Sensorium
from sensorium.training.progress import Silent

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
CONFIG = {
    "data": {"train": "senses.csv", "validation_fraction": 0.25, "cache": ""},
    "inputs": {
        "photo": {"modality": "image", "encoder": "cnn", "size": 16, "channels": [8, 16], "grid": 4},
        "sound": {"modality": "audio", "encoder": "cnn", "num_mels": 8, "channels": [8, 8], "rate_hz": 4000},
        "question": {"modality": "text", "encoder": "gru", "embedding": 16, "hidden": 16},
    },
    "target": {"column": "answer", "task": "answer"},
    "fusion": {"features": "concat", "width": 16},
    "language": {
        "scorers": ["transformer", "ngram"],
        "transformer": {"layers": 2, "width": 16, "heads": 2},
    },
    "training": {"max_steps": 30, "batch_rows": 16, "learning_rate": 0.01},
    "evaluation": {"baselines": False},
}


@pytest.fixture(scope="session")
def senses_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `senses.csv` (photo, sound, question, answer), its media, and a run trained on it in `run`."""
    folder = tmp_path_factory.mktemp("senses")
    lines = ["photo,sound,question,answer"]
    for i in range(12):
        name = list(COLORS)[i % 3]
        image = Image.new("RGB", (16, 16), (245, 245, 245))
        image.paste(COLORS[name], (4, 4, 10, 10))
        image.save(folder / f"{i}.png")
        time_N = np.arange(2000) / 4000
        soundfile.write(folder / f"{i}.wav", 0.3 * np.sin(2 * np.pi * (200 + 300 * (i % 2)) * time_N), 4000)
        lines.append(f"{i}.png,{i}.wav,what color is it?,{name}")
        lines.append(f"{i}.png,{i}.wav,how does it sound?,{'high' if i % 2 else 'low'}")
        lines.append(f"{i}.png,,is it red?,{'yes' if name == 'red' else 'no'}")
    (folder / "senses.csv").write_text("\n".join(lines) + "\n")
    Sensorium.from_config(CONFIG, folder).fit(folder / "run", progress=Silent())
    return folder


@pytest.fixture(scope="session")
def senses(senses_folder: Path) -> Sensorium:
    """The trained model."""
    return Sensorium.load(senses_folder / "run")


@pytest.fixture(scope="session")
def seen_row(senses_folder: Path) -> dict[str, str]:
    """A row with all three inputs."""
    photo, sound = senses_folder / "4.png", senses_folder / "4.wav"
    return {"photo": str(photo), "sound": str(sound), "question": "what color is it?"}

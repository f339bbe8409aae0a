"""A published network of clips in a whole run: trained or frozen, saved, and asked where its source is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import transformers
from published_folders import PATCHES, SQUARE, TINY

import sensorium
from sensorium.data.synthesis.clip_table import write_clips
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.train import train

CONFIG = """
[data]
train = "clips/clips.csv"
cache = "cache"
[inputs.clip]
modality = "video"
encoder = "hf:videomae"
{lines}
[inputs.question]
modality = "text"
encoder = "gru"
[target]
column = "answer"
[fusion]
width = 16
[language]
scorers = ["transformer"]
[language.transformer]
layers = 1
width = 16
heads = 2
[training]
max_steps = 2
batch_rows = 4
learning_rate = 0.01
[evaluation]
baselines = false
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = transformers.VideoMAEConfig(**TINY, **PATCHES, num_frames=4, tubelet_size=2)
    transformers.VideoMAEModel(config).save_pretrained(tmp_path / "videomae")
    processor = transformers.VideoMAEImageProcessorPil(size={"shortest_edge": 18}, crop_size=SQUARE)
    processor.save_pretrained(tmp_path / "videomae")
    write_clips(tmp_path / "clips", 20, 0, size=32, questions=2)
    return tmp_path


@pytest.mark.parametrize("lines", ["", "frozen = true"])
def test_trained_saved_and_asked_again_where_the_source_is_gone(lines: str, folder: Path) -> None:
    config = config_from_text(CONFIG.format(lines=lines), folder)
    result = train(config, out=folder / "run", progress=Silent())
    assert result.fitted.report is not None
    assert result.fitted.report.num_steps == 2
    (clip, *_) = sorted((folder / "clips").rglob("*.mp4"))
    row = {"clip": clip, "question": "which shape moves left?"}
    want = sensorium.load(folder / "run").predict(**row)
    shutil.rmtree(folder / "videomae")
    model = sensorium.load(folder / "run" / "model")
    got = model.predict(**row)
    assert (got.text, got.probability) == (want.text, pytest.approx(want.probability, rel=1e-5))
    without = model.predict(question=row["question"])
    assert without.probability != pytest.approx(got.probability, rel=1e-6), "the clip says something"

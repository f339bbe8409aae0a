"""Scorers that count the words of inputs, in whole runs: alone, mixed with a neural one, with holes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.core.types import MediaBatch, words_by_row
from sensorium.workflow.api import Sensorium
from sensorium.workflow.config import load_config
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.train import train

LABELS = ["target.task=classify", "evaluation.baselines=false"]


def shapes_config(shapes: Path, *changes: str):
    text = (
        (shapes / "shapes.toml")
        .read_text()
        .replace("[language.transformer]\nlayers = 1\nwidth = 32\nheads = 2\n", "")
    )
    text = text.replace(
        'encoder = "cnn"\nsize = 16\nchannels = [8, 16]\ngrid = 2',
        'encoder = "words"\nsize = 16\ncodes = 3\npatch = 8\nstride = 8',
    )
    path = shapes / "words.toml"
    path.write_text(text)
    return load_config(path, [*LABELS, *changes])


def test_words_by_row():
    media = MediaBatch(
        torch.tensor([[5, 6], [7, 0]]), torch.tensor([[True, True], [True, False]]), torch.tensor([1, -1, 0, 1])
    )
    assert words_by_row(media).tolist() == [[7, -1], [-1, -1], [5, 6], [7, -1]]
    none = MediaBatch(torch.zeros(0, 0, dtype=torch.int64), None, torch.tensor([-1, -1]))
    assert words_by_row(none).shape == (2, 0)


@pytest.mark.parametrize("scorer", ["naive_bayes", "nb_svm"])
def test_a_run_by_counting_alone(shapes, tmp_path, scorer):
    config = shapes_config(shapes, f"language.scorers=['{scorer}']", "training.epochs=1")
    result = train(config, out=tmp_path / "run")
    assert result.fitted.report is None
    model = Sensorium.load(tmp_path / "run")
    picture = str(shapes / "0.png")
    again = Predictor.load(tmp_path / "run").predict([{"photo": picture, "question": "what color is it?"}])[0]
    assert again.text == "red" == model.predict(photo=picture, question="what color is it?").text
    assert model.predict(question="is it red?").text in ("yes", "no")
    assert np.isfinite(model.score("yes", question="is it red?"))


@pytest.mark.parametrize("mix", ["linear", "product"])
def test_a_run_with_a_neural_scorer(shapes, tmp_path, mix):
    config = shapes_config(shapes, "language.scorers=['transformer','naive_bayes']", f"language.mix={mix}")
    result = train(config, out=tmp_path / "run")
    assert set(result.fitted.weights) == {"transformer", "naive_bayes"}
    assert result.fitted.weights["naive_bayes"] > 0
    assert Sensorium.load(tmp_path / "run").predict(question="is it red?").text in ("yes", "no")


def test_a_misspelt_input_is_named(shapes):
    with pytest.raises(ConfigError, match="'qestion'") as error:
        shapes_config(shapes, "language.scorers=['naive_bayes']", "language.naive_bayes.inputs=['qestion']")
    assert "question" in str(error.value.advice)

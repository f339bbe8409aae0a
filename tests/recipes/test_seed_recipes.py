"""The recipes that put a published BERT, large image networks and counts together: each learns, and answers.

They run as they stand, but for a tiny random BERT, smaller pictures and a few steps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sensorium
from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

RECIPES = Path(__file__).parents[2] / "recipes"
GRADIENT = ["training.max_steps=2", "training.batch_rows=4"]
BERT = ['inputs.question.encoder="hf:{bert}"', *GRADIENT]
LABELS = ("circle", "square", "triangle", "diamond")
CHANGES = {
    "bert_resnet50": BERT,
    "bert_vgg16": [*BERT, "inputs.photo.size=32"],
    "bert_resnet_gru": BERT,
    "cnn_embedding_dnn": GRADIENT,
    "counts_naive_bayes": ["inputs.sound.codes=16"],
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds") / "scenes"
    return write_scenes(folder, 60, 0, SceneOptions(size=32, sound=True))


@pytest.mark.parametrize("name", CHANGES)
def test_recipe_trains_and_answers(
    name: str, scenes: Path, published: Callable[[str], Path], tmp_path: Path
) -> None:
    changes = [change.format(bert=published("bert")) if "{bert}" in change else change for change in CHANGES[name]]
    changes += [f"data.train='{scenes}'", "data.cache=''", "evaluation.max_rows=6", "evaluation.baselines=false"]
    config = load_config(RECIPES / f"{name}.toml", changes)
    result = train(config, out=tmp_path / "run", progress=Silent())
    assert result.evaluation.num_rows == 6
    model = sensorium.load(tmp_path / "run")
    cells = {
        "photo": scenes.parent / "photos" / "000004.png",
        "question": "is there a red circle?",
        "sound": scenes.parent / "sounds" / "000004.wav",
    }
    known = {column: cell for column, cell in cells.items() if column in config.model.inputs}
    whole = model.predict(**known)
    assert isinstance(whole.text, str)
    assert 0 < whole.probability <= 1
    for column, cell in known.items():
        alone = model.predict(**{column: cell})
        assert 0 < alone.probability <= 1
    if result.fitted.report is not None:
        assert result.fitted.report.num_steps == 2


def test_words_and_sounds_are_both_counted(scenes: Path, tmp_path: Path) -> None:
    changes = [f"data.train='{scenes}'", "data.cache=''", "evaluation.baselines=false", "inputs.sound.codes=16"]
    result = train(
        load_config(RECIPES / "counts_naive_bayes.toml", changes), out=tmp_path / "run", progress=Silent()
    )
    assert result.fitted.report is None, "nothing descends"
    model = sensorium.load(tmp_path / "run")
    cells = {"question": "is there a red circle?", "sound": scenes.parent / "sounds" / "000004.wav"}
    said = {tuple(round(model.score(label, **{n: cell}), 3) for label in LABELS) for n, cell in cells.items()}
    assert len(said) == 2, "each says something of its own"

"""Runs of an earlier day's formats load, and answer as they answered then.

Each run was made by `make.py`, with the program of its day, and lies packed beside this file with what its model
answered (`answers.json`).  Here it is unpacked in another place than it was made in, so these are moved runs, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import sensorium
from sensorium.core.commit import verify
from sensorium.training.progress import Silent
from sensorium.workflow.predictor import load_predictors
from sensorium.workflow.tasks_config import load_any
from sensorium.workflow.train import train

HERE = Path(__file__).parent
ANSWERS: dict[str, Any] = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
MADE_IN = "/tmp/golden"


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "pretraining"])
def test_a_run_answers_as_on_its_day(golden, name):
    if name == "published":
        pytest.importorskip("transformers")
    verify(golden / name / "model")
    predictors = load_predictors(golden / name)
    for task, expected in ANSWERS[name].items():
        predictor, rows = predictors[task], expected["rows"]
        predictor.folder = golden / "data"
        found = predictor.predict(rows)
        assert [one.text for one in found] == [text for text, _ in expected["predictions"]]
        assert [one.probability for one in found] == pytest.approx(
            [probability for _, probability in expected["predictions"]], rel=1e-3, abs=1e-9
        )
        assert predictor.score(rows, expected["targets"]) == pytest.approx(expected["log_probabilities"], abs=1e-4)


def test_what_a_run_was_taught_is_still_known_and_forgotten(golden):
    model = sensorium.load(golden / "lesson")
    assert [(one.source, one.texts, one.weight) for one in model.taught] == [("zoo", ("a zebra in red",), 5)]
    before = model.score("a zebra in red", photo=golden / "data" / "0.png")
    model.forget("zoo")
    assert model.score("a zebra in red", photo=golden / "data" / "0.png") < before - 0.1


def test_a_pretraining_encodes_as_on_its_day(golden):
    from make import features_of

    found = features_of(golden / "pretraining", golden / "data")
    for name, expected in ANSWERS["pretraining"].items():
        assert found[name] == pytest.approx(expected, abs=1e-4)


def test_a_checkpoint_is_gone_on_from(golden, tmp_path):
    """A finished run, resumed with the tables where they are now, makes no step and answers alike."""
    run = copytree(golden / "holes", tmp_path / "holes")
    config = (run / "config.toml").read_text(encoding="utf-8").replace(MADE_IN, str(golden))
    (run / "config.toml").write_text(config, encoding="utf-8")
    result = train(load_any(run / "config.toml"), out=run, resume=True, progress=Silent())
    assert result.fitted.report.num_steps == 90
    expected = ANSWERS["holes"][""]
    (predictor,) = load_predictors(run).values()
    predictor.folder = golden / "data"
    assert predictor.score(expected["rows"], expected["targets"]) == pytest.approx(
        expected["log_probabilities"], abs=1e-4
    )

"""A measurement that is interrupted does not say that what it had is saved, and what was saved is named."""

from __future__ import annotations

import pytest

from sensorium.training.interrupt import InterruptedTrainingError
from sensorium.training.progress import Silent
from sensorium.workflow import baselines, compare, contenders
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train


def interrupt(config, model, train, validation, run, **options):
    assert run.is_dir()
    raise InterruptedTrainingError(f"stopped by SIGINT after step 3; everything is saved: {run}", where=str(run))


def test_an_interrupted_baseline_names_the_run_that_is_saved(shapes, monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "fit_model", interrupt)
    config = load_config(shapes / "shapes.toml", ["training.epochs=1", "evaluation.report=false"])
    with pytest.raises(InterruptedTrainingError) as caught:
        train(config, out=tmp_path / "run", progress=Silent())
    assert "the baseline 'photo only'" in str(caught.value)
    assert "everything" not in str(caught.value)
    assert f"--out {tmp_path / 'run'} --resume" in str(caught.value)
    assert (tmp_path / "run" / "model" / "manifest.json").exists()


def test_an_interrupted_comparison_ends_and_fails_no_contender(shapes, monkeypatch, tmp_path):
    monkeypatch.setattr(contenders, "fit_model", interrupt)
    config = load_config(shapes / "shapes.toml", ["training.epochs=1"])
    with pytest.raises(InterruptedTrainingError, match="a contender") as caught:
        compare.compare(config, ["concat"], num_seeds=1, jobs=0, out=tmp_path / "compare")
    assert "everything" not in str(caught.value)

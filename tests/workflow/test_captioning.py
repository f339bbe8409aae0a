"""Captioning from config to report: metrics by name, smoothed labels, averaged weights, a memory of neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.core.errors import ConfigError
from sensorium.workflow.api import Sensorium
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

CAPTION = ["target.task=caption", "decoding.search=beam", "decoding.max_tokens=5", "training.epochs=1"]


def caption_config(shapes: Path, *changes: str):
    return load_config(shapes / "shapes.toml", [*CAPTION, *changes])


@pytest.fixture(scope="module")
def trained(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    config = caption_config(
        shapes_folder,
        "language.scorers=['transformer','ngram','neighbours']",
        "language.label_smoothing=0.1",
        "training.average=ema",
        "evaluation.baselines=false",
        "evaluation.metrics=['rouge_l','bleu4@13a','cider_d','distinct2']",
    )
    return train(config, out=tmp_path_factory.mktemp("caption") / "run")


def test_the_named_metrics_judge_the_run_everywhere(trained):
    summary = json.loads((trained.run / "evaluation.json").read_text())
    assert list(summary["metrics"]) == ["rouge_l", "bleu4@13a", "cider_d", "distinct2", "perplexity"]
    assert summary["tokenize"]["bleu4@13a"] == "13a"
    assert summary["tokenize"]["rouge_l"] == "captions"
    assert set(summary["intervals"]) == {"rouge_l", "bleu4@13a", "cider_d"}
    report = (trained.run / "report.html").read_text()
    assert "ROUGE-L" in report
    assert "BLEU-4 (13a)" in report
    model = Sensorium.load(trained.run)
    assert list(model.evaluate().metrics) == list(summary["metrics"])
    assert model.evaluate().metrics == pytest.approx(summary["metrics"])
    assert list(model.evaluate(metrics=["wer"]).metrics) == ["wer", "perplexity"]
    with pytest.raises(ConfigError, match="did you mean 'cider_d'"):
        model.evaluate(metrics=["cider_dd"])


def test_the_command_takes_metrics_and_shows_intervals(trained):
    arguments = ["evaluate", str(trained.run), "--metric", "rouge_l", "--metric", "bleu1@blanks", "--intervals"]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert list(told["metrics"]) == ["rouge_l", "bleu1@blanks", "perplexity"]
    assert told["tokenize"]["bleu1@blanks"] == "blanks"
    low, high = told["intervals"]["rouge_l"]
    assert low <= told["metrics"]["rouge_l"] <= high
    shown = CliRunner().invoke(app, arguments).stdout
    assert "blanks" in shown
    assert "95 %" in shown


def test_the_memory_holds_the_training_rows_and_is_saved(trained):
    memory = trained.prepared.model.parts["neighbours"]
    train_rows = trained.prepared.train
    assert len(memory.key_) == train_rows.num_rows
    loaded = Sensorium.load(trained.run).predictor.model.parts["neighbours"]
    for name, value in memory.state_dict().items():
        assert value.equal(loaded.state_dict()[name]), name
    assert set(trained.fitted.weights) == {"transformer", "ngram", "neighbours"}
    assert "memory" in trained.fitted.seconds


def test_captions_are_judged_by_these_unless_told_otherwise(shapes, tmp_path):
    result = train(
        caption_config(shapes, "evaluation.baselines=false", "evaluation.report=false"), out=tmp_path / "r"
    )
    assert list(result.evaluation.metrics) == [
        "bleu4", "bleu1", "bleu2", "bleu3", "meteor_exact_stem", "rouge_l", "cider_d", "distinct2", "perplexity",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["evaluation.metrics=['bleu44']"], "no metric 'bleu44'"),
        (["evaluation.metrics=['bleu4','bleu4']"], "name each metric once"),
        (["evaluation.metrics=['bleu4@java']"], "no way to split words 'java'"),
        (["evaluation.metrics=['semantic_similarity']"], "needs word vectors"),
        (["language.label_smoothing=1.5"], "label_smoothing"),
        (["language.label_smoothing=0.1", "language.transformer={scorer='ngram'}"], "no scorer learns by gradient"),
        (
            ["language.label_smoothing=0.1", "language.transformer={scorer='readout'}"],
            "no word by word distribution",
        ),
        (
            ["language.label_smoothing=0.1", "language.train=through", "language.scorers=['transformer','ngram']"],
            "through the counts",
        ),
        (["training.average=mean"], "average"),
    ],
)
def test_settings_that_mean_nothing_are_refused(shapes, changes, message):
    with pytest.raises(ConfigError, match=message):
        caption_config(shapes, *changes)

"""A model judged under every presence pattern: each as by itself, and each medium encoded once for all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import sensorium
from sensorium.cli.main import app
from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.types import Batch, MediaBatch
from sensorium.evaluation.missing import MOST_INPUTS, presence_patterns
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train


@pytest.fixture(scope="module")
def run(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = ["training.epochs=12", "evaluation.baselines=false", "fusion.input_dropout=0.3"]
    out = tmp_path_factory.mktemp("patterns") / "run"
    return train(load_config(shapes_folder / "shapes.toml", changes), out=out, progress=Silent()).run


def test_all_subsets_largest_first():
    assert presence_patterns(["a", "b"]) == [("a", "b"), ("a",), ("b",), ()]
    assert presence_patterns([]) == [()]
    patterns = presence_patterns([str(i) for i in range(5)])
    assert len(patterns) == len(set(patterns)) == 32
    assert len(presence_patterns([str(i) for i in range(MOST_INPUTS)])) == 2**MOST_INPUTS
    with pytest.raises(UsageError, match="presence patterns"):
        presence_patterns([str(i) for i in range(MOST_INPUTS + 1)])


def test_each_pattern_is_judged_as_if_alone(run, shapes_folder):
    model, table = sensorium.load(run), shapes_folder / "shapes.csv"
    found = model.evaluate_missing(table)
    assert [pattern.name for pattern in found] == ["photo+question", "photo", "question", "nothing"]
    for pattern in found:
        alone = model.evaluate(table, only=pattern.inputs)
        assert pattern.evaluation.num_rows == alone.num_rows == 120
        assert pattern.evaluation.metrics == pytest.approx(alone.metrics)
        assert [p.text for _, p, _ in pattern.evaluation.predictions] == [p.text for _, p, _ in alone.predictions]
    assert len({pattern.evaluation.metrics["perplexity"] for pattern in found}) == 4
    # Three rows lack the photo and three the question, all others have both.
    assert [pattern.num_complete for pattern in found] == [114, 117, 117, 120]


def test_a_medium_is_encoded_once_for_all_patterns(run, shapes_folder, monkeypatch):
    model = sensorium.load(run)
    encoded: Counter[str] = Counter()
    for name, encoder in model.predictor.model.encoders.items():
        encoder.register_forward_pre_hook(lambda _, media, name=name: encoded.update({name: len(media[0].values)}))
    model.evaluate(shapes_folder / "shapes.csv", only=["photo", "question"])
    plain = encoded.copy()
    encoded.clear()
    model.config = model.config.replace(
        evaluation=model.config.evaluation.model_copy(update={"batch_rows": 4 * 512})
    )
    model.evaluate_missing(shapes_folder / "shapes.csv")
    assert encoded == plain


def test_the_command_prints_a_row_a_pattern(run):
    command = [sys.executable, "-m", "sensorium", "evaluate", str(run), "--missing", "--max-rows", "9"]
    facts = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, text=True).stdout)
    assert [pattern["inputs"] for pattern in facts["patterns"]] == [
        ["photo", "question"],
        ["photo"],
        ["question"],
        [],
    ]
    assert {"accuracy", "perplexity"} <= facts["patterns"][0]["metrics"].keys()
    refused = subprocess.run([*command, "--only", "photo"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--only" in refused.stderr


def test_the_metrics_that_were_asked_for_are_those_of_all_patterns(run):
    words = ["evaluate", str(run), "--missing", "--max-rows", "9", "--metric", "bleu1", "--json"]
    facts = json.loads(CliRunner().invoke(app, words).stdout)
    assert ["bleu1" in pattern["metrics"] for pattern in facts["patterns"]] == [True] * 4
    with pytest.raises(ConfigError, match="did you mean 'bleu1'"):
        sensorium.load(run).evaluate_missing(metrics=["bleux1"])


def test_patterns_have_no_intervals(run):
    with pytest.raises(UsageError, match="--missing has no intervals"):
        CliRunner().invoke(app, ["evaluate", str(run), "--missing", "--intervals"], catch_exceptions=False)


def test_rows_under_patterns_stand_pattern_by_pattern():
    row_B = torch.tensor([0, -1, 1])
    media = MediaBatch(torch.zeros(2, 3), None, row_B)
    token_BT = torch.arange(6).view(3, 2)
    batch = Batch(torch.arange(3), {"a": media, "b": media}, token_BT, torch.ones(3, 2, dtype=torch.bool))
    both = batch.under([frozenset("b"), frozenset("ab")])
    assert both.row_id_B.tolist() == [0, 1, 2] * 2
    assert both.inputs["a"].row_B.tolist() == [-1, -1, -1, 0, -1, 1]
    assert both.inputs["b"].row_B.tolist() == row_B.tolist() * 2
    assert both.inputs["a"].values is media.values
    assert torch.equal(both.token_BT, torch.cat([token_BT, token_BT]))
    assert Batch(torch.arange(3), {}).under([frozenset()] * 2).num_rows == 6

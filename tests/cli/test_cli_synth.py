"""`sensorium synth` and `sensorium report` as a user types them."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.core.errors import UsageError


def run(*arguments: str):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_scenes_become_a_model_and_a_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    facts = json.loads(run("synth", "scenes", "--out", "s", "--rows", 60, "--seed", 3, "--size", 16, "--json"))
    assert facts["rows"] == 60
    run("init", facts["table"])
    text = (tmp_path / "s" / "scenes.toml").read_text()
    assert 'split_column = "split"' in text
    changes = ["training.epochs=1", "evaluation.baselines=false", "data.cache="]
    sets = [part for change in changes for part in ("--set", change)]
    summary = json.loads(run("train", "s/scenes.toml", "--out", "r", "--json", *sets))
    assert summary["judged_on"] == "test"
    assert summary["rows"] == 12
    (tmp_path / "r" / "report.html").unlink()
    made = json.loads(run("report", "r", "--json"))
    assert made["bytes"] == (tmp_path / "r" / "report.html").stat().st_size < 10_000_000


def test_pairs_and_bad_options(tmp_path):
    for name, column in (("a", "photo"), ("b", "sound")):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([[column, "label"], ["x", "1"], ["y", "2"]])
    out = run(
        "synth", "pairs", tmp_path / "a.csv", tmp_path / "b.csv", "--on", "label", "--out", tmp_path / "c.csv"
    )
    assert "2 rows" in out
    assert (tmp_path / "c.csv").read_text().splitlines()[0] == "photo,label,sound"
    with pytest.raises(UsageError, match="--clip wants"):
        run("synth", "scenes", "--out", tmp_path / "s", "--clip", "gif")
    with pytest.raises(UsageError, match="--speech wants"):
        run("synth", "scenes", "--out", tmp_path / "s", "--speech", "label")


def test_texts_are_spoken(tmp_path):
    pytest.importorskip("espeakng_loader")
    (tmp_path / "a.csv").write_text("text\nhello\n")
    facts = json.loads(
        run(
            "synth",
            "speech",
            tmp_path / "a.csv",
            "--column",
            "text",
            "--voices",
            2,
            "--out",
            tmp_path / "b.csv",
            "--json",
        )
    )
    assert facts["rows"] == 2

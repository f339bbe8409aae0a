"""`sensorium explain` and Python's `explain_row`, `contributions`: files, pictures, errors, frozen encoders."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import sensorium
from sensorium import Sensorium
from sensorium.cli.main import app
from sensorium.core.commit import MANIFEST, verify
from sensorium.core.errors import MissingExtraError, UsageError
from sensorium.explain.scorers import answer_ids
from sensorium.explain.variants import Variants
from sensorium.training.progress import Silent


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["explain", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def written(senses_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """What the command writes about row 2 of the table, and what it prints."""
    out = tmp_path_factory.mktemp("explained")
    row = f"{senses_folder / 'senses.csv'}:2"
    told = run(str(senses_folder / "run"), "--row", row, "--target", "red", "--out", str(out), "--json")
    return out, json.loads(told)


def test_numbers_and_pictures_of_a_row(written) -> None:
    out, facts = written
    assert facts["row"] == "senses.csv:2"
    assert facts["text"] == "red"
    verify(out)
    assert sorted(facts["files"]) == sorted(str(path) for path in out.iterdir() if path.name != MANIFEST)
    names = [f"{name}.{method}" for name in ("photo", "sound", "question") for method in
             ("occlusion", "integrated_gradients", "rollout")]  # fmt: skip
    assert {f"{found['input']}.{found['method']}" for found in facts["maps"]} == set(names)
    assert facts["left_out"] == {}
    for stem in ["inputs", *names]:
        assert min(Image.open(out / f"{stem}.png").size) > 100
        assert "<svg" in (out / f"{stem}.svg").read_text()
        assert (out / f"{stem}.csv").exists()
    assert len({(out / f"{stem}.png").read_bytes() for stem in names}) == len(names)
    kept = json.loads((out / "explanation.json").read_text())
    assert kept["inputs"]["shapley"] == facts["inputs"]["shapley"]


def test_the_words_and_the_blind_line_are_in_the_pictures(written) -> None:
    out, _ = written
    words = (out / "question.occlusion.svg").read_text()
    assert all(f">{word}<" in words for word in ("what", "color", "red"))
    bars = (out / "inputs.svg").read_text()
    assert all(word in bars for word in ("photo", "sound", "question", "blind", "nothing shown"))


def test_the_numbers_in_csv(written, senses) -> None:
    out, facts = written
    rows = table(out / "inputs.csv")
    shapley = {name: float(value) for what, name, value in rows[1:] if what == "shapley"}
    pattern = {name: float(value) for what, name, value in rows[1:] if what == "pattern"}
    assert len(pattern) == 8
    assert sum(shapley.values()) == pytest.approx(pattern["photo+sound+question"] - pattern[""])
    assert rows[-1] == ["blind", "", str(pattern["question"])]
    pixels = table(out / "photo.occlusion.csv")
    assert pixels[0] == ["y", "x", "whole", "red", "</s>"]
    assert len(pixels) == 1 + 16 * 16
    assert all(float(r[2]) == pytest.approx(float(r[3]) + float(r[4]), abs=1e-9) for r in pixels[1:])
    assert [row[1] for row in table(out / "question.occlusion.csv")[1:]] == ["what", "color", "is", "it", "?"]
    areas = [row for row in table(out / "photo.occlusion.curves.csv") if row[0] == "whole area"]
    found = next(m for m in facts["maps"] if (m["input"], m["method"]) == ("photo", "occlusion"))
    assert float(areas[0][2]) == pytest.approx(found["areas"]["deletion"])
    tokens = table(out / "tokens.csv")
    assert tokens[0][:3] == ["token", "log_p", "transformer log_p"]
    assert "photo shapley" in tokens[0]
    assert [row[0] for row in tokens[1:]] == ["red", "</s>"]


def test_a_row_by_inputs_as_a_table(senses_folder: Path, senses, seen_row) -> None:
    asked = [word for name, value in seen_row.items() for word in ("--input", f"{name}={value}")]
    told = run(str(senses_folder / "run"), *asked, "--map", "none", "--value", "probability")
    assert told.startswith(senses.generate(**seen_row))
    assert "maps" not in told
    assert all(word in told for word in ("probability:", "photo", "sound", "question", "blind", "ngram"))


def test_a_table_on_average(senses_folder: Path, tmp_path: Path) -> None:
    path = str(senses_folder / "senses.csv")
    out = tmp_path / "mean"
    facts = json.loads(
        run(str(senses_folder / "run"), "--data", path, "--max-rows", "9", "--out", str(out), "--json")
    )
    assert facts["rows"] == 9
    assert sum(facts["shapley"].values()) == pytest.approx(facts["full"] - facts["empty"])
    assert facts["blind"] == facts["patterns"]["question"]
    assert {p.name for p in out.iterdir()} == {MANIFEST, "inputs.csv", "inputs.png", "inputs.svg"}
    text = run(str(senses_folder / "run"), "--data", "test", "--max-rows", "4")
    assert "mean of 4 rows" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "one of --input"),
        (["--row", "x.csv:2", "--data", "x.csv"], "one of --input"),
        (["--row", "senses.csv"], "TABLE:LINE"),
        (["--row", "senses.csv:999"], "no row at line 999"),
        (["--input", "question"], "NAME=VALUE"),
        (["--input", "question=is it red?", "--map", "oclusion"], "did you mean 'occlusion'"),
        (["--input", "question=is it red?", "--value", "odds"], "no value is called 'odds'"),
    ],
)
def test_what_cannot_be_meant(senses_folder: Path, monkeypatch, words, said) -> None:
    monkeypatch.chdir(senses_folder)
    with pytest.raises(UsageError, match=said):
        run("run", *words)


def test_without_matplotlib_the_extra_is_named(senses, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="plot"):
        senses.explain_row({"question": "is it red?"}, methods=(), out=tmp_path / "out")


def test_a_method_that_cannot_map_an_input_is_told_of(senses_folder: Path, tmp_path: Path) -> None:
    """A bag of words has one position: there is no attention to roll out over it, but words can be hidden."""
    config = {
        "data": {"train": "senses.csv", "cache": ""},
        "inputs": {"question": {"modality": "text", "encoder": "bag_of_words", "hidden": 8}},
        "target": {"column": "answer", "task": "answer"},
        "fusion": {"width": 8},
        "language": {"scorers": ["transformer"], "transformer": {"layers": 1, "width": 8, "heads": 1}},
        "training": {"max_steps": 1},
        "evaluation": {"baselines": False},
    }
    model = Sensorium.from_config(config, senses_folder).fit(tmp_path / "run", progress=Silent())
    explanation = model.explain_row({"question": "is it red?"}, "yes")
    assert [found.method for found in explanation.maps] == ["occlusion", "integrated_gradients"]
    assert "one vector" in explanation.left_out["question.rollout"]


def test_a_frozen_encoder_is_explained_in_its_pixels(senses_folder: Path, tmp_path: Path) -> None:
    config = {
        "data": {"train": "senses.csv", "cache": ""},
        "inputs": {
            "photo": {"modality": "image", "encoder": "vit", "size": 16, "patch": 4, "hidden": 8, "layers": 2,
                      "heads": 2, "mlp": 8, "frozen": True},
            "question": {"modality": "text", "encoder": "transformer", "hidden": 8, "layers": 1, "heads": 2},
        },
        "target": {"column": "answer", "task": "answer"},
        "fusion": {"features": "concat", "width": 8},
        "language": {"scorers": ["transformer"], "transformer": {"layers": 1, "width": 8, "heads": 1}},
        "training": {"max_steps": 3},
        "evaluation": {"baselines": False},
    }  # fmt: skip
    Sensorium.from_config(config, senses_folder).fit(tmp_path / "run", progress=Silent())
    model = sensorium.load(tmp_path / "run")
    row = {"photo": str(senses_folder / "0.png"), "question": "is it red?"}
    explanation = model.explain_row(row, "yes")
    assert explanation.inputs.full == pytest.approx(model.score("yes", **row), abs=1e-4)
    assert {(m.name, m.method): tuple(m.map_T.shape[1:]) for m in explanation.maps} == {
        (name, method): places
        for name, places in {"photo": (16, 16), "question": (4,)}.items()
        for method in ("occlusion", "integrated_gradients", "rollout")
    }
    thawed = model.predictor.model.thawed()
    batch = type(model.predictor)(thawed, model.predictor.answers, model.predictor.decoding).batch([row])
    variants = Variants(thawed, batch, answer_ids(thawed, "yes"), "photo")
    nothing = torch.zeros(1, 16, 16, dtype=torch.bool)
    assert float(variants.log_p_hidden(nothing).sum()) == pytest.approx(model.score("yes", **row), abs=1e-4)

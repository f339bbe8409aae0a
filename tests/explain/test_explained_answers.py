"""`predict --explain` and Python's `explain`: every token, every scorer, shares that sum to one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sensorium
from sensorium import Sensorium
from sensorium.cli.main import app
from sensorium.core.errors import UsageError
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

VERSE = "to be or not to be that is the question whether it is nobler in the mind to suffer the slings "


def assert_whole(explanation):
    for token in explanation.tokens:
        assert sum(part.share for part in token.scorers) == pytest.approx(1, abs=1e-4)
        if explanation.mix in ("linear", "gate"):
            together = math.log(sum(part.weight * math.exp(part.log_p) for part in token.scorers))
            assert token.log_p == pytest.approx(together, abs=1e-4)


@pytest.fixture(scope="module", params=["linear", "gate", "product"])
def writer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verse")
    (folder / "verse.txt").write_text(VERSE * 60)
    config = {
        "data": {"train": "windows:verse.txt/train", "test": "windows:verse.txt/validation"},
        "inputs": {},
        "target": {"column": "text", "task": "write", "max_tokens": 300},
        "language": {
            "scorers": ["transformer", "ngram"],
            "mix": request.param,
            "transformer": {"layers": 1, "width": 16, "conditioning": "none"},
        },
        "training": {"max_steps": 2, "batch_rows": 8},
        "decoding": {"max_tokens": 12},
    }
    Sensorium.from_config(config, folder).fit(folder / "run", progress=Silent())
    return folder / "run"


def test_what_was_written_is_explained_token_by_token(writer: Path) -> None:
    predictor = sensorium.load(writer).predictor
    answer = predictor.predict([{}])[0]
    explanation = predictor.explain([{}])[0]
    assert explanation.text == answer.text
    assert len(explanation.tokens) == 12  # cut off, so that there is no end to explain
    assert explanation.log_p == pytest.approx(math.log(answer.probability), abs=1e-3)
    assert [part.scorer for part in explanation.tokens[0].scorers] == ["transformer", "ngram"]
    assert_whole(explanation)
    assert sum(explanation.mean_shares().values()) == pytest.approx(1, abs=1e-4)


def test_given_texts_of_unequal_length_are_explained_each_for_itself(writer: Path) -> None:
    predictor = sensorium.load(writer).predictor
    long, short = predictor.explain([{}, {}], ["to be or", "to"])
    assert [token.token for token in short.tokens] == ["t", "o", "</s>"]
    assert long.log_p == pytest.approx(predictor.score([{}], ["to be or"])[0], abs=1e-3)
    alone = predictor.explain([{}], ["to"])[0]
    assert short.log_p == pytest.approx(alone.log_p, abs=1e-4)
    with pytest.raises(UsageError, match="2 targets"):
        predictor.explain([{}], ["to", "be"])


@pytest.fixture(scope="module")
def answerer(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = ("training.epochs=3", "language.scorers=['transformer','ngram']", "evaluation.baselines=false")
    out = tmp_path_factory.mktemp("explained") / "run"
    train(load_config(shapes_folder / "shapes.toml", changes), out=out, progress=Silent())
    return out


def test_the_command_explains_a_chosen_answer(answerer: Path, shapes_folder: Path) -> None:
    asked = ["predict", str(answerer), "--input", f"photo={shapes_folder / '0.png'}", "--explain"]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    assert all(word in told.output for word in ("transformer", "ngram", "</s>", "mix: linear"))
    facts = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    tokens = facts["explanation"]["tokens"]
    assert [token["token"] for token in tokens] == [facts["text"], "</s>"]
    shares = [part["share"] for part in tokens[0]["scorers"].values()]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert "explanation" not in json.loads(CliRunner().invoke(app, [*asked[:-1], "--json"]).output)


def test_the_command_explains_a_table(answerer: Path, shapes_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "ask.csv"
    table.write_text(f"photo,question\n{shapes_folder / '0.png'},is it red?\nmissing.png,is it red?\n")
    asked = ["predict", str(answerer), "--table", str(table), "--explain"]
    good, bad = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)["predictions"]
    assert good["explanation"]["mix"] == "linear"
    assert bad["error"]
    assert "explanation" not in bad
    assert "transformer" in CliRunner().invoke(app, asked).output


def test_one_scorer_has_every_share(shapes_folder: Path, tmp_path: Path) -> None:
    changes = ("training.max_steps=1", "evaluation.baselines=false")
    train(load_config(shapes_folder / "shapes.toml", changes), out=tmp_path / "run", progress=Silent())
    explanation = sensorium.load(tmp_path / "run").explain("yes", question="is it red?")
    assert explanation.mix == "alone"
    assert [part.share for token in explanation.tokens for part in token.scorers] == [1.0, 1.0]

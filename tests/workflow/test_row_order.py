"""What a row is answered depends on the row: not on its place, on the rows beside it, or on how many they are."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sensorium import Sensorium
from sensorium.cli.main import app
from sensorium.core.types import Batch
from sensorium.decoding.config import DecodingConfig
from sensorium.decoding.consensus import Consensus
from sensorium.evaluation.missing import evaluate_missing
from sensorium.evaluation.runner import evaluate
from sensorium.tasks.task import write

FILL = ["red", "green", "blue", "big", "small", "old", "new", "dark"]
KIND = {"dog": "animal", "car": "thing"}
BATCH_ROWS = (1, 5, 512)


def write_table(path: Path, header: list[str], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of two texts each; the label is told by the first word of the second one."""
    folder, drawn = tmp_path_factory.mktemp("notes"), random.Random(8)

    def row() -> tuple[str, str]:
        kind = drawn.choice(list(KIND))
        second = " ".join([kind, *drawn.choices(FILL, k=drawn.randrange(3))])
        return " ".join(drawn.choices(FILL, k=drawn.randrange(1, 7))) + " | " + second, KIND[kind]

    for name, num in (("train.csv", 300), ("test.csv", 150)):
        write_table(folder / name, ["notes", "label"], [row() for _ in range(num)])
    return folder


@pytest.mark.parametrize("scorer", ["naive_bayes", "nb_svm"])
@pytest.mark.parametrize("ngrams", [1, 2])
def test_labels_of_several_texts_do_not_depend_on_the_batch(notes, tmp_path, scorer, ngrams):
    config = {
        "data": {"train": "train.csv", "cache": ""},
        "inputs": {
            "notes": {"modality": "text", "encoder": "bag_of_words", "several": True, "separator": "|"},
        },
        "target": {"column": "label", "task": "classify"},
        "fusion": {"width": 8},
        "language": {"scorers": [scorer], scorer: {"ngrams": ngrams}},
        "evaluation": {"baselines": False, "report": False},
    }
    model = Sensorium.from_config(config, folder=notes).fit(tmp_path / "run")
    found = []
    for rows in BATCH_ROWS:
        evaluation = model.config.evaluation.model_copy(update={"batch_rows": rows})
        model.config = model.config.replace(evaluation=evaluation)
        metrics = model.evaluate(notes / "test.csv").metrics
        assert metrics["accuracy"] == 1.0
        found.append(metrics["perplexity"])
    assert found == pytest.approx([found[0]] * len(BATCH_ROWS), rel=1e-6)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two inputs that writes: counts alone, so that it is fitted at once."""
    folder, drawn = tmp_path_factory.mktemp("writer"), random.Random(9)
    rows = [(a, b, f"{a} {b} {c}") for a, b, c in (drawn.choices(FILL, k=3) for _ in range(90))]
    write_table(folder / "t.csv", ["a", "b", "text"], rows)
    config = {
        "data": {"train": "t.csv", "cache": "", "validation_fraction": 0.2},
        "inputs": {name: {"modality": "text", "encoder": "bag_of_words"} for name in "ab"},
        "target": {"column": "text", "task": "caption"},
        "fusion": {"width": 8},
        "language": {"scorers": ["ngram"], "ngram": {"order": 2}},
        "evaluation": {"baselines": False, "report": False},
    }
    Sensorium.from_config(config, folder=folder).fit(folder / "run")
    return folder


DRAWING = {
    "sample": DecodingConfig(search="sample", seed=3, max_tokens=12),
    "consensus": DecodingConfig(max_tokens=12, consensus=Consensus(draws=6, temperature=1.5)),
}


def judged(folder: Path):
    model = Sensorium.load(folder / "run")
    return model.predictor, model._judged_rows(model.predictor, model.config, folder / "t.csv")


@pytest.mark.parametrize("decoding", DRAWING.values(), ids=DRAWING)
def test_what_is_drawn_does_not_depend_on_the_batch(writer, decoding):
    predictor, corpus = judged(writer)
    runs = [
        evaluate(predictor.model, predictor.task, corpus, answers=None, decoding=decoding, batch_rows=rows)
        for rows in BATCH_ROWS
    ]
    texts = [[prediction.text for _, prediction, _ in run.predictions] for run in runs]
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) > 5, "rows draw each their own"


def in_order(corpus, order: list[int]) -> Batch:
    return corpus.batch(np.array(order))


@pytest.mark.parametrize("decoding", DRAWING.values(), ids=DRAWING)
def test_what_is_drawn_does_not_depend_on_the_order(writer, decoding):
    predictor, corpus = judged(writer)
    order = random.Random(1).sample(range(corpus.num_rows), corpus.num_rows)
    plain = [p.text for p in write(predictor.model, in_order(corpus, list(range(corpus.num_rows))), decoding)]
    mixed = [p.text for p in write(predictor.model, in_order(corpus, order), decoding)]
    assert mixed == [plain[row] for row in order]


@pytest.mark.parametrize("decoding", DRAWING.values(), ids=DRAWING)
def test_every_presence_pattern_draws_alike(writer, decoding):
    """The n-gram reads no input, so that patterns differ by chance alone, and there is none."""
    predictor, corpus = judged(writer)
    found = evaluate_missing(predictor.model, predictor.task, corpus, answers=None, decoding=decoding)
    assert len(found) == 4
    texts = [[p.text for _, p, _ in pattern.evaluation.predictions] for pattern in found]
    assert texts == [texts[0]] * 4


def test_a_table_is_answered_alike_whatever_stands_in_it(writer, tmp_path, monkeypatch):
    run = shutil.copytree(writer / "run", tmp_path / "run")
    settings = {"search": "sample", "seed": 3, "max_tokens": 12}
    (run / "decoding.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
    whole = answers(run, writer / "t.csv")
    monkeypatch.setattr("sensorium.cli.predict.BATCH_ROWS", 7)
    assert answers(run, writer / "t.csv") == whole
    assert whole[:20] != whole[64:84], "rows of another batch do not repeat the draws of the first"


def answers(run: Path, table: Path) -> list[str]:
    result = CliRunner().invoke(app, ["predict", str(run), "--table", str(table), "--json"])
    assert result.exit_code == 0, result.output
    return [answer["text"] for answer in json.loads(result.stdout)["predictions"]]

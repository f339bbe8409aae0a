"""One run of every kind of task says the same of each row, in any order, any batch, with or without a cache.

What a row is answered and the metrics of all rows must depend on neither the rows' order, nor how many are judged or
asked at once, nor where prepared media are kept, nor how many processes prepare them.
"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

import sensorium
from sensorium import Sensorium
from sensorium.cli.main import app
from sensorium.data.table import Table
from sensorium.evaluation.intervals import intervals, row_scores
from sensorium.evaluation.retrieval import Direction

MADE_IN = "/tmp/golden"
MOST_ROWS = 20
LABELS = {"red": "warm", "orange": "warm", "blue": "cold", "green": "cold", "grey": "none"}


class Asked(NamedTuple):
    """A run's folder, its task, and the table, which is of one kind and has a header."""

    run: Path
    task: str | None
    table: Path

    @property
    def lines(self) -> list[str]:
        text = self.table.read_text(encoding="utf-8")
        return text.split("\n\n")[:-1] if self.table.suffix == ".txt" else text.splitlines()

    def write(self, lines: list[str], stem: str) -> str:
        """Write a table of these rows beside the first, so that its media are found; returns how it is named."""
        path = self.table.with_name(f"{stem}-{self.run.name}-{self.task}{self.table.suffix}")
        if path.suffix == ".txt":
            path.write_text("".join(line + "\n\n" for line in lines), encoding="utf-8")
            return f"conll:{path}"
        path.write_text("\n".join([self.lines[0], *lines]) + "\n", encoding="utf-8")
        return str(path)

    @property
    def rows(self) -> list[str]:
        """The first rows that have what the task reads, so that none is left out."""
        if self.table.suffix == ".txt":
            return self.lines[:MOST_ROWS]
        return [line for line in self.lines[1:] if self.task != "ask" or (line[0] != "," and ",," not in line)][
            :MOST_ROWS
        ]


COUNTING = {
    "write": {
        "inputs": {},
        "target": {"column": "text", "task": "write"},
        "fusion": {"width": 8},
        "language": {"scorers": ["ngram"], "ngram": {"order": 2}},
    },
    "classify": {
        "inputs": {"text": {"modality": "text", "encoder": "bag_of_words"}},
        "target": {"column": "label", "task": "classify"},
        "fusion": {"width": 8},
        "language": {"scorers": ["naive_bayes", "nb_svm"]},
    },
}


@pytest.fixture(scope="module")
def asked(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """Runs by kind of task, with tables of which some rows are equal."""
    folder = tmp_path_factory.mktemp("asked")
    golden = copytree(golden, folder / "golden")
    for config in golden.glob("*/config.toml"):
        config.write_text(config.read_text(encoding="utf-8").replace(MADE_IN, str(golden)), encoding="utf-8")
    data, drawn = golden / "data", random.Random(3)
    said = [(f"{i % 2}.wav", text) for i, text in enumerate(["ab", "c", "ac", "c", "ab", "b", "a"])]
    write_table(data / "said.csv", ("sound", "text"), said)
    words = [[*drawn.choices(list(LABELS), k=drawn.randrange(1, 4))] for _ in range(150)]
    write_table(folder / "texts.csv", ("text", "label"), [(" ".join(text), LABELS[text[0]]) for text in words])
    for name, settings in COUNTING.items():
        common = {"data": {"train": "texts.csv", "validation_fraction": 0.2, "cache": ""}}
        evaluation = {"baselines": False, "report": False}
        Sensorium.from_config({**common, **settings, "evaluation": evaluation}, folder=folder).fit(folder / name)
    return {
        "answer": Asked(golden / "holes", None, data / "shapes.csv"),
        "answer of several": Asked(golden / "tasks", "answer", data / "shapes.csv"),
        "caption": Asked(golden / "lesson", None, data / "captions.csv"),
        "caption by a beam": Asked(golden / "tasks", "ask", data / "shapes.csv"),
        "tag": Asked(golden / "crf", None, data / "tags.txt"),
        "transcribe": Asked(golden / "ctc", None, data / "said.csv"),
        "retrieve": Asked(golden / "tasks", "find", data / "shapes.csv"),
        "write": Asked(folder / "write", None, folder / "texts.csv"),
        "classify": Asked(folder / "classify", None, folder / "texts.csv"),
    }


def write_table(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


KINDS = [
    "answer", "answer of several", "caption", "caption by a beam", "tag", "transcribe", "retrieve", "write", "classify",
]  # fmt: skip


class Judged(NamedTuple):
    """What an evaluation says: of all rows, and of each by its content."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    rows: dict[str, Any]


def judged(one: Asked, rows: list[str], *, batch_rows: int = 64, cache: str = "", workers: int = 0) -> Judged:
    model = sensorium.load(one.run)
    config = model._config_of(one.task)
    model.config = config.replace(
        evaluation=config.evaluation.model_copy(update={"batch_rows": batch_rows}),
        data=config.data.model_copy(update={"cache": cache}),
        training=config.training.model_copy(update={"workers": workers}),
    )
    found = model.evaluate(one.write(rows, "judged"), task=one.task)
    if found.directions:
        return Judged(
            found.metrics, {}, {key: value for way in found.directions for key, value in ranks(way, rows)}
        )
    by_row = {rows[row]: (answer.text, round(answer.probability, 4)) for row, answer, _ in found.predictions}
    scores = {f"score of {rows[row]}": round(value, 4) for row, value in row_scores(found).items()}
    likelihoods = {f"log P of {rows[n]}": round(nll, 3) for n, (nll, _) in found.likelihoods.items()}
    if found.task == "caption":  # whichever row of a request is asked stands for all
        by_row = {row.split(",")[0]: value for row, value in by_row.items()}
        scores = {}
    return Judged(found.metrics, intervals(found), {**by_row, **scores, **likelihoods})


def ranks(way: Direction, rows: list[str]) -> list[tuple[tuple[str, ...], list[int]]]:
    place = {"photo": 0, "question": 1}[way.query]
    return [((way.query, way.found, rows[one.row].split(",")[place]), one.rank_R.tolist()) for one in way.searched]


def require_same(found: Judged, expected: Judged) -> None:
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5, abs=1e-7)
    assert found.intervals.keys() == expected.intervals.keys()
    for name, bounds in expected.intervals.items():
        assert found.intervals[name] == pytest.approx(bounds, rel=1e-5, abs=1e-7), name
    assert found.rows.keys() == expected.rows.keys()
    for row, value in expected.rows.items():
        same = found.rows[row]
        if isinstance(value, tuple):
            assert same[0] == value[0], row
            assert same[1] == pytest.approx(value[1], abs=2e-4), row
        else:
            assert same == pytest.approx(value, abs=2e-3), row


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_is_the_same_however_it_is_made(asked, tmp_path, kind):
    one = asked[kind]
    expected = judged(one, one.rows)
    mixed = random.Random(5).sample(one.rows, len(one.rows))
    require_same(judged(one, mixed), expected)
    require_same(judged(one, one.rows[::-1], batch_rows=3), expected)
    require_same(judged(one, one.rows, batch_rows=1), expected)
    cache = str(tmp_path / "cache")
    workers = 2 if kind == "transcribe" else 0  # as long as it takes to start them
    require_same(judged(one, mixed, cache=cache, workers=workers, batch_rows=3), expected)  # is written
    require_same(judged(one, one.rows, cache=cache), expected)  # and read


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "retrieve"])
def test_a_table_is_answered_the_same_in_any_order_and_batch(asked, monkeypatch, kind):
    one = asked[kind]
    expected = answered(one, one.rows)
    for batch_rows in (1, 3):
        monkeypatch.setattr("sensorium.cli.predict.BATCH_ROWS", batch_rows)
        require_alike(answered(one, random.Random(batch_rows).sample(one.rows, len(one.rows))), expected)


def answered(one: Asked, rows: list[str]) -> dict[str, tuple[str, float]]:
    table = one.write(rows, "asked")
    task = ["--task", one.task] if one.task else []
    result = CliRunner().invoke(app, ["predict", str(one.run), "--table", table, "--json", *task])
    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)["predictions"]
    assert len(answers) == len(rows)
    return {row: (answer["text"], answer["probability"]) for row, answer in zip(rows, answers, strict=True)}


def require_alike(found: dict[str, tuple[str, float]], expected: dict[str, tuple[str, float]]) -> None:
    assert {row: text for row, (text, _) in found.items()} == {row: text for row, (text, _) in expected.items()}
    for row, (_, probability) in expected.items():
        assert found[row][1] == pytest.approx(probability, abs=1e-4), row


@pytest.mark.parametrize("kind", ["answer", "caption", "tag"])
def test_python_answers_a_row_the_same_alone_and_among_others(asked, kind):
    one = asked[kind]
    predictor = sensorium.load(one.run).predictor_of(one.task)
    table = predictor.read_from(Table.open(one.write(one.rows, "python"), Path()))
    rows = [predictor.cells(table, i) for i in range(len(table))]
    together = predictor.predict(rows)
    for number in range(0, len(rows), 5):
        (alone,) = predictor.predict([rows[number]], [number])
        assert alone.text == together[number].text
        assert alone.probability == pytest.approx(together[number].probability, abs=1e-4)

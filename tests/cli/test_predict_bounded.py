"""`predict --table` holds a few rows at a time, however many the table has and whatever it is written in."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pytest
from pyarrow import parquet

from sensorium.cli.predict import predict
from sensorium.data import row_file
from sensorium.tasks.task import Prediction
from sensorium.workflow.predictor import Predictor

FEW, MANY = 3_000, 12_000


def text(i: int) -> str:
    return f"what is said in row {i}, with some words so that keeping it would be seen"


def as_delimited(path: Path, rows: range) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(["question"])
        writer.writerows([text(i)] for i in rows)


def as_lines(path: Path, rows: range) -> None:
    path.write_text("".join(json.dumps({"question": text(i)}) + "\n" for i in rows), encoding="utf-8")


def as_parquet(path: Path, rows: range) -> None:
    parquet.write_table(pyarrow.table({"question": [text(i) for i in rows]}), path)


WRITERS = {
    ".csv": as_delimited,
    ".tsv": as_delimited,
    ".jsonl": as_lines,
    ".ndjson": as_lines,
    ".parquet": as_parquet,
}


class Trivial:
    """A predictor that answers at once."""

    task = SimpleNamespace(name="answer")

    def __init__(self) -> None:
        self.most_held = 0

    def read_from(self, table, only):
        return table

    def cells(self, table, i):
        return table.row(i)

    def predict(self, rows, numbers):
        self.most_held = max(self.most_held, tracemalloc.get_traced_memory()[0])
        return [Prediction(f"an answer to {row['question']}", 0.5) for row in rows]


def held(table: Path, as_json: bool, monkeypatch) -> int:
    """Return the most bytes that are held while rows are answered; a reader's buffer is gone by then."""
    predictor = Trivial()
    monkeypatch.setattr(Predictor, "load", lambda run, task: predictor)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        tracemalloc.start()
        try:
            predict(Path("run"), None, str(table), None, explain=False, task=None, as_json=as_json)
        finally:
            tracemalloc.stop()
    return predictor.most_held


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("suffix", WRITERS)
def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch, suffix, as_json):
    monkeypatch.setattr(row_file, "_IN_MEMORY_BYTES", 1 << 12)  # as if the table were a large one
    monkeypatch.setattr(row_file, "_INDEX_CHUNK", 1 << 8)
    most = []
    for number in (64, FEW, MANY):  # the first loads what is loaded once
        WRITERS[suffix](tmp_path / f"{number}{suffix}", range(number))
        most.append(held(tmp_path / f"{number}{suffix}", as_json, monkeypatch))
    assert most[2] - most[1] < 4 * (MANY - FEW), most

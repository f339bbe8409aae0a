"""Odd arguments to every public method in Python: a typed error that says what is wanted, where; no traceback."""

from __future__ import annotations

import inspect
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import sensorium
from sensorium import Sensorium
from sensorium.core.errors import ModelError, SensoriumError, UsageError

ODD: dict[str, Any] = {
    "number": 1, "nothing": None, "object": object(), "bytes": b"\xff", "list": [1], "dict": {1: 2},
    "nan": float("nan"), "zero": "\0", "negative": -3, "true": True, "generator": (n for n in (1, 2)),
}  # fmt: skip
PHOTO = {"photo": b"no picture"}
GOOD: dict[str, dict[str, Any]] = {
    "from_config": {"config": {"run": {}}, "folder": "."},
    "load": {"path": "nowhere"},
    "predictor_of": {"task": "caption"},
    "predict": {"rows": [PHOTO], "task": None},
    "generate": {"task": None},
    "score": {"target": "a box", "task": None},
    "retrieve": {"among": "nowhere.csv", "find": "photo", "top": 3, "task": None},
    "teach": {"texts": "a box", "source": "one", "weight": 2, "task": None},
    "forget": {"sources": "one", "task": None},
    "explain": {"target": "a box", "task": None},
    "explain_row": {
        "row": PHOTO, "target": "a box", "methods": ["occlusion"], "value": "log_p", "task": None, "out": "nowhere",
    },
    "contributions": {"table": "nowhere.csv", "value": "log_p", "max_rows": 2, "task": None},
    "evaluate": {"table": "nowhere.csv", "max_rows": 2, "only": ["photo"], "task": None, "metrics": ["bleu1"]},
    "evaluate_missing": {"table": "nowhere.csv", "max_rows": 2, "task": None},
    "save": {"folder": "nowhere/else"},
}  # fmt: skip
NOT_TRIED = {"fit"}  # trains; its one path is tried below
METHODS = [
    name
    for name, method in inspect.getmembers(Sensorium)
    if not name.startswith("_") and callable(method) and name not in NOT_TRIED
]


@pytest.fixture(scope="module")
def run(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(copytree(golden / "lesson", tmp_path_factory.mktemp("odd") / "run"))


def called(model: Sensorium, name: str, given: dict[str, Any]) -> None:
    method = getattr(model, name)
    listed, named = [], {}
    for key, parameter in inspect.signature(method).parameters.items():
        if key not in given:
            continue
        by_place = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL)
        if by_place:
            listed.append(given[key])
        else:
            named[key] = given[key]
    if name in ("generate", "score", "retrieve", "explain"):
        named |= PHOTO
    method(*listed, **named)


def test_every_method_is_tried():
    assert set(METHODS) == GOOD.keys()


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_cannot_be_meant_is_refused_by_name(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    model = sensorium.load(run)
    for argument in GOOD[name]:
        for kind, odd in ODD.items():
            try:
                called(model, name, {**GOOD[name], argument: odd})
            except SensoriumError:
                continue
            except Exception as error:  # what is tested: nothing else may come out
                pytest.fail(f"{name}({argument}={kind}): {type(error).__name__}: {error}")


@pytest.mark.parametrize("given", [None, 1, b"run"], ids=str)
def test_a_path_is_a_path(run, given):
    model = sensorium.load(run)
    for ask in (sensorium.load, model.save, Sensorium.from_config):
        with pytest.raises(UsageError, match="a path is wanted, not"):
            ask(given)
    if given is not None:
        for ask in (model.fit, model.evaluate, model.evaluate_missing, model.contributions):
            with pytest.raises(UsageError, match="a path is wanted, not"):
                ask(given)


def test_a_config_is_of_names(run):
    for config in ({1: 2}, {"run": {1: 2}}, {"inputs": {"photo": {None: 1}}}):
        with pytest.raises(UsageError, match="a text is wanted"):
            Sensorium.from_config(config)


def test_a_target_is_a_text_and_rows_may_come_one_by_one(run, golden):
    model = sensorium.load(run)
    photo = golden / "data" / "0.png"
    with pytest.raises(UsageError, match="target: a text is wanted, not 1"):
        model.score(1, photo=photo)
    expected = model.predict([{"photo": photo}, {"photo": photo}])
    assert [one.text for one in model.predict({"photo": photo} for _ in range(2))] == [one.text for one in expected]
    with pytest.raises(UsageError, match="a list of rows is wanted"):
        model.predict({"photo": photo})
    with pytest.raises(UsageError, match="only: a list of names is wanted, not 'photo'"):
        model.evaluate(only="photo")


def test_a_run_that_cannot_be_taught_says_what_could_be(golden):
    with pytest.raises(ModelError, match=r"a new run can be, with 'ngram' .*this one has transformer"):
        sensorium.load(golden / "tasks").teach("yes", task="answer")
    with pytest.raises(UsageError, match="'retrieve' finds rows and writes nothing.*only a task that writes"):
        sensorium.load(golden / "tasks").teach("yes", task="find")

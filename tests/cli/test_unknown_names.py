"""A name that nobody knows is refused before any work, with the near one, by every command and in Python."""

from __future__ import annotations

import json

import pytest
from small_runs import table

import sensorium
from sensorium.core.errors import DataError, UsageError
from sensorium.model.multimodal import MultimodalLM

OF_A_TABLE = {
    "predict": ("one", ("predict", "run", "--table", "new.csv")),
    "explain --row": ("one", ("explain", "run", "--row", "new.csv:2", "--map", "none")),
    "explain --data": ("one", ("explain", "run", "--data", "new.csv")),
    "evaluate": ("one", ("evaluate", "run", "--data", "new.csv")),
    "evaluate --missing": ("one", ("evaluate", "run", "--data", "new.csv", "--missing")),
    "several": ("several", ("predict", "run", "--table", "new.csv")),
    "a task of several": ("tasks", ("predict", "run", "--table", "new.csv", "--task", "tell")),
    "retrieve": ("finds", ("retrieve", "run", "--input", "place=home", "--among", "new.csv")),
}
NAMES = {
    "evaluate --only": ("one", ("evaluate", "run", "--only", "plce"), "did you mean 'place'?"),
    "evaluate --only, tasks": ("tasks", ("evaluate", "run", "--only", "plce"), "did you mean 'place'?"),
    "evaluate --metric": ("one", ("evaluate", "run", "--metric", "acuracy"), "did you mean 'accuracy'?"),
    "evaluate --task": ("tasks", ("evaluate", "run", "--task", "tel"), "did you mean 'tell'?"),
    "predict --input": ("one", ("predict", "run", "--input", "Place=home"), "did you mean 'place'?"),
    "predict --only": ("one", ("predict", "run", "--table", "t.csv", "--only", "plce"), "did you mean 'place'?"),
    "predict --task": ("tasks", ("predict", "run", "--task", "Say", "--input", "place=x"), "did you mean 'say'?"),
    "explain --input": ("one", ("explain", "run", "--input", "plce=home"), "did you mean 'place'?"),
    "explain --map": ("one", ("explain", "run", "--input", "place=home", "--map", "rolout"), "mean 'rollout'?"),
    "explain --value": ("one", ("explain", "run", "--input", "place=home", "--value", "logp"), "mean 'log_p'?"),
    "explain --data --value": ("one", ("explain", "run", "--data", "t.csv", "--value", "logp"), "mean 'log_p'?"),
    "summarise --input": ("one", ("summarise", "run", "no.mp4", "--input", "plce=x"), "did you mean 'place'?"),
    "summarise --format": ("one", ("summarise", "run", "no.mp4", "--format", "jsn"), "did you mean 'json'?"),
    "transcribe --format": ("one", ("transcribe", "run", "no.wav", "--format", "jsn"), "did you mean 'json'?"),
    "teach --task": ("tasks", ("teach", "run", "a text", "--task", "tel"), "did you mean 'tell'?"),
    "taught --task": ("tasks", ("taught", "run", "--task", "tel"), "did you mean 'tell'?"),
    "taught --task, one": ("one", ("taught", "run", "--task", "clasify"), "did you mean 'classify'?"),
    "forget --source": ("writes", ("forget", "run", "--source", "leson"), "nothing is taught as 'leson'"),
    "compare --fusions": ("one", ("compare", "c.toml", "--fusions", "concatt"), "did you mean 'concat'?"),
    "optimise --way": ("one", ("optimise", "run", "--way", "int4"), "did you mean 'int8'?"),
    "retrieve --find": (
        "finds",
        ("retrieve", "run", "--input", "place=home", "--among", "t.csv", "--find", "Question"),
        "did you mean 'question'?",
    ),
    "retrieve --input": (
        "finds",
        ("retrieve", "run", "--input", "plce=home", "--among", "t.csv", "--find", "question"),
        "did you mean 'place'?",
    ),
}


@pytest.fixture
def no_work(monkeypatch):
    """Return what lets any use of a model fail from then on."""

    def used(*_, **__):
        raise AssertionError("work was begun")

    def from_now_on():
        for method in ("condition", "losses", "embed"):
            monkeypatch.setattr(MultimodalLM, method, used)

    return from_now_on


@pytest.mark.parametrize("case", OF_A_TABLE)
def test_a_table_without_a_needed_column_is_refused_with_the_near_one(case, at_run, sensorium_command, no_work):
    kind, words = OF_A_TABLE[case]
    table(at_run(kind) / "new.csv", ("Question", "place", "answer"))
    no_work()
    code, out, err = sensorium_command(*words)
    assert code == 3
    assert out == ""
    assert "new.csv: no column 'question'" in err
    assert "did you mean 'Question'?" in err


@pytest.mark.parametrize("case", NAMES)
def test_an_unknown_name_is_refused_before_any_work(case, at_run, sensorium_command, no_work):
    kind, words, advice = NAMES[case]
    at_run(kind)
    no_work()
    code, out, err = sensorium_command(*words)
    assert code == 2, err
    assert out == ""
    assert advice in err


def test_a_table_is_answered_without_a_column_where_that_is_said(at_run, sensorium_command):
    (at_run("one") / "new.csv").write_text("Question,place\nwhat shines,home\nwhat grows,park\n")
    code, out, _ = sensorium_command("predict", "run", "--table", "new.csv", "--only", "place", "--json")
    answers = json.loads(out)["predictions"]
    assert code == 0
    model = sensorium.load("run")
    assert [a["text"] for a in answers] == [model.generate(place="home"), model.generate(place="park")]


def test_predict_fails_where_no_row_could_be_answered(at_run, sensorium_command):
    folder = at_run("one")
    (folder / "none.csv").write_text("question,place\n,\n,\n")
    code, _, err = sensorium_command("predict", "run", "--table", "none.csv")
    assert code == 3
    assert "2 of 2 rows could not be answered" in err
    (folder / "some.csv").write_text("question,place\n,\nwhat shines,home\n")
    code, out, err = sensorium_command("predict", "run", "--table", "some.csv")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "1 of 2 rows could not be answered" in err


def test_an_input_given_twice_is_a_list_not_the_last_of_both(at_run, sensorium_command):
    at_run("one")
    code, _, err = sensorium_command("predict", "run", "--input", "place=home", "--input", "place=park")
    assert code == 2
    assert "is one medium a row, not a list" in err


def test_python_refuses_unknown_names_too(at_run, no_work):
    table(at_run("one") / "new.csv", ("Question", "place", "answer"))
    model = sensorium.load("run")
    no_work()
    for call in (
        lambda: model.predict(plce="home"),
        lambda: model.predict([{"plce": "home"}]),
        lambda: model.generate(plce="home"),
        lambda: model.score("sun inside", plce="home"),
        lambda: model.explain("sun inside", plce="home"),
        lambda: model.explain_row({"plce": "home"}, "sun inside"),
        lambda: model.evaluate(only=["plce"]),
    ):
        with pytest.raises(UsageError, match="did you mean 'place'"):
            call()
    for call in (lambda: model.evaluate("new.csv"), lambda: model.contributions("new.csv")):
        with pytest.raises(DataError, match=r"no column 'question' \(did you mean 'Question'"):
            call()

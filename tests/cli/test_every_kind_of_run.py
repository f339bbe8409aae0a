"""Every command on every kind of run: it answers, or says in one sentence why it cannot."""

from __future__ import annotations

import json

import pytest
from small_runs import ANSWERING, CONFIGS

import sensorium

WORDS = {
    "check": ("check", "c.toml"),
    "describe a config": ("describe", "c.toml"),
    "describe": ("describe", "run"),
    "evaluate": ("evaluate", "run"),
    "evaluate --data": ("evaluate", "run", "--data", "t.csv"),
    "evaluate --missing": ("evaluate", "run", "--missing"),
    "predict": ("predict", "run", "--input", "question=what shines"),
    "predict --table": ("predict", "run", "--table", "t.csv"),
    "explain": ("explain", "run", "--input", "question=what shines", "--target", "home"),
    "explain --row": ("explain", "run", "--row", "t.csv:2", "--map", "none"),
    "explain --data": ("explain", "run", "--data", "t.csv", "--max-rows", "4"),
    "teach": ("teach", "run", "TEXT"),
    "taught": ("taught", "run"),
    "forget": ("forget", "run", "--all"),
    "retrieve": ("retrieve", "run", "--input", "question=what shines", "--among", "t.csv"),
    "report": ("report", "run"),
    "compare": ("compare", "c.toml", "--fusions", "concat", "--seeds", "1", "--jobs", "0", "--out", "compared"),
}
WITH_TASK = {
    "predict",
    "predict --table",
    "explain",
    "explain --row",
    "explain --data",
    "teach",
    "taught",
    "forget",
}
ANSWERS = {
    "one": set(WORDS) - {"retrieve", "teach", "forget"},
    "writes": set(WORDS) - {"retrieve"},
    "several": set(WORDS) - {"retrieve", "teach", "forget"},
    "tasks": set(WORDS) - {"retrieve", "compare", "evaluate --missing"},
    "finds": {"check", "describe a config", "describe", "evaluate", "evaluate --data"}
    | {"retrieve", "report", "taught"},
    "pretraining": {"check"},
}
"""What answers, by kind of run; all else is refused with exit code 2 to 4."""


@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_command_answers_or_says_why_not(kind, command, at_run, sensorium_command):
    at_run(kind)
    text = "sun inside" if kind == "writes" else "home"
    words = (
        *(text if word == "TEXT" else word for word in WORDS[command]),
        *(("--task", "tell") if kind == "tasks" and command in WITH_TASK else ()),
    )
    code, _, err = sensorium_command(*words)
    if command in ANSWERS[kind]:
        assert code == 0, err
    elif code:
        assert code in (2, 3, 4), err
        assert "sensorium: error: " in err


def test_a_description_of_several_tasks_is_one_a_task(at_run, sensorium_command):
    at_run("tasks")
    for what in ("run", "c.toml"):
        tasks = json.loads(sensorium_command("describe", what, "--json")[1])["tasks"]
        assert {name: one["task"] for name, one in tasks.items()} == {"say": "classify", "tell": "caption"}


def test_python_names_a_task_wherever_it_asks(at_run):
    at_run("tasks")
    model = sensorium.load("run")
    asked = {"question": "what shines"}
    assert model.predict(task="tell", **asked).text is not None
    assert model.explain("home", task="tell", **asked).text == "home"
    assert model.explain_row(asked, "home", task="tell", methods=()).text == "home"
    assert model.contributions("t.csv", task="tell", max_rows=4).num_rows == 4
    lesson = model.teach("home park", task="tell")
    assert model.taught == (lesson,)
    model.forget(lesson.source, task="tell")
    assert model.taught == ()
    for call in (
        lambda: model.teach("home"),
        lambda: model.explain("home", **asked),
        lambda: model.contributions(),
    ):
        with pytest.raises(sensorium.core.errors.UsageError, match="this model has 2 tasks"):
            call()


@pytest.mark.parametrize("kind", [kind for kind in ANSWERING if kind not in ("tasks", "finds")])
def test_an_explanation_names_the_maps_that_there_cannot_be(kind, at_run):
    at_run(kind)
    found = sensorium.load("run").explain_row({"question": "what shines", "place": "home"})
    assert ("question.occlusion" in found.left_out) == (kind == "several")
    assert set(found.inputs.shapley) == {"question", "place"}

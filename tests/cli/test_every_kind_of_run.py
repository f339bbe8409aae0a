"""Every command on every kind of run: it answers, or says in one sentence why it cannot."""

from __future__ import annotations

import json

import pytest
from small_runs import ANSWERING, CONFIGS, PLACE, TARGET

import sensorium
from sensorium.workflow.compare import compare
from sensorium.workflow.tasks_config import load_answering

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


def test_fusions_are_compared_on_one_of_several_tasks(at_run, sensorium_command):
    """The one task that is named is measured as a config of it alone, with the inputs that it reads, would be."""
    folder = at_run("one")
    text = (folder / "c.toml").read_text()
    both = text.replace(TARGET, "") + (
        f'[inputs.spare]\ncolumn = "answer"\n{PLACE.partition(chr(10))[2]}'
        f'[tasks.say]\ninputs = ["place", "question"]\n{TARGET.replace("target", "tasks.say.target")}'
        f'[tasks.tell]\ninputs = ["spare"]\n{TARGET.replace("target", "tasks.tell.target")}'
    )
    (folder / "both.toml").write_text(both)
    words = ["compare", "both.toml", *WORDS["compare"][2:]]
    code, _, err = sensorium_command(*words)
    assert (code, "say which with --task, one of say, tell" in err) == (2, True), err
    code, _, err = sensorium_command(*words, "--task", "tel")
    assert (code, "no task 'tel' (did you mean 'tell'?)" in err) == (2, True), err
    code, _, err = sensorium_command(*words, "--task", "tell")
    assert (code, "one input has nothing to be fused with" in err) == (2, True), err
    code, out, err = sensorium_command(*words, "--task", "say", "--json")
    assert code == 0, err
    found = {one["name"]: one["metrics"] for one in json.loads(out)["contenders"]}
    config = load_answering(folder / "both.toml")
    again = compare(config, ["concat"], task="say", num_seeds=1, jobs=0, out=folder / "again").facts()
    alone = compare(
        load_answering(folder / "c.toml"), ["concat"], num_seeds=1, jobs=0, out=folder / "alone"
    ).facts()
    assert set(found) == {"question only", "place only", "late fusion", "concat"}
    for facts in (again, alone):
        assert {one["name"]: one["metrics"] for one in facts["contenders"]} == found


@pytest.mark.parametrize("kind", [kind for kind in ANSWERING if kind not in ("tasks", "finds")])
def test_an_explanation_names_the_maps_that_there_cannot_be(kind, at_run):
    at_run(kind)
    found = sensorium.load("run").explain_row({"question": "what shines", "place": "home"})
    assert ("question.occlusion" in found.left_out) == (kind == "several")
    assert set(found.inputs.shapley) == {"question", "place"}

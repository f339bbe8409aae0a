"""Every command on every kind of run: it answers, or says in one sentence why it cannot."""

from __future__ import annotations

import json

import pytest
from small_runs import ANSWERING, CONFIGS, PLACE, TARGET

import sensorium
from sensorium.workflow.compare import compare
from sensorium.workflow.contenders import _with_fusion, parse_again
from sensorium.workflow.tasks_compare import TasksComparison, compare_any
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
    "tasks": set(WORDS) - {"retrieve", "evaluate --missing"},
    "finds": {"check", "describe a config", "describe", "evaluate", "evaluate --data"}
    | {"retrieve", "report", "taught"},
    "pretraining": {"check", "describe a config", "describe"},
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


def test_fusions_are_compared_on_each_of_several_tasks(at_run, sensorium_command):
    """Every task has the table and the verdict that it has alone; one with nothing to fuse is told by name."""
    folder = at_run("tasks")
    (folder / "three.toml").write_text(
        (folder / "c.toml").read_text()
        + '[tasks.name]\n[tasks.name.target]\ncolumn = "answer"\ntask = "classify"\n'
        + '[tasks.retrieve]\ninputs = ["question", "place"]\n'
    )
    words = ["compare", "three.toml", *WORDS["compare"][2:]]
    code, out, err = sensorium_command(*words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found["tasks"]) == {"say", "name"}
    assert found["not_compared"] == {
        "tell": "one input has nothing to be fused with (add a second [inputs.NAME])",
        "retrieve": "task 'retrieve' aligns its inputs, and has no fusion to compare",
    }
    config = load_answering(folder / "three.toml")
    for name, facts in found["tasks"].items():
        kept = folder / "compared" / name
        assert json.loads((kept / "comparison.json").read_text()) == facts
        alone = compare(config, ["concat"], task=name, num_seeds=1, jobs=0, out=folder / f"alone {name}").facts()
        for one in (facts, alone):
            assert {c["name"] for c in one["contenders"]} == {
                "question only",
                "place only",
                "late fusion",
                "concat",
            }
        assert {c["name"]: c["metrics"] for c in facts["contenders"]} == {
            c["name"]: c["metrics"] for c in alone["contenders"]
        }
    code, out, err = sensorium_command(*words)
    assert code == 0, err
    assert "say: 4 measurements, 4 of them known" in err
    assert [line for line in out.splitlines() if line in ("say:", "name:")] == ["say:", "name:"]
    assert all(facts["verdict"] in out for facts in found["tasks"].values())
    assert "tell was not compared: one input" in out
    again = compare_any(config, ["concat"], num_seeds=1, jobs=0, out=folder / "compared")
    assert isinstance(again, TasksComparison)
    assert {name: one.verdict for name, one in again.tasks.items()} == {
        name: facts["verdict"] for name, facts in found["tasks"].items()
    }
    assert again.facts()["not_compared"] == found["not_compared"]


def test_what_tasks_share_does_not_forbid_to_compare_one(at_run):
    """Settings that only a run of several tasks, or only another of its tasks, reads."""
    folder = at_run("tasks")
    changes = ['training.task_weights="uncertainty"', "training.task_temperature=2.0", "decoding.max_tokens=3"]
    config = load_answering(folder / "c.toml", changes)
    say = config.alone("say")
    assert _with_fusion(say, "sum").model.fusion.features == "sum"
    again = parse_again(say.dump(), say.folder, say.name)
    assert (again.dump(), again.name) == (say.dump(), say.name)


def test_what_several_tasks_cannot_be_compared_on_is_refused_before_work(at_run, sensorium_command):
    folder = at_run("tasks")
    words = ["compare", "c.toml", *WORDS["compare"][2:]]
    (folder / "compared").mkdir(exist_ok=True)
    (folder / "compared" / "mine.txt").write_text("mine")
    code, _, err = sensorium_command(*words[:-1], "mine")
    assert code == 0, err
    (folder / "other").mkdir()
    (folder / "other" / "mine.txt").write_text("mine")
    for changed, told in (
        ([*words[:-1], "other"], "is not empty, and holds no comparison"),
        (["compare", "c.toml", "--fusions", "conct", "--out", "new"], "did you mean 'concat'"),
        ([*words, "--task", "sya"], "no task 'sya' (did you mean 'say'?)"),
        ([*words, "--set", 'tasks.say.inputs=["place"]'], "no task has fusions to compare: say: one input"),
    ):
        code, _, err = sensorium_command(*changed)
        assert (code, told in err) == (2, True), err
    assert not (folder / "new").exists()
    assert [path.name for path in (folder / "other").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("kind", [kind for kind in ANSWERING if kind not in ("tasks", "finds")])
def test_an_explanation_names_the_maps_that_there_cannot_be(kind, at_run):
    at_run(kind)
    found = sensorium.load("run").explain_row({"question": "what shines", "place": "home"})
    assert ("question.occlusion" in found.left_out) == (kind == "several")
    assert set(found.inputs.shapley) == {"question", "place"}

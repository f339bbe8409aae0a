"""What is left out or cut is said by every command that reads rows, for people and in --json, and in Python."""

from __future__ import annotations

import json
import re

import pytest

import sensorium

HALF = "question,place,answer\n" + "".join(f"what shines,home,{'sun inside' if i % 2 else ''}\n" for i in range(20))


def test_evaluate_says_which_rows_have_no_target(at_run, sensorium_command):
    (at_run("one") / "half.csv").write_text(HALF)
    for words in ((), ("--missing",)):
        code, out, _ = sensorium_command("evaluate", "run", "--data", "half.csv", *words)
        assert code == 0
        assert "10 of 20 rows without target" in out
        code, out, _ = sensorium_command("evaluate", "run", "--data", "half.csv", "--json", *words)
        assert json.loads(out)["left_out"] == {"rows without target": 10}
    result = sensorium.load("run").evaluate("half.csv", max_rows=4)
    assert result.left_out.clauses() == [
        "10 of 20 rows without target",
        "6 of 20 rows beyond the first that were asked for",
    ]


def test_each_of_several_tasks_says_it(at_run, sensorium_command):
    (at_run("tasks") / "half.csv").write_text(HALF)
    out = json.loads(sensorium_command("evaluate", "run", "--data", "half.csv", "--json")[1])
    assert out["tasks"]["say"]["left_out"] == {"rows without target": 10}
    assert "rows without target" not in out["tasks"]["tell"]["left_out"]


def test_a_task_that_finds_says_it(at_run, sensorium_command):
    (at_run("finds") / "half.csv").write_text("question,place\nwhat shines,home\nwhat grows,\nwhat grows,park\n")
    _, out, _ = sensorium_command("evaluate", "run", "--data", "half.csv")
    assert "1 of 3 rows without place" in out


@pytest.mark.parametrize("words", [("--json",), ()])
def test_check_train_and_evaluate_say_the_same(words, at_run, sensorium_command):
    folder = at_run("writes")
    text = (folder / "c.toml").read_text()
    (folder / "half.csv").write_text(HALF + f"what shines,home,{'sun ' * 30}\n")
    (folder / "c.toml").write_text(
        text.replace('train = "t.csv"', 'train = "t.csv"\ntest = "half.csv"').replace(
            "[target]", "[target]\nmax_tokens = 8"
        )
    )
    told = ("10 of 21 rows without target", "1 target cut short")
    _, out, _ = sensorium_command("check", "c.toml", "--json")
    assert json.loads(out)["test: rows without target"] == 10
    _, _, err = sensorium_command("train", "c.toml", "--out", "new", *words)
    assert all(clause in err for clause in told)
    _, out, _ = sensorium_command("evaluate", "new", *words)
    if words:
        assert json.loads(out)["left_out"] == {"rows without target": 10, "targets cut short": 1}
    else:
        assert all(clause in out for clause in told)


def test_predict_says_which_inputs_were_cut(at_run, sensorium_command):
    folder = at_run("one")
    (folder / "long.csv").write_text(f"question,place\n{'what shines ' * 300},home\nwhat grows,park\n")
    code, out, err = sensorium_command("predict", "run", "--table", "long.csv")
    assert (code, len(out.splitlines())) == (0, 2)
    assert "1 question item cut to its longest length" in err
    said = json.loads(sensorium_command("predict", "run", "--table", "long.csv", "--json")[1])
    assert said["left_out"] == {"question items cut to their longest length": 1}
    assert [row.get("cut") for row in said["predictions"]] == [["question"], None]
    _, _, err = sensorium_command("predict", "run", "--input", f"question={'what shines ' * 300}")
    assert "1 question item cut to its longest length" in err
    model = sensorium.load("run")
    assert model.predict(question="what shines " * 300).cut == ("question",)
    assert model.predict(question="what shines").cut == ()


def test_compare_says_what_its_rows_lack(at_run, sensorium_command):
    folder = at_run("one")
    (folder / "t.csv").write_text((folder / "t.csv").read_text() + HALF.partition("\n")[2])
    words = ("compare", "c.toml", "--fusions", "concat", "--seeds", 1, "--jobs", 0, "--out", "compared")
    code, out, err = sensorium_command(*words)
    assert code == 0, err
    assert re.search(r"\d+ of \d\d rows without target \(train\)", out)
    assert json.loads((folder / "compared" / "comparison.json").read_text())["left_out"][
        "rows without target (train)"
    ]


def test_rows_on_no_side_are_counted_by_all(at_run, sensorium_command):
    folder = at_run("one")
    sides = ["train"] * 40 + ["test"] * 10 + ["", "later"] + ["dev"] * 8
    rows = (folder / "t.csv").read_text().splitlines()
    lines = [f"{row},{side}" for row, side in zip(rows, ["split", *sides], strict=True)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    text = (folder / "c.toml").read_text()
    (folder / "c.toml").write_text(text.replace("[data]", "[data]\nsplit_column = 'split'\ntrain_fraction = 0.5"))
    told = "table rows that 'split' gives to no part"
    facts = json.loads(sensorium_command("check", "c.toml", "--json")[1])
    assert facts[f"train: {told}"] == facts[f"test: {told}"] == 2
    assert facts["train: table rows left out by train_fraction"] == 40 - facts["train rows"]
    code, _, err = sensorium_command("train", "c.toml", "--out", "new")
    assert (code, f"2 {told}" in err) == (0, True)
    assert json.loads((folder / "new" / "evaluation.json").read_text())["counts"][f"{told} (train)"] == 2
    assert f"2 {told}" in sensorium_command("evaluate", "new")[1]
    assert sensorium.load("new").evaluate().left_out.facts() == {told: 2}
    assert sensorium.load("new").evaluate("t.csv").left_out.facts() == {}


def test_explain_and_retrieve_say_what_was_cut(at_run, sensorium_command):
    long = "what shines " * 300
    folder = at_run("one")
    clause = "1 question item cut to its longest length"
    asked = ("explain", "run", "--input", f"question={long}", "--map", "none")
    assert clause in sensorium_command(*asked)[2]
    assert json.loads(sensorium_command(*asked, "--json")[1])["scorers"]["cut"] == ["question"]
    assert sensorium.load("run").explain(question=long).cut == ("question",)
    assert sensorium.load("run").explain(question="what shines").cut == ()
    (folder / "half.csv").write_text(HALF + f"{long},home,sun inside\n")
    words = ("explain", "run", "--data", "half.csv", "--max-rows", "4")
    assert f"10 of 21 rows without target, {clause}" in sensorium_command(*words)[1]
    assert json.loads(sensorium_command(*words, "--json")[1])["left_out"]["rows without target"] == 10
    folder = at_run("finds")
    (folder / "half.csv").write_text(f"question,place\n{long},home\n,park\nwhat grows,park\n")
    words = ("retrieve", "run", "--input", "place=park", "--among", "half.csv")
    code, out, err = sensorium_command(*words)
    assert (code, f"1 of 3 rows without question, {clause}" in out) == (0, True), out + err
    assert len(json.loads(sensorium_command(*words, "--json")[1])["left_out"]) == 3
    found = sensorium.load("run").retrieve(among="half.csv", place=long)
    assert found.left_out.facts()["place items cut to their longest length"] == 1


def test_unreadable_rows_are_of_all_rows(at_run, sensorium_command):
    folder = at_run("one")
    (folder / "t.jsonl").write_text('{"question": "what shines", "place": "home"}\n' * 300 + "{no json\n")
    assert "1 of 301 rows that could not be read" in sensorium_command("predict", "run", "--table", "t.jsonl")[2]

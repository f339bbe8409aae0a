"""What is left out or cut is said by every command that reads rows, for people and in --json, and in Python."""

from __future__ import annotations

import json

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
    assert "rows without target (train)" in out
    assert json.loads((folder / "compared" / "comparison.json").read_text())["left_out"][
        "rows without target (train)"
    ]

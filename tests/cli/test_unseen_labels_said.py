"""Labels that training never had are said by every command that judges, for people and in --json, and in Python."""

from __future__ import annotations

import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest

import sensorium

CONFIG = """
[data]
train = "train.csv"
validation = "test.csv"
cache = ""
[inputs.text]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "classify"
[training]
max_steps = 2
[evaluation]
baselines = false
"""


def test_evaluate_says_which_labels_training_never_had(at_run, sensorium_command):
    (at_run("one") / "other.csv").write_text(
        "question,place,answer\nwhat shines,home,sun inside\nwhat shines,home,moon beside\n"
    )
    for words in ((), ("--missing",)):
        code, out, _ = sensorium_command("evaluate", "run", "--data", "other.csv", *words)
        assert code == 0
        assert "1 of 2 rows have a label that training never had" in out
        code, out, _ = sensorium_command("evaluate", "run", "--data", "other.csv", "--json", *words)
        assert "'moon beside' (1)" in json.loads(out)["notes"][0]
    assert len(sensorium.load("run").evaluate("other.csv").notes) == 1
    assert sensorium.load("run").evaluate("other.csv", max_rows=1).notes == []


def test_check_train_and_report_say_it(tmp_path, monkeypatch, sensorium_command):
    monkeypatch.chdir(tmp_path)
    train = "".join(f"word{i} and more,{'True' if i % 2 else 'False'}\n" for i in range(20))
    (tmp_path / "train.csv").write_text(f"text,label\n{train}another one,TRUE\n")
    (tmp_path / "test.csv").write_text("text,label\nword one here,True\nword two there,0\nwhat else,fal\u200bse\n")
    (tmp_path / "c.toml").write_text(CONFIG)
    unseen = "validation: 2 of 3 rows have a label that training never had and cannot be answered right: "
    alike = "train: labels that look alike are different answers, by rows: 'True' (10) and 'TRUE' (1); write each label in one way"
    named = (
        "'fal\\u200bse' (1; training has 'False'), '0' (1)"
        "; write each label in one way, in this table or where training reads it"
    )
    _, out, _ = sensorium_command("check", "c.toml")
    assert unseen + named in out
    assert alike in out
    _, _, told = sensorium_command("train", "c.toml", "--out", "run")
    assert f"warning: {unseen}{named}" in told
    assert f"warning: {alike}" in told
    assert [unseen + named, alike] == sorted(json.loads((tmp_path / "run/evaluation.json").read_text())["notes"])[
        ::-1
    ]
    assert "labels that look alike" in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_run_that_knows_jsons_true_is_told_what_a_table_of_booleans_has(
    form, tmp_path, monkeypatch, sensorium_command
):
    """Runs from before booleans were read as `True` and `False` know other labels than their own table has now."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"{'sunny and warm' if i % 2 else 'rain and wind'} day{i}", bool(i % 2)) for i in range(20)]
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{t},{str(v).lower()}\n" for t, v in rows))
    shutil.copy("train.csv", "test.csv")
    (tmp_path / "c.toml").write_text(CONFIG.replace("max_steps = 2", "max_steps = 60"))
    code, _, err = sensorium_command("train", "c.toml", "--out", "run")
    assert code == 0, err
    if form == "jsonl":
        (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": t, "label": v}) + "\n" for t, v in rows))
    else:
        table = pyarrow.table({"text": [t for t, _ in rows], "label": [v for _, v in rows]})
        pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    told = json.loads(sensorium_command("evaluate", "run", "--data", f"t.{form}", "--json")[1])
    assert told["metrics"]["accuracy"] == 0
    assert told["notes"] == [
        "20 of 20 rows have a label that training never had and cannot be answered right: 'False' (10; training has "
        "'false'), 'True' (10; training has 'true'); write each label in one way, in this table or where training "
        "reads it"
    ]
    cured = json.loads(sensorium_command("evaluate", "run", "--data", "train.csv", "--json")[1])
    assert (cured["metrics"]["accuracy"], cured["notes"]) == (1.0, [])

"""The command line as a user meets it: real processes where the exit code or start-up is the point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app, main

run = CliRunner().invoke


def command(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "sensorium", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object):
    """Run a command in this process, through the same error handling; returns exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["sensorium", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    return caught.value.code or 0, printed.out, printed.err


@pytest.fixture(scope="module")
def trained(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    done = command("train", shapes_folder / "shapes.toml", "--out", out, "--set", "training.epochs=20", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["run"] == str(out)
    assert {b["name"] for b in summary["baselines"]} == {"majority", "photo only", "question only"}
    return out


def test_help_and_import_do_not_load_torch():
    code = (
        "import sys; import sensorium; import sensorium.cli.main; "
        "heavy = {'torch', 'numpy', 'transformers', 'rich.console'} & set(sys.modules); "
        "print(heavy); sys.exit(len(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text = run(app, ["--help"]).output
    assert all(name in text for name in ("demo", "init", "check", "train", "evaluate", "predict", "doctor"))


@pytest.mark.parametrize("name", ["demo", "init", "check", "describe", "train", "evaluate", "predict", "doctor"])
def test_every_command_explains_itself(name):
    result = run(app, [name, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


def test_predict_one_row(trained, shapes_folder):
    done = command(
        "predict", trained, "--input", f"photo={shapes_folder / '0.png'}", "--input", "question=is it red?"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("yes", "no", "red", "green", "blue")


def test_predict_json_is_one_object(trained, shapes_folder, monkeypatch, capsys):
    code, out, _ = call(
        monkeypatch, capsys, "predict", trained, "--input", f"photo={shapes_folder / '0.png'}", "--json"
    )
    assert code == 0
    answer = json.loads(out)
    assert answer["task"] == "answer"
    assert 0 < answer["probability"] <= 1
    assert answer["is_bound"] is False  # asked for one row, it is exact
    assert answer["alternatives"][0]["text"] == answer["text"]


def test_predict_a_table_names_bad_rows_and_answers_the_others(
    trained, shapes_folder, tmp_path, monkeypatch, capsys
):
    table = tmp_path / "ask.csv"
    table.write_text(
        f"photo,question\n{shapes_folder / '0.png'},is it red?\nmissing.png,is it red?\n,is it blue?\n"
    )
    code, out, _ = call(monkeypatch, capsys, "predict", trained, "--table", table, "--json")
    assert code == 0
    rows = json.loads(out)["predictions"]
    assert [bool(row["text"]) for row in rows] == [True, False, True]
    assert "missing.png" in rows[1]["error"]
    assert rows[1]["row"] == "ask.csv:3"


def test_evaluate_json_has_the_promised_keys(trained, shapes_folder, monkeypatch, capsys):
    table = shapes_folder / "shapes.csv"
    code, out, _ = call(monkeypatch, capsys, "evaluate", trained, "--data", table, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["task"], result["rows"]) == ("answer", 120)
    assert set(result["metrics"]) == {"accuracy", "exact_match", "macro_f1", "perplexity"}


def test_init_writes_a_config_that_trains(shapes_folder, tmp_path, monkeypatch, capsys):
    config = tmp_path / "made.toml"
    code, _, err = call(monkeypatch, capsys, "init", shapes_folder / "shapes.csv", "--out", config)
    assert code == 0, err
    text = config.read_text()
    assert 'modality = "image"' in text
    assert "[inputs.question]" in text
    code, _, _ = call(monkeypatch, capsys, "init", shapes_folder / "shapes.csv", "--out", config)
    assert code == 2
    monkeypatch.chdir(tmp_path)
    words = ("train", config, "--set", "training.max_steps=2", "--no-baselines", "--json")
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 0, err
    assert json.loads(out)["task"] == "answer"


def test_check_reads_configs_and_tables(shapes_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "check", shapes_folder / "shapes.toml", "--json")
    assert code == 0
    assert json.loads(out)["train rows"] > 60
    code, out, _ = call(monkeypatch, capsys, "check", shapes_folder / "shapes.csv", "--json")
    assert [c["kind"] for c in json.loads(out)["columns"]] == ["image", "text", "text"]
    assert list(tmp_path.iterdir()) == []


def test_dry_run_estimates_and_writes_nothing(shapes_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "train", shapes_folder / "shapes.toml", "--dry-run", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["parameters"] > 1000
    assert list(tmp_path.iterdir()) == []


def test_doctor(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "doctor", "--json")
    assert code == 0
    assert json.loads(out)["problems"] == []


def test_doctor_lists_packaged_weights(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "doctor", "--weights")
    assert code == 0
    assert "packaged:whisper-tiny.en" in out
    code, out, _ = call(monkeypatch, capsys, "doctor", "--weights", "--json")
    listed = json.loads(out)
    assert set(listed) == {"efficientnet-lite0", "minilm", "smollm2-135m", "whisper-tiny.en"}
    for facts in listed.values():
        assert facts["state"] == "installed, verified" or facts["install"] in facts["state"]


def test_doctor_tells_of_broken_weights(monkeypatch, capsys):
    import dataclasses

    from sensorium.media import packaged

    changed = dataclasses.replace(packaged.LISTING["minilm"], package="typer")
    monkeypatch.setattr(packaged, "LISTING", {"minilm": changed})
    code, out, _ = call(monkeypatch, capsys, "doctor", "--weights")
    assert code == 4
    assert "broken: packaged:minilm: typer" in out


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("train", "nowhere.toml"), 2, "no such config"),
        (("train", "{config}", "--set", "training.epoch=3"), 2, "did you mean 'epochs'"),
        (("train", "{config}", "--set", "data.train=gone.csv"), 3, "gone.csv"),
        (("train", "{config}", "--out", "{folder}"), 2, "not empty"),
        (("train", "{config}", "--resume", "--out", "nowhere"), 2, "no such run"),
        (("evaluate", "nowhere"), 4, "not a run folder"),
        (("evaluate", "{run}", "--data", "nowhere.csv"), 3, "nowhere.csv"),
        (("predict", "{run}"), 2, "--input"),
        (("predict", "{run}", "--input", "photo"), 2, "NAME=VALUE"),
        (("predict", "{run}", "--input", "foto=a.png"), 2, "did you mean 'photo'"),
        (("predict", "{run}", "--input", "photo=nowhere.png"), 3, "nowhere.png"),
        (("predict", "{folder}", "--input", "photo=a.png"), 4, "not a run folder"),
        (("check", "nowhere.csv"), 3, "nowhere.csv"),
        (("init", "table.xyz"), 2, "no reader"),
        (("traim",), 2, "traim"),
        (("train",), 2, "config"),
    ],
)
def test_mistakes_are_one_sentence_and_an_exit_code(
    words, exit_code, message, trained, shapes_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    values = {"config": shapes_folder / "shapes.toml", "folder": shapes_folder, "run": trained}
    code, out, err = call(monkeypatch, capsys, *(str(word).format(**values) for word in words))
    assert (code, out) == (exit_code, "")
    assert message in err
    assert "Traceback" not in err

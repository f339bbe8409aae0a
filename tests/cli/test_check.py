"""`sensorium check` says before training what training would refuse."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app, main
from sensorium.core.errors import DataError
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"no/{i}.jpg,{'ab'[i % 2]}\n" for i in range(50))
    (tmp_path / "t.csv").write_text("photo,label\n" + rows)
    assert CliRunner().invoke(app, ["init", "t.csv"]).exit_code == 0
    return tmp_path


@pytest.mark.parametrize("found", ["", "pictures/no"])
@pytest.mark.parametrize("tolerated", [0.01, 1.0])
def test_a_table_none_of_whose_photos_is_there_is_refused_with_the_cure(photos, found, tolerated):
    if found:
        (photos / found).mkdir(parents=True)
        (photos / found / "7.jpg").touch()
    cure = f'set folder = "{photos}/pictures" in [data]' if found else "set folder in [data] to the folder"
    config = (photos / "t.toml").read_text().replace("[data]", f"[data]\nmax_bad_fraction = {tolerated}")
    (photos / "t.toml").write_text(config)
    checked = CliRunner().invoke(app, ["check", "t.toml"])
    assert isinstance(checked.exception, DataError)
    assert checked.exception.exit_code == 3
    assert cure in str(checked.exception)
    assert "bad: t.csv:2 photo: " in checked.stdout
    with pytest.raises(DataError) as caught:
        train(load_config(photos / "t.toml"))
    assert str(caught.value) == str(checked.exception)


def test_bad_rows_beyond_the_tolerance_are_listed_before_check_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text,label\n" + "word,a\n" * 90 + "one\n" * 10)
    checked = CliRunner().invoke(app, ["check", "t.csv", "--json"])
    assert len(json.loads(checked.stdout)["bad"]) == 10
    assert isinstance(checked.exception, DataError)
    assert "10 of 100 rows quarantined" in str(checked.exception)


@pytest.mark.parametrize(
    "words", [["describe"], ["evaluate"], ["report"], ["check"], ["init"], ["predict", "--input", "a=b"]]
)
def test_a_name_that_no_file_can_have_is_one_sentence(words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sensorium", words[0], "x" * 300, *words[1:]])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (2, 3)
    assert capsys.readouterr().err.startswith("sensorium: error: xxx")

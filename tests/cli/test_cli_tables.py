"""`init`, `check` and a training run over published layouts, whose media stay where they are."""

from __future__ import annotations

import io
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from sensorium.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["sensorium", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert (caught.value.code or 0) == 0, printed.err
    return printed.out


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    colours = {"red": (200, 0, 0), "blue": (0, 0, 200)}
    for shard in range(2):
        with tarfile.open(tmp_path / f"s-{shard}.tar", "w") as archive:
            for i in range(20):
                colour = list(colours)[i % 2]
                file = io.BytesIO()
                Image.new("RGB", (8 + i, 8), colours[colour]).save(file, "PNG")
                for ending, data in (("png", file.getvalue()), ("cls", colour.encode()), ("json", b'{"id": 5}')):
                    info = tarfile.TarInfo(f"{shard}{i:03d}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return tmp_path


def test_shards_are_looked_at_checked_and_trained_on(shards, tmp_path, monkeypatch, capsys):
    spec = f"webdataset:{shards}/s-{{0..1}}.tar"
    config = tmp_path / "configs" / "s.toml"
    config.parent.mkdir()
    run(monkeypatch, capsys, "init", spec, "--out", config)
    written = tomllib.loads(config.read_text())
    assert written["data"]["train"] == "webdataset:../s-{0..1}.tar"
    assert {name: section["modality"] for name, section in written["inputs"].items()} == {"png": "image"}
    assert written["target"]["column"] == "cls"
    assert "rows: 40" in run(monkeypatch, capsys, "check", spec)
    words = ["--set", "training.epochs=2", "--set", "evaluation.baselines=false", "--out", tmp_path / "run"]
    run(monkeypatch, capsys, "train", config, *words)
    predicted = run(monkeypatch, capsys, "predict", tmp_path / "run", "--input", f"png={shards}/s-0.tar::0001.png")
    assert "red" in predicted or "blue" in predicted


def test_options_survive_init(tmp_path, monkeypatch, capsys):
    for name in ("pets/cat/1.png", "pets/dog/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "names.txt").write_text("cat Felis catus\ndog Canis familiaris\n")
    config = tmp_path / "a" / "b.toml"
    config.parent.mkdir()
    run(monkeypatch, capsys, "init", f"folder:{tmp_path}/pets?names=../names.txt", "--out", config)
    written = tomllib.loads(config.read_text())
    assert written["data"]["train"] == "folder:../pets?names=../names.txt"
    assert list(written["inputs"]) == ["media"]
    assert "train rows" in run(monkeypatch, capsys, "check", config)

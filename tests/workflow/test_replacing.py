"""Whatever writes a folder or a file replaces nothing but an older one of its own kind."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from typer.testing import CliRunner

import sensorium
from sensorium.cli.main import app
from sensorium.core.commit import MANIFEST, verify
from sensorium.core.errors import UsageError
from sensorium.workflow.exporting import export_published
from sensorium.workflow.optimising import save_rounded

Writer = Callable[[Path, Path], Any]


def command(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


def save(name: str) -> Writer:
    return lambda golden, out: sensorium.load(golden / name).save(out)


def explain(golden: Path, out: Path) -> None:
    command(
        "explain", golden / "lesson", "--input", f"photo={golden / 'data' / '0.png'}", "--map", "none", "--out", out
    )


def ngram(golden: Path, out: Path) -> None:
    command("ngram", "train", golden / "data" / "captions.csv", "--out", out, "--force")


FOLDERS: dict[str, Writer] = {
    "save, one task": save("lesson"),
    "save, several tasks": save("tasks"),
    "save, published": save("published"),
    "optimise": lambda golden, out: save_rounded(golden / "lesson", out, "bf16"),
    "export --hf --force": lambda golden, out: export_published(golden / "published", out, force=True),
    "ngram train --force": ngram,
    "explain --out": explain,
}


@pytest.fixture(params=FOLDERS)
def write(request, golden) -> Callable[[Path], Any]:
    if request.param == "explain --out":
        pytest.importorskip("matplotlib")
    if "published" in request.param or "hf" in request.param:
        pytest.importorskip("transformers")
    return lambda out: FOLDERS[request.param](golden, out)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(write: Callable[[Path], Any], out: Path, within: Path) -> None:
    before = content(within)
    with pytest.raises(UsageError, match=out.name):
        write(out)
    assert content(within) == before


def test_a_folder_of_ones_own_things_is_never_replaced(write, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("years of work")
    refused(write, tmp_path / "models", tmp_path)


def test_a_run_is_never_replaced(write, golden, tmp_path):
    refused(write, copytree(golden / "holes", tmp_path / "run"), tmp_path)


def test_a_file_is_never_replaced_by_a_folder(write, tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    refused(write, tmp_path / "table.csv", tmp_path)


def test_a_folder_of_its_kind_is_replaced_unless_it_holds_a_file_of_somebody_else(write, tmp_path):
    out = tmp_path / "out"
    out.mkdir()  # an empty one is as good as none
    write(out)
    write(out)
    verify(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (out / "notes.txt").write_text("what I found")
    refused(write, out, tmp_path)
    (out / "notes.txt").unlink()
    (out / "link").symlink_to(tmp_path)
    refused(write, out, tmp_path)


def test_a_folder_of_another_kind_is_not_replaced(write, golden, tmp_path):
    """Each kind, written by this program, against each other one."""
    for name, other in FOLDERS.items():
        out = tmp_path / name.replace(" ", "-")
        if name == "explain --out" or "published" in name or "hf" in name:
            continue
        other(golden, out)
    kinds = {path.name: path for path in tmp_path.iterdir()}
    own = tmp_path / "own"
    write(own)
    mark = (own / MANIFEST).read_text().split('"kind": ')[1].split(",")[0]
    for path in kinds.values():
        if f'"kind": {mark}' not in (path / MANIFEST).read_text():
            refused(write, path, tmp_path)


@pytest.mark.parametrize("name", ["lesson", "tasks"])
def test_a_model_of_a_day_before_manifests_named_kinds_is_replaced(golden, tmp_path, name):
    copytree(golden / name / "model", tmp_path / "model")
    assert '"kind"' not in (tmp_path / "model" / MANIFEST).read_text()
    sensorium.load(tmp_path / "model").save(tmp_path / "model")
    verify(tmp_path / "model")
    with pytest.raises(UsageError):
        ngram(golden, tmp_path / "model")


def test_a_link_to_a_model_stays_a_link(golden, tmp_path):
    model = sensorium.load(golden / "lesson")
    model.save(tmp_path / "v1")
    (tmp_path / "latest").symlink_to(tmp_path / "v1")
    model.save(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    verify(tmp_path / "v1")


@dataclass(frozen=True)
class File:
    """A command that writes one file: its words, what it takes for its own kind, whether it replaces that."""

    words: Callable[[Path, Path], list[object]]
    name: str
    is_replaced: bool


def table(golden: Path) -> Path:
    return golden / "data" / "captions.csv"


FILES = {
    "init": File(lambda golden, out: ["init", table(golden), "--out", out, "--force"], "t.toml", True),
    "ngram, arpa": File(
        lambda golden, out: ["ngram", "train", table(golden), "--out", out, "--force"], "m.arpa", True
    ),
    "vectors": File(
        lambda golden, out: [
            *("vectors", "train", table(golden), "--out", out, "--force"),
            *("--min-count", 1, "--width", 2, "--epochs", 1),
        ],
        "v.txt",
        True,
    ),
    "synth pairs": File(
        lambda golden, out: ["synth", "pairs", table(golden), table(golden), "--on", "caption", "--out", out],
        "p.csv",
        False,
    ),
    "report": File(lambda golden, out: ["report", golden / "pretraining", "--out", out], "r.html", True),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_never_replaced(golden, tmp_path, name):
    one = FILES[name]
    out = tmp_path / one.name
    with (golden / "data" / "shapes.csv").open(newline="") as file:
        text = "\n".join(map(",".join, csv.reader(file)))
    out.write_text(text)
    with pytest.raises(UsageError, match=one.name):
        command(*one.words(golden, out))
    assert out.read_text() == text
    out.unlink()
    out.mkdir()
    with pytest.raises(UsageError, match=one.name):
        command(*one.words(golden, out))
    out.rmdir()
    command(*one.words(golden, out))
    first = out.stat().st_ino
    if one.is_replaced:
        command(*one.words(golden, out))
        assert out.stat().st_ino != first
    else:
        with pytest.raises(UsageError, match="exists already"):
            command(*one.words(golden, out))


def test_a_resumed_run_does_not_replace_what_lies_in_its_model_folder(golden, tmp_path):
    from sensorium.workflow.run_folder import opened_run

    run = copytree(golden / "lesson", tmp_path / "run")
    (run / "model" / "notes.txt").write_text("what I found")
    with (
        pytest.raises(UsageError, match=r"notes\.txt"),
        opened_run("run", {}, out=run, resume=True, say=lambda line: None),
    ):
        pass


def test_a_folder_that_is_no_run_is_not_resumed_and_none_that_is_no_comparison_gone_on_with(golden, tmp_path):
    from sensorium.workflow.compare import compare
    from sensorium.workflow.config import load_config
    from sensorium.workflow.run_folder import opened_run

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "metrics.jsonl").write_text("years of work")
    (tmp_path / "own" / "comparison.json").write_text("years of work")

    def resume(out: Path) -> None:
        with opened_run("run", {}, out=out, resume=True, say=lambda line: None):
            pass

    refused(resume, tmp_path / "own", tmp_path)
    config = load_config(golden / "holes" / "config.toml")
    refused(lambda out: compare(config, ["concat"], out=out, jobs=0), tmp_path / "own", tmp_path)

"""What a saved model keeps: lessons, how it writes, what it may open, and who may read it; wherever it is moved."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shutil import copytree

import pytest

import sensorium
from sensorium.core.commit import verify
from sensorium.core.errors import MediaError
from sensorium.media.policy import MediaPolicy
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.optimising import save_rounded
from sensorium.workflow.predictor import Predictor, load_predictors
from sensorium.workflow.tasks_config import any_from_text, load_any
from sensorium.workflow.tasks_train import run_any

MADE_IN = "/tmp/golden"
WRITERS = {
    "lesson": "",
    "tasks": "ask",
}


def of(path: Path, task: str) -> Predictor:
    return load_predictors(path)[task]


def here(golden: Path, name: str, folder: Path, *changes: tuple[str, str]) -> Path:
    """Copy a golden run, its tables named where they are now."""
    run = copytree(golden / name, folder / name)
    text = (run / "config.toml").read_text(encoding="utf-8").replace(MADE_IN, str(golden))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (run / "config.toml").write_text(text, encoding="utf-8")
    return run


def save(run: Path, out: Path) -> Path:
    return sensorium.load(run).save(out)


def optimise(run: Path, out: Path) -> Path:
    save_rounded(run, out, "bf16")
    return out


def save_again(run: Path, out: Path) -> Path:
    return sensorium.load(sensorium.load(run).save(out.with_name("first"))).save(out)


WAYS = {"save": save, "optimise": optimise, "save what was saved": save_again}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_saved_model_keeps_how_it_writes_and_what_it_was_taught(golden, tmp_path, name, way):
    run, task = here(golden, name, tmp_path), WRITERS[name]
    before = sensorium.load(run)
    before.predictor_of(task or None).teach("a zebra in red" if not task else "is it red?", source="mine", weight=3)
    first = before.save(tmp_path / "taught")
    out = WAYS[way](first, tmp_path / "out")
    old, new = before.predictor_of(task or None), of(out, task)
    assert old.decoding.search == "beam"
    assert new.decoding == old.decoding
    assert new.lessons == old.lessons
    photo = [{"photo": str(golden / "data" / "0.png")}]
    if way != "optimise":
        assert new.predict(photo)[0].text == old.predict(photo)[0].text
    moved = (tmp_path / "elsewhere").resolve()
    out.rename(moved)
    assert of(moved, task).decoding == old.decoding


@pytest.mark.parametrize("name", ["lesson", "tasks", "holes", "published", "ctc", "crf"])
def test_every_model_of_a_run_may_open_what_the_run_may(golden, tmp_path, name):
    """Of one task or several: loaded, saved, made lighter, or the run's own model folder moved away."""
    if name == "published":
        pytest.importorskip("transformers")
    run = here(golden, name, tmp_path)
    policy = MediaPolicy(max_pixels=77, max_audio_seconds=5.0, roots=(tmp_path / "granted",))
    text = (run / "config.toml").read_text(encoding="utf-8")
    text = text.partition("[media]")[0]
    roots = f'max_pixels = 77\nmax_audio_seconds = 5.0\nroots = ["{tmp_path / "granted"}"]\n'
    (run / "config.toml").write_text(f"{text}[media]\n{roots}")
    folders = [run, save(run, tmp_path / "saved"), optimise(run, tmp_path / "optimised")]
    folders.append(save_again(tmp_path / "saved", tmp_path / "again"))
    for folder in folders:
        for predictor in load_predictors(folder).values():
            for preparer in predictor.model.preparers.values():
                assert getattr(preparer, "policy", policy) == policy


def test_a_saved_model_opens_nothing_outside_the_granted_folders(golden, tmp_path):
    run = here(golden, "lesson", tmp_path, ("roots = []", f'roots = ["{tmp_path / "granted"}"]'))
    copytree(golden / "data", tmp_path / "granted")
    copytree(golden / "data", tmp_path / "other")
    for folder in (run, save(run, tmp_path / "saved")):
        model = sensorium.load(folder)
        assert model.predict(photo=tmp_path / "granted" / "0.png").text
        with pytest.raises(MediaError, match="granted|outside"):
            model.predict(photo=tmp_path / "other" / "0.png")


def test_a_trained_run_keeps_all_of_it_in_its_model_folder_too(golden, tmp_path, monkeypatch):
    """Granted folders start at the config's folder, wherever training is called from."""
    monkeypatch.chdir(tmp_path)
    text = (golden / "lesson" / "config.toml").read_text(encoding="utf-8").replace(MADE_IN, str(golden))
    text = text.replace("roots = []", 'roots = ["data", "../elsewhere"]').replace(
        "max_tokens = 24", "max_tokens = 9"
    )
    text = text.replace("epochs = 20", "epochs = 1")
    run_any(any_from_text(text, golden), out=tmp_path / "run", progress=Silent())
    roots = (golden / "data", golden.parent / "elsewhere")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        predictor = of(folder, "")
        assert predictor.decoding.max_tokens == 9
        assert predictor.decoding.beam_width == 3
        assert predictor.model.preparers["photo"].policy.roots == roots
    assert load_any(tmp_path / "run" / "config.toml").media.roots == roots


@pytest.mark.parametrize("name", ["lesson", "tasks"])
def test_a_resumed_run_keeps_what_its_model_was_taught(golden, tmp_path, name):
    text = (golden / name / "config.toml").read_text(encoding="utf-8").replace(MADE_IN, str(golden))
    text = text.replace("epochs = 20", "epochs = 1").replace("epochs = 15", "epochs = 1")
    run, task = tmp_path / "run", WRITERS[name]
    run_any(any_from_text(text, golden), out=run, progress=Silent())
    from sensorium.workflow.lessons import write_lessons
    from sensorium.workflow.run_folder import lessons_folder

    taught = of(run, task)
    taught.teach("is it red?" if task else "a zebra in red", source="mine")
    write_lessons(taught.lessons, lessons_folder(run, task or None))
    run_any(load_any(run / "config.toml"), out=run, resume=True, progress=Silent())
    verify(run / "model")
    assert [one.source for one in of(run, task).lessons] == ["mine"]
    again = sensorium.Sensorium(load_any(run / "config.toml")).fit(run, resume=True, progress=Silent())
    assert [one.source for one in again.predictor_of(task or None).lessons] == ["mine"]


@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
@pytest.mark.parametrize("name", ["lesson", "tasks"])
def test_what_is_saved_is_for_those_whom_the_umask_says(golden, tmp_path, name, mask, file, folder):
    model = sensorium.load(golden / name)
    before = os.umask(mask)
    try:
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {p.is_dir(): set() for p in (tmp_path / "model").rglob("*")}
    for path in [tmp_path / "model", *(tmp_path / "model").rglob("*")]:
        modes[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    assert modes == {False: {file}, True: {folder}}


def test_what_replaces_a_model_is_for_those_whom_the_model_was_for(golden, tmp_path):
    model = sensorium.load(golden / "lesson")
    model.save(tmp_path / "model")
    (tmp_path / "model").chmod(0o2750)
    model.save(tmp_path / "model")
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o2750
    assert stat.S_IMODE((tmp_path / "model" / "weights.safetensors").stat().st_mode) == 0o640


def test_granted_folders_of_a_config_start_at_its_folder(golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (golden / "lesson" / "config.toml").read_text(encoding="utf-8")
    config = config_from_text(text.replace("roots = []", 'roots = ["photos", "/abs"]'), tmp_path / "project")
    assert config.media.roots == (tmp_path / "project" / "photos", Path("/abs"))
    assert config.dump()["media"]["roots"] == [str(tmp_path / "project" / "photos"), "/abs"]

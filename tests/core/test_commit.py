"""The commit contract: whatever happens, a folder is the old one or the new one, and whole."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.core import commit
from sensorium.core.commit import (
    MANIFEST,
    Kind,
    committed_folder,
    disk_error,
    is_whole,
    recommit,
    verify,
    write_atomic,
)
from sensorium.core.errors import DiskError, ModelError, UsageError

KIND = Kind("thing", mark="a.txt")


def make(final: Path, text: str = "text") -> Path:
    with committed_folder(final, KIND) as draft:
        (draft / "sub").mkdir()
        (draft / "a.txt").write_text(text)
        (draft / "sub" / "b.bin").write_bytes(b"\0" * 5000)
    return final


def siblings(final: Path) -> list[str]:
    return sorted(path.name for path in final.parent.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two folders in one step")
@pytest.mark.parametrize("way", [[], ["recommit"]], ids=["commit", "recommit"])
def test_a_crash_at_any_file_operation_leaves_the_old_or_the_new(tmp_path, way):
    script = Path(__file__).with_name("crash_points.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, *way], check=True, capture_output=True, text=True, timeout=120
    )
    num_crashes = int(done.stdout)
    texts = [(tmp_path / str(n) / "model" / "a.txt").read_text() for n in range(num_crashes + 1)]
    assert all(is_whole(tmp_path / str(n) / "model") for n in range(num_crashes + 1))
    assert num_crashes > (10 if way else 20)
    assert texts == sorted(texts, reverse=True), "old up to some operation, new from there on"
    assert {"old", "new"} == set(texts)
    assert siblings(tmp_path / str(num_crashes) / "model") == ["model"]


def test_a_committed_folder_is_whole_and_alone(tmp_path):
    final = make(tmp_path / "deep" / "model")
    verify(final)
    assert siblings(final) == ["model"]
    assert set(json.loads((final / MANIFEST).read_text())["files"]) == {"a.txt", "sub/b.bin"}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_new_commit_replaces_the_old_whole(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(commit, "_exchange", lambda one, other: False)
    final = make(tmp_path / "model", "old")
    make(final, "new")
    verify(final)
    assert (final / "a.txt").read_text() == "new"
    assert siblings(final) == ["model"]


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("can_link", [True, False])
def test_some_files_are_exchanged_and_the_others_are_not_written(tmp_path, monkeypatch, can_link, can_exchange):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    final = make(tmp_path / "model", "old")
    final.chmod(0o750)
    kept = final / "sub" / "b.bin"
    before = kept.stat()
    monkeypatch.setattr(os, "link", os.link if can_link else refuse)
    if not can_exchange:
        monkeypatch.setattr(commit, "_exchange", lambda one, other: False)
    recommit(final, KIND, {"a.txt": b"new", "more.txt": b"more"})
    verify(final)
    assert (final / "a.txt").read_text() == "new"
    assert set(json.loads((final / MANIFEST).read_text())["files"]) == {"a.txt", "more.txt", "sub/b.bin"}
    assert (kept.stat().st_ino == before.st_ino) is can_link
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert kept.stat().st_nlink == 1
    assert final.stat().st_mode & 0o777 == 0o750
    assert (final / "a.txt").stat().st_mode & 0o777 == 0o640
    assert siblings(final) == ["model"]


def test_only_a_committed_folder_of_its_kind_is_committed_again(tmp_path):
    with pytest.raises(ModelError, match="never finished"):
        recommit(tmp_path / "none", KIND, {"a.txt": b"new"})
    final = make(tmp_path / "model", "old")
    (final / "mine.txt").write_text("of somebody else")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        recommit(final, KIND, {"a.txt": b"new"})
    assert (final / "a.txt").read_text() == "old"
    (final / "mine.txt").unlink()
    with pytest.raises(UsageError):
        recommit(final, Kind("other"), {"a.txt": b"new"})
    assert siblings(final) == ["model"]


def test_an_error_in_the_body_changes_nothing(tmp_path):
    final = make(tmp_path / "model", "old")

    def fail() -> None:
        with committed_folder(final, KIND) as draft:
            (draft / "a.txt").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    verify(final)
    assert (final / "a.txt").read_text() == "old"
    assert siblings(final) == ["model"]


def damage_shorter(final):
    path = final / "sub" / "b.bin"
    path.write_bytes(path.read_bytes()[:-1])


def damage_altered(final):
    (final / "sub" / "b.bin").write_bytes(b"\1" * 5000)


def damage_missing(final):
    (final / "a.txt").unlink()


def damage_manifest(final):
    (final / MANIFEST).write_text((final / MANIFEST).read_text()[:-9])


def damage_no_manifest(final):
    (final / MANIFEST).unlink()


def damage_manifest_kind(final):
    (final / MANIFEST).write_text("[]")


def damage_schema(final):
    (final / MANIFEST).write_text(json.dumps({"schema_version": 99, "files": {}}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_shorter, "'sub/b.bin' is missing or cut short"),
        (damage_altered, "'sub/b.bin' is not what was written"),
        (damage_missing, "'a.txt' is missing or cut short"),
        (damage_manifest, "never finished"),
        (damage_no_manifest, "never finished"),
        (damage_manifest_kind, "never finished"),
        (damage_schema, "schema version 99"),
    ],
)
def test_damage_is_found_and_named(tmp_path, damage, message):
    final = make(tmp_path / "model")
    damage(final)
    assert not is_whole(final)
    with pytest.raises(ModelError, match=message) as caught:
        verify(final)
    assert str(final) in str(caught.value)


@pytest.mark.parametrize("files", [[], {"a.txt": {}}, {"a.txt": 5}, None], ids=str)
def test_a_manifest_that_makes_no_sense_is_an_error_of_ours(tmp_path, files):
    final = make(tmp_path / "model")
    (final / MANIFEST).write_text(json.dumps({"schema_version": 1, "files": files}))
    with pytest.raises(ModelError, match="never finished"):
        verify(final)


def test_a_missing_folder_is_not_whole(tmp_path):
    assert not is_whole(tmp_path / "none")


def test_write_atomic_replaces_one_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert siblings(path) == ["a.json"]


def test_write_atomic_keeps_the_old_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="no space left"):
        write_atomic(path, b"new")
    with pytest.raises(DiskError, match="no space left"):
        make(tmp_path / "model")
    assert path.read_bytes() == b"old"
    assert siblings(path) == ["a.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiskError, match="file"):
        make(tmp_path / "file" / "model")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"p: no space left \(free some, or choose another --out\)"),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "check permissions"),
        (errno.EROFS, "check permissions"),
        (errno.EIO, "cannot be written: Input/output error"),
    ],
)
def test_system_errors_become_advice(number, message):
    error = disk_error(OSError(number, os.strerror(number)), Path("p"))
    assert error.exit_code == 5
    with pytest.raises(DiskError, match=message):
        raise error

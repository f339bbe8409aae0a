"""Small finished runs of every kind, each fitted once a session and copied to where a test works."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import small_run

from sensorium.cli.main import main


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a kind of run to its folder, with `t.csv`, `c.toml` and `run`."""
    root = tmp_path_factory.mktemp("kinds")

    def folder(kind: str) -> Path:
        if not (root / kind).exists():
            small_run(kind, root / kind)
        return root / kind

    return folder


@pytest.fixture
def at_run(
    finished_runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a function that copies a run's folder to a place of the test's own, and works there."""

    def copied(kind: str) -> Path:
        folder = shutil.copytree(finished_runs(kind), tmp_path / kind)
        monkeypatch.chdir(folder)
        return folder

    return copied


@pytest.fixture
def sensorium_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["sensorium", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return call

"""Every bad medium gives its named error, quickly, in little memory, and prints nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import bad_media
import pytest

MAX_CPU_S = 2.0
MAX_MIB = 500


@cache
def cases() -> dict[str, bad_media.Case]:
    with tempfile.TemporaryDirectory() as folder:
        return {case.name: case for case in bad_media.build(Path(folder))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Read them all in one process; its time limit is what a hang runs into."""
    folder = tmp_path_factory.mktemp("bad")
    command = [sys.executable, bad_media.__file__, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def reports(run: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    return {row["name"]: row for row in rows}


def test_there_are_many_and_each_is_reported(reports: dict[str, dict[str, Any]]) -> None:
    assert len(cases()) >= 200
    assert set(reports) == set(cases())


def test_the_reading_process_ends_well_and_prints_nothing_else(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0
    assert run.stderr == ""


@pytest.mark.parametrize("name", list(cases()))
def test_bad_medium_gives_its_named_error(name: str, reports: dict[str, dict[str, Any]]) -> None:
    report = reports[name]
    assert report["what"] == "MediaError", report["text"] or "was decoded"
    assert re.search(cases()[name].words, report["text"]), report["text"]
    assert "Traceback" not in report["text"]
    assert "\n" not in report["text"]
    assert report["cpu_s"] < MAX_CPU_S
    assert report["mib"] < MAX_MIB


@pytest.mark.parametrize("name", ["jpeg cut at 50 %", "wav of NaN", "html named .jpg, image"])
def test_errors_begin_with_the_medium(name: str, reports: dict[str, dict[str, Any]]) -> None:
    assert re.match(r"<\d+ bytes>: |'.*page\.jpg': ", reports[name]["text"])

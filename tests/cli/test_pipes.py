"""A reader that leaves early (`| head`) is no failure; a failure is one though its reader has left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MAIN = [sys.executable, "-m", "sensorium.cli.main"]


def ended(*words: str) -> tuple[int, str]:
    """Run a command whose output nobody reads; returns its exit status and what it said on stderr."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*MAIN, *words], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["train", "--help"], ["doctor"], ["doctor", "--json"]]
)
def test_nobody_reads(words: list[str]) -> None:
    code, said = ended(*words)
    assert code == 0
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_nobody_reads_what_fails(tmp_path) -> None:
    code, said = ended("predict", str(tmp_path), "--input", "x=y")
    assert code == 4
    assert said.startswith("sensorium: error: ")


def test_wrong_words_are_usage_errors_still() -> None:
    assert ended("train", "--nosuch")[0] == 2

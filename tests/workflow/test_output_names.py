"""Every source has a file of its own, whatever the others are called; and nothing is written over."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.core.errors import UsageError
from sensorium.workflow.output_names import output_paths


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a/talk.wav", "a/walk.wav"], ["talk.txt", "walk.txt"]),
        (["a/talk.wav", "b/talk.wav"], ["a-talk.txt", "b-talk.txt"]),
        (["x/a/talk.wav", "y/a/talk.wav"], ["x-a-talk.txt", "y-a-talk.txt"]),
        (["a/talk.wav", "a/talk.mp3"], ["talk.wav.txt", "talk.mp3.txt"]),
        (["a/talk.wav", "b/talk.wav", "a/talk.mp3"], ["a-talk.wav.txt", "b-talk.wav.txt", "a-talk.mp3.txt"]),
        (["a/Talk.wav", "a/talk.wav"], ["Talk.wav.txt", "talk.wav-2.txt"]),
        (["a/talk.wav", "a/talk.wav"], ["talk.txt", "talk.txt"]),
        (["a/talk.wav", "b/../a/talk.wav"], ["talk.txt", "talk.txt"]),
        (["a/talk.wav", "b/talk.wav", "c/a-talk.wav"], ["a-talk.txt", "b-talk.txt", "a-talk-2.txt"]),
        (["a/caf\u00e9.wav", "a/cafe\u0301.wav"], ["caf\u00e9.wav.txt", "cafe\u0301.wav-2.txt"]),
    ],
)
def test_files_are_told_apart(tmp_path, sources, names):
    found = output_paths([tmp_path / source for source in sources], tmp_path / "out", "txt")
    assert [path.name for path in found] == names


@given(
    st.lists(st.lists(st.sampled_from(["a", "A", "b", "a-b", "\u00df", "ss"]), min_size=1, max_size=3), max_size=8)
)
def test_no_two_sources_share_a_file_on_any_file_system(parts):
    sources = [Path("/nowhere", *part[:-1], f"{part[-1]}.wav") for part in parts]
    out = Path("/tmp")  # nothing there is called so
    found = output_paths(sources, out, "never-an-ending-there")
    keys = {unicodedata.normalize("NFC", str(path)).casefold() for path in found}
    assert len(keys) == len(set(sources))
    assert all(path.parent == out for path in found)


def test_nothing_is_written_over_without_being_told(tmp_path):
    (tmp_path / "talk.txt").write_text("what was said, by hand")
    with pytest.raises(UsageError, match=r"talk\.txt: exists already"):
        output_paths([tmp_path / "talk.wav"], tmp_path, "txt")
    assert output_paths([tmp_path / "talk.wav"], tmp_path, "txt", force=True) == [tmp_path / "talk.txt"]
    with pytest.raises(UsageError, match="is a file"):
        output_paths([tmp_path / "talk.wav"], tmp_path / "talk.txt", "txt")


def test_two_talks_are_two_transcripts(golden, tmp_path):
    """Recordings of one name in two folders, and a second call that would write over them."""
    for number in (0, 1):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "talk.wav").write_bytes((golden / "data" / f"{number}.wav").read_bytes())
    words = [
        "transcribe",
        golden / "ctc",
        *(tmp_path / str(n) / "talk.wav" for n in (0, 1)),
        "--out",
        tmp_path / "o",
    ]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_text().strip() for path in (tmp_path / "o").iterdir()} == {
        "0-talk.txt": "ab",
        "1-talk.txt": "c",
    }
    again = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(again.exception, UsageError)
    assert CliRunner().invoke(app, [*(str(word) for word in words), "--force"]).exit_code == 0

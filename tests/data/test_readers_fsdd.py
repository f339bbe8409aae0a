"""FSDD's parts: the official one, and one voice held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data.table import Table


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for speaker in ("ann", "bob"):
        for index in (0, 4, 5, 12):
            (tmp_path / f"7_{speaker}_{index}.wav").touch()
    return tmp_path


def names(folder: Path, part: str) -> set[str]:
    table = Table.open(f"fsdd:{folder}/{part}", folder)
    return {Path(table.row(i)["recording"]).stem for i in range(len(table))}


def test_parts_are_the_official_ones(recordings: Path) -> None:
    assert names(recordings, "test") == {f"7_{who}_{i}" for who in ("ann", "bob") for i in (0, 4)}
    assert names(recordings, "train") == {f"7_{who}_{i}" for who in ("ann", "bob") for i in (5, 12)}


def test_a_voice_is_held_out_whole(recordings: Path) -> None:
    assert names(recordings, "only-ann") == {f"7_ann_{i}" for i in (0, 4, 5, 12)}
    assert names(recordings, "without-ann") == {f"7_bob_{i}" for i in (0, 4, 5, 12)}


@pytest.mark.parametrize(
    ("part", "message"), [("dev", "no part 'dev'"), ("only-", "no part"), ("without-eve", "speakers: ann, bob")]
)
def test_other_parts_are_refused(recordings: Path, part: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        names(recordings, part)

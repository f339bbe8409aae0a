"""The Free Spoken Digit Dataset as a table: recordings named `{digit}_{speaker}_{index}.wav`.

Enters: FOLDER/train or FOLDER/test, or FOLDER/without-SPEAKER or FOLDER/only-SPEAKER, by which a voice is held out.
Leaves: rows of `recording` (path), `digit`, `word` (in letters), `speaker`.
Source: Jackson et al. 2018; the official test part is index 0 to 4 of every digit and speaker.

    fsdd:recordings/train
    fsdd:recordings/without-george
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, RowStream

COLUMNS = ["recording", "digit", "word", "speaker"]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUM_TEST_INDICES = 5
_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")


def read_fsdd(path: Path) -> RowStream:
    """Stream the recordings of the part that `path` ends in, in order of their names.

    Raises:
        DataError: no such part, or a folder without recordings.
    """
    kind, dash, speaker = path.name.partition("-")
    if path.name not in ("train", "test") and not (kind in ("without", "only") and speaker):
        advice = "end the spec in /train, /test, /without-SPEAKER or /only-SPEAKER"
        raise DataError(f"FSDD has no part '{path.name}'", where=str(path), advice=advice)
    names = sorted(file.name for file in path.parent.glob("*.wav") if _NAME.fullmatch(file.name))
    if not names:
        advice = "expected files such as 7_george_12.wav"
        raise DataError("holds no FSDD recordings", where=str(path.parent), advice=advice)
    speakers = {name.split("_")[1] for name in names}
    if dash and speaker not in speakers:
        advice = f"speakers: {', '.join(sorted(speakers))}"
        raise DataError(f"FSDD has no speaker '{speaker}'", where=str(path), advice=advice)
    return RowStream(list(COLUMNS), _rows(names, path.parent, path.name))


def _is_in(part: str, speaker: str, index: str) -> bool:
    """Say whether a recording belongs to a part."""
    kind, _, held_out = part.partition("-")
    if held_out:
        return (speaker == held_out) == (kind == "only")
    return (int(index) < NUM_TEST_INDICES) == (kind == "test")


def _rows(names: list[str], folder: Path, part: str) -> Iterator[Row | BadLine]:
    for number, name in enumerate(names, start=1):
        match = _NAME.fullmatch(name)
        assert match is not None
        digit, speaker, index = match.groups()
        if _is_in(part, speaker, index):
            cells = {"digit": digit, "word": WORDS[int(digit)], "speaker": speaker}
            yield Row(number, {"recording": str((folder / name).resolve()), **cells})

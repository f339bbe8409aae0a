"""Captions read aloud: a table of captions -> recordings by espeak-ng voices, and what they say.

Enters: DIR/PART, where DIR holds `captions.tsv` with the columns `caption` and `split` (other columns stay unread).
Leaves: rows of `speech` (path), `text` (what is said: lower case, letters and apostrophes), `voice`.
The speech is made here, once, and kept in DIR; each caption is read by one voice, always the same.

    spoken-captions:DIR/train         captions of split 'train', by training voices
    spoken-captions:DIR/test          captions of split 'dev' or 'test', by voices that training never heard
    spoken-captions:DIR/known-voices  the same captions as test, by training voices
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.data.readers import BadLine, Row, RowStream
from sensorium.data.readers_delimited import read_delimited
from sensorium.data.synthesis.kept_speech import kept_speech
from sensorium.data.synthesis.speech import Voice, voice_sets

COLUMNS = ["speech", "text", "voice"]
CAPTIONS = "captions.tsv"
_TEST_SPLITS = ("dev", "test")
_DIGITS = dict(enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")))


def read_spoken_captions(path: Path) -> RowStream:
    """Stream the rows of the part that `path` ends in.

    Raises:
        DataError: no such part, no captions, or captions without the columns.
        MissingExtraError: the package that speaks is not installed.
    """
    training, held_out = voice_sets()
    parts = {
        "train": (("train",), training),
        "test": (_TEST_SPLITS, held_out),
        "known-voices": (_TEST_SPLITS, training),
    }
    if path.name not in parts:
        advice = f"choose {', '.join(parts)}"
        raise DataError(f"spoken captions have no part '{path.name}'", where=str(path), advice=advice)
    captions = path.parent / CAPTIONS
    if not captions.is_file():
        raise DataError("no such table", where=str(captions), advice="copy a table of captions there")
    splits, voices = parts[path.name]
    return RowStream(list(COLUMNS), _rows(captions, splits, voices, path.parent))


def spoken_form(caption: str) -> str:
    """Return what is said: digits one by one as words, lower case, nothing but a-z, apostrophes and blanks."""
    digits = re.sub(r"\d", lambda match: f" {_DIGITS[int(match[0])]} ", caption)
    letters = re.sub(r"[^a-z']+", " ", digits.lower())
    return " ".join(word for word in (piece.strip("'") for piece in letters.split()) if word)


def _rows(
    captions: Path, splits: tuple[str, ...], voices: tuple[Voice, ...], folder: Path
) -> Iterator[Row | BadLine]:
    table = read_delimited(captions, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})
    missing = {"caption", "split"} - set(table.columns)
    if missing:
        raise DataError(f"has no column '{min(missing)}'", where=str(captions))
    for number, row in enumerate(table.rows, start=2):
        if isinstance(row, BadLine):
            yield row
            continue
        if row.cells["split"] not in splits:
            continue
        text = spoken_form(row.cells["caption"])
        if not text:
            yield BadLine(number, "the caption has no letters to read")
            continue
        voice = voices[_draw(f"{number}:{text}") % len(voices)]
        said = f"{voice.name}+{voice.variant}"
        yield Row(number, {"speech": kept_speech(text, voice, folder), "text": text, "voice": said})


def _draw(key: str) -> int:
    """Return a number that looks random but is the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")

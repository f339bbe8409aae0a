"""LibriSpeech folders: SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt and a FLAC for each of its lines -> rows.

    librispeech:LibriSpeech/train-clean-100      one part
    librispeech:LibriSpeech                      all of them; column `subset` says which

Leaves: rows of `audio` (path), `text`, `speaker`, `chapter`, `utterance`, `subset`, in sorted order of the files.
A line without its recording, a recording without its line, and a line that breaks off are BadLines.
Source: Panayotov et al. 2015, "LibriSpeech: an ASR corpus based on public domain audio books".
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.litter import is_litter
from sensorium.data.readers import BadLine, Row, RowStream, row_of

COLUMNS = ["audio", "text", "speaker", "chapter", "utterance", "subset"]
TRANSCRIPT = ".trans.txt"
SOUNDS = (".flac", ".wav", ".ogg", ".mp3")


def read_librispeech(path: Path) -> RowStream:
    """Stream the utterances below a folder.

    Raises:
        DataError: not a folder, or no transcripts below it.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_dir():
        raise DataError("is not a folder", where=str(path), advice="name LibriSpeech/PART")
    transcripts = _transcripts(path)
    first = next(transcripts, None)
    if first is None:
        raise DataError(
            "holds no transcripts", where=str(path), advice=f"expected SPEAKER/CHAPTER/SPEAKER-CHAPTER{TRANSCRIPT}"
        )
    return RowStream(list(COLUMNS), _rows(path, first, transcripts))


def _transcripts(folder: Path) -> Iterator[Path]:
    """Find transcripts in sorted order, holding one folder's names at a time."""
    for here, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(here, name) for name in sorted(files) if name.endswith(TRANSCRIPT))


def _rows(root: Path, first: Path, others: Iterator[Path]) -> Iterator[Row | BadLine]:
    number = 0
    for transcript in itertools.chain([first], others):
        for found in _chapter(root, transcript):
            number += 1
            yield BadLine(number, found) if isinstance(found, str) else row_of(number, found)


def _chapter(root: Path, transcript: Path) -> Iterator[dict[str, str] | str]:
    """Yield the cells of each line of a transcript, or what is wrong with it."""
    folder = transcript.parent
    recordings = {
        file.stem: file.name
        for file in folder.iterdir()
        if file.suffix.lower() in SOUNDS and not is_litter(file.name)
    }
    place = transcript.relative_to(root).as_posix()
    speaker, _, chapter = transcript.name.removesuffix(TRANSCRIPT).partition("-")
    subset = (folder.parts[-3:-2] or ("",))[0]
    for line, said, fault in text_file.lines_with_faults(transcript):
        if not (words := text_file.fields(said)):
            continue
        utterance, text = words[0], said.strip(" \t").removeprefix(words[0]).strip(" \t")
        name = None if fault else recordings.pop(utterance, None)
        if name is None or not text:
            what = f"has no recording '{utterance}.flac'" if name is None else f"'{utterance}' has no text"
            yield f"{fault or what} ('{place}' line {line})"
            continue
        audio = (folder / name).relative_to(root).as_posix()
        values = (audio, text, speaker, chapter, utterance, subset)
        yield dict(zip(COLUMNS, values, strict=True))
    yield from (f"'{name}' has no line in '{place}'" for name in sorted(recordings.values()))

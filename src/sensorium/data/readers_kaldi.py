"""Kaldi data folders: wav.scp, text, segments, utt2spk -> rows of `audio`, `text`, `speaker`, `utterance`.

    kaldi:data/train                      paths in wav.scp start in data/train
    kaldi:data/train?root=../..           they start where Kaldi's scripts run

With `segments`, each utterance is a part of a recording, and its cell says which seconds: 'a.wav#t=1.2,3.4'
(an end of -1 is the recording's).  Without `text`, the column is empty, for rows to be transcribed.
A line of wav.scp that is a command ('sph2pipe ... |') or a place in an archive ('foo.ark:123') is never run or
opened: its utterances are BadLines.  So are utterances with a fault, ids that come twice, and texts nobody says.
Source: https://kaldi-asr.org/doc/data_prep.html.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.beside import cell_prefix, folder_beside
from sensorium.data.joining import Joined
from sensorium.data.readers import BadLine, Row, RowStream, row_of
from sensorium.media.address import with_span

logger = logging.getLogger(__name__)

COLUMNS = ["audio", "text", "speaker", "utterance"]
WAV_SCP, SEGMENTS, TEXT, UTT2SPK = "wav.scp", "segments", "text", "utt2spk"
_IN_ARCHIVE = re.compile(r".*\.ark:\d+(\[.*\])?")


class _Part(NamedTuple):
    """An utterance: its recording, and which seconds of it."""

    utterance: str
    recording: str
    start_s: float = 0.0
    end_s: float | None = None


def read_kaldi(path: Path, *, root: str = "") -> RowStream:
    """Stream the utterances of a data folder.

    Args:
        root: where relative paths in wav.scp start, relative to the folder; by default the folder itself.

    Raises:
        DataError: not a folder, no wav.scp in it, or no folder `root`.
    """
    if not path.is_dir():
        if path.exists():
            raise DataError("is not a folder", where=str(path), advice=f"name the folder of {WAV_SCP}")
        raise FileNotFoundError(path)
    if not (path / WAV_SCP).is_file():
        raise DataError(
            f"has no {WAV_SCP}", where=str(path), advice="a Kaldi data folder lists its recordings there"
        )
    prefix = cell_prefix(folder_beside(path / WAV_SCP, root, ["."], "root"), path / WAV_SCP)
    for name in (TEXT, UTT2SPK):
        if not (path / name).is_file():
            logger.warning("%s: has no '%s'; the column is empty", path.name, name)
    files = tuple(path / name for name in (WAV_SCP, SEGMENTS, TEXT, UTT2SPK) if (path / name).is_file())
    return RowStream(list(COLUMNS), _rows(path, prefix), files)


def _rows(folder: Path, prefix: str) -> Iterator[Row | BadLine]:
    recordings: dict[str, str] = {}
    has_segments = (folder / SEGMENTS).is_file()
    number = 0
    for line, key, rest in _lines(folder / WAV_SCP) if has_segments else ():
        if key in recordings:
            number += 1
            yield BadLine(number, f"recording '{key}' is listed twice ({WAV_SCP} line {line})")
        recordings.setdefault(key, rest)
    texts, speakers = _joined(folder / TEXT), _joined(folder / UTT2SPK)
    seen: set[str] = set()
    for part in _segments(folder / SEGMENTS) if has_segments else _whole(folder / WAV_SCP, recordings):
        number += 1
        if isinstance(part, str):
            yield BadLine(number, part)
        elif part.utterance in seen:
            yield BadLine(number, f"utterance '{part.utterance}' is listed twice")
        else:
            seen.add(part.utterance)
            yield _row(number, part, recordings, prefix, texts, speakers)
            if not has_segments:
                recordings.clear()
    for name, joined in ((TEXT, texts), (UTT2SPK, speakers)):
        for key in [*joined.repeated, *(key for key, _ in joined.rest())] if joined is not None else ():
            number += 1
            yield BadLine(number, f"'{name}' has a line for '{key}' beyond what is listed")


def _row(
    number: int,
    part: _Part,
    recordings: dict[str, str],
    prefix: str,
    texts: Joined[str] | None,
    speakers: Joined[str] | None,
) -> Row | BadLine:
    text = texts.pop(part.utterance) if texts is not None else ""
    speaker = speakers.pop(part.utterance) if speakers is not None else ""
    fault = _fault(part.recording, recordings)
    if not fault and text is None:
        fault = f"utterance '{part.utterance}' has no line in '{TEXT}'"
    if fault:
        return BadLine(number, fault)
    source = recordings[part.recording]
    cell = with_span(source if Path(source).is_absolute() else prefix + source, part.start_s, part.end_s)
    return row_of(number, dict(zip(COLUMNS, (cell, text or "", speaker or "", part.utterance), strict=True)))


def _fault(recording: str, recordings: dict[str, str]) -> str:
    source = recordings.get(recording)
    if source is None:
        return f"its recording '{recording}' is not in {WAV_SCP}"
    if source.endswith("|") or source.startswith("|"):
        return f"recording '{recording}' is a command, and commands are not run (save its output as a file)"
    if _IN_ARCHIVE.fullmatch(source):
        return f"recording '{recording}' lies in a Kaldi archive, which is not read (copy it to WAV files)"
    return "" if source else f"recording '{recording}' has no path ({WAV_SCP})"


def _whole(wav_scp: Path, recordings: dict[str, str]) -> Iterator[_Part]:
    """Take every recording as one utterance; `recordings` holds the present one."""
    for _, key, rest in _lines(wav_scp):
        recordings[key] = rest
        yield _Part(key, key)


def _segments(path: Path) -> Iterator[_Part | str]:
    for line, utterance, rest in _lines(path):
        cells = text_file.fields(rest)
        try:
            recording, start_s, end_s = cells[0], float(cells[1]), float(cells[2])
        except (IndexError, ValueError):
            yield f"is not 'UTTERANCE RECORDING START END' ({SEGMENTS} line {line})"
            continue
        to_end = end_s == -1
        if (
            not (math.isfinite(start_s) and math.isfinite(end_s))
            or start_s < 0
            or (end_s <= start_s and not to_end)
        ):
            yield f"'{utterance}' lasts from {cells[1]} to {cells[2]} s ({SEGMENTS} line {line})"
            continue
        yield _Part(utterance, recording, start_s, None if to_end else end_s)


def _joined(path: Path) -> Joined[str] | None:
    return Joined((key, rest) for _, key, rest in _lines(path)) if path.is_file() else None


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, first field, the rest).  Raises DataError: not UTF-8."""
    for number, line in text_file.lines(path):
        if key := text_file.fields(line):
            yield number, key[0], line.strip(" \t").removeprefix(key[0]).strip(" \t")

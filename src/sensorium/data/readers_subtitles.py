"""Subtitles beside a video or a sound: each cue is a row of some seconds of it and what is said.

    subtitles:lecture.srt                      lecture.mp4, .mkv, .wav, ... beside it
    subtitles:lecture.en.vtt?media=talk.mp4    another name
    subtitles:lectures                         every .srt and .vtt of a folder

Enters: SubRip (SRT) or WebVTT, UTF-8.  Leaves: rows of `media` ('lecture.mp4#t=1.2,3.4', for audio and video
inputs alike), `text` (without markup, on one line), `speaker` (of VTT's <v NAME>), `start_s`, `end_s`.
A cue begins at its times, and at the number or name before them, with a blank line in front or without one; in SRT
it goes on behind blank lines until the next one's number.  A cue whose times cannot be read, or end before they
begin, or that has no times, is a BadLine; cues in which nothing is left to be read have an empty `text`.
Source: W3C WebVTT (Candidate Recommendation 2019), section 4; SRT as SubRip writes it, which has no standard.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data.beside import cell_prefix, file_beside
from sensorium.data.litter import is_litter
from sensorium.data.readers import BadLine, Row, RowStream, row_of
from sensorium.media.address import with_span

COLUMNS = ["media", "text", "speaker", "start_s", "end_s"]
SUBTITLES = (".srt", ".vtt")
MEDIA = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".m4a", ".mp3", ".wav", ".flac", ".ogg", ".opus")
_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_MARKUP = re.compile(r"</?[A-Za-z0-9][^<>]*>|\{\\[^{}]*\}")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>")
_NO_CUES = ("NOTE", "STYLE", "REGION")


class _Cue(NamedTuple):
    line: int
    start_s: float
    end_s: float
    text: str
    speaker: str


def read_subtitles(path: Path, *, media: str = "") -> RowStream:
    """Stream the cues of a file, or of the files of a folder in sorted order.

    Args:
        media: the video or sound, relative to the file's folder; not for a folder.

    Raises:
        DataError: neither SRT nor VTT, not UTF-8, or no video or sound to it.
    """
    if path.is_dir():
        files = sorted(
            file for file in path.iterdir() if file.suffix.lower() in SUBTITLES and not is_litter(file.name)
        )
        if not files or media:
            what = "one 'media' cannot belong to a folder" if media else "holds no subtitles"
            raise DataError(what, where=str(path), advice="expected .srt and .vtt files, each beside its medium")
        pairs = [(file, _medium(file, "")) for file in files]
        return RowStream(list(COLUMNS), _folder_rows(pairs), tuple(files))
    if path.suffix.lower() not in SUBTITLES:
        raise DataError("is neither .srt nor .vtt", where=str(path), advice="convert it to one of them")
    path.stat()  # an absent file is the caller's OSError
    cell = cell_prefix(path.parent, path) + Path(_medium(path, media)).as_posix()
    return RowStream(list(COLUMNS), (_row(part, cell) for part in _cues(path)))


def _medium(path: Path, given: str) -> str:
    """Return the medium of a subtitle file, as named from its folder; 'a.en.srt' belongs to 'a.mp4'."""
    stems = [path.name[: -len(path.suffix)]]
    while "." in stems[-1]:
        stems.append(stems[-1].rpartition(".")[0])
    places = [stem + ending for stem in stems for ending in MEDIA]
    found = file_beside(path, given, places, "media")
    if found is None:
        advice = "write ?media=FILE behind it, seen from the folder it lies in"
        raise DataError(f"no video or sound '{stems[0]}.*' beside it", where=str(path), advice=advice)
    return given or found.name


def _folder_rows(pairs: list[tuple[Path, str]]) -> Iterator[Row | BadLine]:
    number = 0
    for file, medium in pairs:
        for part in _cues(file):
            number += 1
            if isinstance(part, BadLine):
                yield BadLine(number, f"{part.message} ('{file.name}' line {part.line})")
            else:
                yield _row(part._replace(line=number), medium)


def _row(part: _Cue | BadLine, medium: str) -> Row | BadLine:
    if isinstance(part, BadLine):
        return part
    times = f"{part.start_s:g}", f"{part.end_s:g}"
    cells = (with_span(medium, part.start_s, part.end_s), part.text, part.speaker, *times)
    return row_of(part.line, dict(zip(COLUMNS, cells, strict=True)))


def _cues(path: Path) -> Iterator[_Cue | BadLine]:
    is_vtt = path.suffix.lower() == ".vtt"
    num_cues = 0
    for number, (line, block) in enumerate(_vtt_blocks(path) if is_vtt else _srt_blocks(path)):
        if is_vtt and number == 0:
            if not re.match(r"WEBVTT(\s|$)", block[0]):
                raise DataError("does not begin with WEBVTT", where=f"{path.name}:1", advice="is it an .srt?")
            continue
        if is_vtt and re.match(rf"({'|'.join(_NO_CUES)})(\s|$)", block[0]):
            continue
        num_cues += 1
        yield _cue(line, block, is_vtt)
    if not num_cues:
        raise DataError("holds no cue", where=str(path))


def _cue(line: int, block: list[str], is_vtt: bool) -> _Cue | BadLine:
    at = next((i for i, text in enumerate(block[:2]) if "-->" in text), None)
    if at is None:
        return BadLine(line, f"the cue '{block[0][:40]}' has no line of times")
    found = _TIMES.fullmatch(block[at])
    if found is None:
        return BadLine(line + at, f"its times '{block[at][:60].strip()}' are not 'HH:MM:SS,mmm --> HH:MM:SS,mmm'")
    start_s, end_s = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
    if end_s <= start_s:
        return BadLine(line + at, f"the cue ends at {end_s:g} s and begins at {start_s:g} s")
    said = " ".join(block[at + 1 :])
    voice = _VOICE.search(said)
    text = _MARKUP.sub("", said)
    plain = html.unescape(text) if is_vtt else text
    return _Cue(line + at, start_s, end_s, " ".join(plain.split()), voice[1].strip() if voice else "")


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return round(whole + int((fraction or "0").ljust(3, "0")) / 1000, 3)


def _vtt_blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the runs of lines between blank ones, each with the number of its first line.

    Times end the run before them, as W3C's parser has it; in the file's first run, which is no cue, the first ones
    do.  A number before them is theirs, which for W3C is text.
    """
    block: list[str] = []
    first, has_times, is_head = 1, False, True
    for number, line in text_file.lines(path):
        are_times = _TIMES.fullmatch(line) is not None
        if block and (not line.strip() or (are_times and (has_times or is_head))):
            named = [block.pop()] if are_times and len(block) > 1 and block[-1].strip().isdecimal() else []
            yield first, block
            first, block, has_times, is_head = number - len(named), named, False, False
        if line.strip():
            first = first if block else number
            block.append(line)
            has_times = has_times or are_times
    if block:
        yield first, block


def _srt_blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each cue's filled lines, with the number of the first.

    A cue begins at a number that times follow, at times without a number, and behind a blank line at whatever
    has an arrow or a number that has none: these are for the caller to complain of.
    """
    block: list[str] = []
    first, is_behind_blank = 1, False
    for (number, line), (_, following) in _pairs(path):
        if not line.strip():
            is_behind_blank = True
            continue
        is_number = line.strip().isdecimal()
        numbers_times = is_number and "-->" in following
        are_times = "-->" in line and (is_behind_blank or _TIMES.fullmatch(line) is not None)
        are_numbered = len(block) == 1 and block[0].strip().isdecimal()
        if block and (numbers_times or (are_times and not are_numbered) or (is_number and is_behind_blank)):
            yield first, block
            block = []
        first = first if block else number
        block.append(line)
        is_behind_blank = False
    if block:
        yield first, block


def _pairs(path: Path) -> Iterator[tuple[tuple[int, str], tuple[int, str]]]:
    """Yield each line, filled or not, with the next filled one; behind the last is an empty one."""
    waiting: list[tuple[int, str]] = []
    for here in text_file.lines(path):
        if here[1].strip():
            yield from ((line, here) for line in waiting)
            waiting = []
        waiting.append(here)
    yield from ((line, (0, "")) for line in waiting)

"""Transcripts as files: plain text, SubRip (srt), WebVTT (vtt) and JSON.

Enters: what was heard in one recording.  Leaves: the file's text.
Subtitles are cut where a pause is long or a cue would be: 84 characters (two lines of 42) or 7 seconds at most, as
broadcasters' guides say.  Formats: W3C WebVTT (2019), section 4; SubRip as players read it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sensorium.core.errors import UsageError
from sensorium.core.names import require_known
from sensorium.decoding.ctc_alignment import TimedWord
from sensorium.tasks.transcription import Transcription

MOST_CHARACTERS = 84
MOST_SECONDS = 7.0
PAUSE_SECONDS = 1.0
LINE_CHARACTERS = 42


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on the screen at once."""

    text: str
    start_s: float
    end_s: float


def written(transcription: Transcription, style: str) -> str:
    """Return the transcript as a file of `style`: txt, srt, vtt or json.

    Raises:
        UsageError: no such style, or subtitles of a model that knows no times.
    """
    require_known([style], list(STYLES), "transcript format")
    return STYLES[style](transcription)


def cues(words: Sequence[TimedWord]) -> Iterator[Cue]:
    """Group words into cues."""
    held: list[TimedWord] = []
    for word in words:
        if held and _is_full(held, word):
            yield _cue(held)
            held = []
        held.append(word)
    if held:
        yield _cue(held)


def _is_full(held: Sequence[TimedWord], word: TimedWord) -> bool:
    length = sum(len(each.text) + 1 for each in held) + len(word.text)
    is_long = word.end_s - held[0].start_s > MOST_SECONDS
    return length > MOST_CHARACTERS or is_long or word.start_s - held[-1].end_s > PAUSE_SECONDS


def _cue(words: Sequence[TimedWord]) -> Cue:
    return Cue(" ".join(word.text for word in words), words[0].start_s, words[-1].end_s)


def _txt(heard: Transcription) -> str:
    return heard.text + "\n"


def _json(heard: Transcription) -> str:
    return json.dumps(facts(heard), ensure_ascii=False, indent=1) + "\n"


def _srt(heard: Transcription) -> str:
    blocks = [
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n{_lines(cue.text)}\n"
        for number, cue in enumerate(cues(_timed(heard)), start=1)
    ]
    return "\n".join(blocks)


def _vtt(heard: Transcription) -> str:
    blocks = [
        f"\n{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n{_lines(_escaped(cue.text))}\n"
        for cue in cues(_timed(heard))
    ]
    return "WEBVTT\n" + "".join(blocks)


def facts(heard: Transcription) -> dict[str, object]:
    """Return the plain facts: text, confidence, whether anything is said, and words with times in seconds."""
    words = [
        {
            "word": word.text,
            "start": round(word.start_s, 3),
            "end": round(word.end_s, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in heard.words
    ]
    return {
        "text": heard.text,
        "probability": heard.probability,
        "no_speech": heard.no_speech,
        "words": words,
    }


STYLES: dict[str, Callable[[Transcription], str]] = {"txt": _txt, "srt": _srt, "vtt": _vtt, "json": _json}


def _timed(heard: Transcription) -> Sequence[TimedWord]:
    if not heard.words and not heard.no_speech:
        raise UsageError("this model knows no times, so it writes no subtitles", advice="use --format txt or json")
    return heard.words


def clock(seconds: float, mark: str) -> str:
    """Return a time as hours, minutes, seconds and, after `mark`, milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{mark}{milliseconds % 1000:03}"


def _lines(text: str) -> str:
    """Break a cue into two lines of like length where one would be too long."""
    if len(text) <= LINE_CHARACTERS:
        return text
    blanks = [i for i, letter in enumerate(text) if letter == " "]
    if not blanks:
        return text
    middle = min(blanks, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

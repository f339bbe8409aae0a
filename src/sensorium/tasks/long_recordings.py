"""Recordings longer than a model hears at once: windows that overlap, and one text of what was heard in each.

Enters: samples, then one `Transcription` a window.  Leaves: the windows, then one `Transcription` of them all.

Windows are evenly spaced and overlap by `overlap_s` at least.  Of an overlap the earlier window's words are taken
up to a cut, the later one's from there on.  The cut is where the overlap is quietest, and then moved to the nearest
word that both windows heard at the same time: so a word on the cut is neither lost nor written twice.  A word that
both heard at the same time, but not alike, is written once, as the surer of them has it.  Words
without times are joined at the longest run that ends the earlier text and begins the later one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sensorium.decoding.ctc_alignment import TimedWord
from sensorium.tasks.transcription import NOTHING, Transcription, mean_confidence

QUIET_S = 0.2
"""Over how long a moment is quiet."""
MARGIN = 0.2
"""Share of an overlap at either end where nothing is cut: there one of the windows lacks context."""
SAME_S = 0.4
"""How far apart two windows may hear the same word."""
TAIL = 2.0
"""How many times as many words as it should have may be looked through for what an overlap says."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a recording, in samples: what is heard, and where its words are first taken from.

    Attributes:
        start, end: of what is heard.
        cut: where the window before it ends to count; `start` of the first.
    """

    start: int
    end: int
    cut: int


def windows(samples_N: NDArray[np.float32], rate_hz: int, window_s: float, overlap_s: float) -> list[Window]:
    """Cut a recording into windows of `window_s`; one window where it is no longer.

    Raises:
        ValueError: windows that would not move on.
    """
    num, length, overlap = len(samples_N), round(window_s * rate_hz), round(overlap_s * rate_hz)
    if not 0 <= overlap < length:
        raise ValueError(f"windows of {window_s} s cannot overlap by {overlap_s} s")
    if num <= length:
        return [Window(0, num, 0)]
    num_windows = math.ceil((num - overlap) / (length - overlap))
    starts = [round(k * (num - length) / (num_windows - 1)) for k in range(num_windows)]
    ends = [start + length for start in starts]
    cuts = [0, *(quietest(samples_N, start, end, rate_hz) for start, end in zip(starts[1:], ends, strict=False))]
    return [Window(*window) for window in zip(starts, ends, cuts, strict=True)]


def quietest(samples_N: NDArray[np.float32], start: int, end: int, rate_hz: int) -> int:
    """Return the middle of an overlap's quietest moment, its margins left out; of equal ones the middle one."""
    margin = round(MARGIN * (end - start))
    part_N = samples_N[start + margin : max(end - margin, start + margin + 1)].astype(np.float64)
    span = min(max(round(QUIET_S * rate_hz), 1), len(part_N))
    energy_N = np.concatenate([np.zeros(1), np.cumsum(part_N**2)])
    power_N = (energy_N[span:] - energy_N[:-span]) / span
    is_quiet = np.flatnonzero(power_N <= power_N.min() + 1e-12)
    return start + margin + int(is_quiet[len(is_quiet) // 2]) + span // 2


def join(heard: Sequence[Transcription], parts: Sequence[Window], rate_hz: int) -> Transcription:
    """Write what `heard` says of each of `parts` as one transcription, its times from the recording's start."""
    if all(each.words or not each.text for each in heard):
        return _timed(heard, parts, rate_hz)
    shares = [(a.end - b.start) / (a.end - a.start) for a, b in pairwise(parts)]
    words = heard[0].text.split()
    for each, share in zip(heard[1:], shares, strict=True):
        words = _joined_texts(words, each.text.split(), share)
    text, probability = " ".join(words), math.prod(each.probability for each in heard)
    return Transcription(text, probability, ((text, probability),)) if text else NOTHING


def _timed(heard: Sequence[Transcription], parts: Sequence[Window], rate_hz: int) -> Transcription:
    moved = [_moved(each.words, part.start / rate_hz) for each, part in zip(heard, parts, strict=True)]
    cuts = [part.cut / rate_hz for part in parts[1:]]
    words = reduce(lambda left, right: _joined(left, *right), zip(moved[1:], cuts, strict=True), moved[0])
    if not words:
        return NOTHING
    text, mean = " ".join(word.text for word in words), mean_confidence(words)
    return Transcription(text, mean, ((text, mean),), tuple(words))


def _moved(words: Sequence[TimedWord], by_s: float) -> list[TimedWord]:
    return [replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in words]


def _joined(left: Sequence[TimedWord], right: Sequence[TimedWord], cut_s: float) -> list[TimedWord]:
    """Take the left words up to the cut and the right ones behind it, or behind a word of both near it."""
    same = [
        (abs(_middle(a) - cut_s), i, j)
        for i, a in enumerate(left)
        if (j := _nearest(a, right)) is not None and _nearest(right[j], left) == i and a.text == right[j].text
    ]
    if same:
        _, i, j = min(same)
        return _in_turn([*left[: i + 1], *right[j + 1 :]])
    before, behind = [w for w in left if _middle(w) < cut_s], [w for w in right if _middle(w) >= cut_s]
    # A word that each window hears beyond its own side of the cut: one of the two.
    lost = [
        max(a, b, key=lambda word: word.confidence)
        for a in left[len(before) :]
        for b in right[: len(right) - len(behind)]
        if _is_one_sound(a, b)
    ]
    return _in_turn([*before, *lost, *behind])


def _in_turn(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Let each word start when the one before has ended; of two for one sound, keep the one that is surer."""
    kept: list[TimedWord] = []
    for word in words:
        while kept and _is_one_sound(kept[-1], word) and word.confidence > kept[-1].confidence:
            kept.pop()
        if kept and _is_one_sound(kept[-1], word):
            continue
        if kept and kept[-1].end_s > word.start_s:
            middle_s = (max(kept[-1].start_s, word.start_s) + min(kept[-1].end_s, word.end_s)) / 2
            kept[-1], word = replace(kept[-1], end_s=middle_s), replace(word, start_s=middle_s)
        kept.append(word)
    return kept


def _is_one_sound(a: TimedWord, b: TimedWord) -> bool:
    """Say whether two words, heard by two windows, share more than half of the longer's time.

    A long one over several short ones is more than either: windows may part the same sounds otherwise.
    """
    shared_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    return shared_s > max(a.end_s - a.start_s, b.end_s - b.start_s) / 2


def _nearest(word: TimedWord, among: Sequence[TimedWord]) -> int | None:
    """Return which word is said at the same time, if one is."""
    away = [abs(_middle(word) - _middle(other)) for other in among]
    return min(range(len(away)), key=away.__getitem__) if away and min(away) < SAME_S else None


def _middle(word: TimedWord) -> float:
    return (word.start_s + word.end_s) / 2


def _joined_texts(left: list[str], right: list[str], share: float) -> list[str]:
    """Join at the longest run of words that both have in their overlap, a `share` of a window; else end to end."""
    most = math.ceil(TAIL * share * len(right)) + 1
    tail, head = left[-most:], right[:most]
    run = SequenceMatcher(None, tail, head, autojunk=False).find_longest_match()
    if not run.size:
        return [*left, *right]
    return [*left[: len(left) - len(tail) + run.a + run.size], *right[run.b + run.size :]]

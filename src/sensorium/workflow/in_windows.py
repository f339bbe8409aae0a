"""Rows whose recording is longer than their model hears at once, answered window by window.

Enters: rows as a `Predictor` takes them.  Leaves: one prediction a row.
A recording is decoded once; its windows go on as sounds in memory, a few at a time, with the rest of the row.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sensorium.core.types import Item, Items, Media
from sensorium.media.audio import read_audio
from sensorium.tasks.long_recordings import Window, windows
from sensorium.tasks.task import Prediction

log = logging.getLogger(__name__)

OVERLAP_SHARE, MOST_OVERLAP_S = 0.2, 5.0
"""How much windows overlap: a share of their length, up to so many seconds."""
AT_ONCE = 8
"""How many windows are heard together."""

Row = Mapping[str, Any]


@runtime_checkable
class Joins(Protocol):
    """A task whose answers to the windows of one recording make one answer."""

    def join(self, heard: Sequence[Any], parts: Sequence[Window], rate_hz: int) -> Prediction:
        """Return one answer of those to `parts`, in order."""
        ...


class Answers(Protocol):
    """What a `Predictor` has for this."""

    model: Any

    def predict_whole(self, rows: Sequence[Row], numbers: Sequence[int] | None = None) -> list[Prediction]:
        """Answer rows, cutting what is too long."""
        ...

    def media(self, name: str, value: Any) -> Item | Items:
        """Return what a row's value names."""
        ...


def predict_in_windows(
    predictor: Answers, rows: Sequence[Row], numbers: Sequence[int], task: Joins
) -> list[Prediction]:
    """Answer each row, window by window where its one sound is longer than is heard at once.

    Args:
        numbers: each row's own, by which a search draws for it; its windows share it.

    Raises:
        UsageError, DataError, MediaError: as `Predictor.predict`.
    """
    name = _one_sound(predictor.model.preparers)
    if name is None:
        return predictor.predict_whole(rows, numbers)
    preparer = predictor.model.preparers[name]
    preparer = getattr(preparer, "preparer", preparer)
    found: list[Prediction | None] = [None] * len(rows)
    for i, row in enumerate(rows):
        medium = predictor.media(name, row.get(name))
        if isinstance(medium, Media):
            found[i] = _in_windows(predictor, row, numbers[i], name, medium, preparer, task)
    whole = [i for i, answer in enumerate(found) if answer is None]
    if whole:
        answers = predictor.predict_whole([rows[i] for i in whole], [numbers[i] for i in whole])
        for i, answer in zip(whole, answers, strict=True):
            found[i] = answer
    return [answer for answer in found if answer is not None]


def _one_sound(preparers: Mapping[str, Any]) -> str | None:
    names = [n for n, p in preparers.items() if p.modality == "audio" and _can_tell(getattr(p, "preparer", p))]
    return names[0] if len(names) == 1 else None


def _can_tell(preparer: Any) -> bool:
    return all(hasattr(preparer, key) for key in ("rate_hz", "max_seconds", "policy"))


def _in_windows(
    predictor: Answers, row: Row, number: int, name: str, medium: Media, preparer: Any, task: Joins
) -> Prediction | None:
    """Answer one row; None where its recording is not too long."""
    samples_N, rate_hz = read_audio(medium, preparer.policy, preparer.rate_hz), preparer.rate_hz
    longest_s = min(preparer.max_seconds, getattr(preparer, "filled_s", np.inf))
    parts = windows(samples_N, rate_hz, longest_s, min(OVERLAP_SHARE * longest_s, MOST_OVERLAP_S))
    if len(parts) == 1:
        return None
    log.info("%s: %.1f s, heard in %d windows", medium, len(samples_N) / rate_hz, len(parts))
    heard: list[Prediction] = []
    for first in range(0, len(parts), AT_ONCE):
        some = parts[first : first + AT_ONCE]
        sounds = [Media(data=_wav(samples_N[part.start : part.end], rate_hz)) for part in some]
        heard += predictor.predict_whole([{**row, name: sound} for sound in sounds], [number] * len(sounds))
    return task.join(heard, parts, rate_hz)


def _wav(samples_N: NDArray[np.float32], rate_hz: int) -> bytes:
    """Write samples without loss."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples_N, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()

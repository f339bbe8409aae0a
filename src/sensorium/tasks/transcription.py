"""What is said in one recording, with the time of every word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sensorium.decoding.ctc_alignment import TimedWord
from sensorium.tasks.task import Prediction


@dataclass(frozen=True, slots=True)
class Transcription(Prediction):
    """What is said.

    Attributes:
        text: empty if nothing is.
        probability: the geometric mean of the words' confidences; of silence, 1.
        words: with their times; empty where a model gives none.
        no_speech: nothing is said, or nothing can be heard.
    """

    words: tuple[TimedWord, ...] = ()
    no_speech: bool = False


NOTHING = Transcription("", 1.0, (("", 1.0),), no_speech=True)


def mean_confidence(words: Sequence[TimedWord]) -> float:
    """Return the geometric mean of the words' confidences; of none, 1."""
    return math.exp(sum(math.log(max(word.confidence, 1e-30)) for word in words) / max(len(words), 1))

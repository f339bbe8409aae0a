"""Summarise a clip: key frames, the segments they stand for, and what a model says of each.

Enters: a `Predictor` and a clip.  Leaves: a `Summary`.  Pictures are read at a rate and described by their colours,
coarsely (see `described`), so that the same segments are found whatever the model.  A segment is then read again as
a clip of its own, picture and sound, and given to the model; one that sees photos alone is given the key frame.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.core.errors import UsageError
from sensorium.core.types import Media
from sensorium.data.media_policy import policy_of_all
from sensorium.data.omissions import Omissions, omitted
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import Clip, clip_facts, read_video
from sensorium.workflow.key_frames import Objective, greedy, segment_starts
from sensorium.workflow.predictor import Predictor

LOOKED_AT_HZ = 4.0
MOST_LOOKED_AT = 400
"""Pictures of a clip that are compared; a longer clip is looked at less often."""
PICTURE_PX = 240


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip, what is said of it, and its key frame.

    Attributes:
        start_s, end_s, key_s: seconds from the clip's first picture.
        picture_HW3: the key frame, uint8 RGB.
    """

    start_s: float
    end_s: float
    key_s: float
    caption: str
    probability: float
    picture_HW3: NDArray[np.uint8]


@dataclass(frozen=True)
class Summary:
    """Segments of one clip, in order, from its beginning to its end."""

    name: str
    duration_s: float
    segments: tuple[Segment, ...]
    left_out: Omissions = field(default_factory=Omissions)
    """What of the segments was longer than the model takes."""

    def facts(self) -> dict[str, Any]:
        """Return the plain facts."""
        keys = ("start_s", "end_s", "key_s", "caption", "probability")
        segments = [
            {k: round(v, 4) if isinstance(v := getattr(s, k), float) else v for k in keys} for s in self.segments
        ]
        return {"clip": self.name, "duration_s": round(self.duration_s, 4), "segments": segments}


def summarise(
    predictor: Predictor, clip: Media, *, num_segments: int = 6, given: Mapping[str, Any] | None = None
) -> Summary:
    """Summarise a clip.

    Args:
        num_segments: at most so many key frames.
        given: values of the model's other inputs, such as a question, for every segment.

    Raises:
        UsageError: the model sees neither clips nor pictures, or has no input of a name in `given`.
        MediaError: a clip that cannot be read.
    """
    if num_segments < 1:
        raise UsageError(f"a summary has one segment or more, not {num_segments}")
    policy = _policy(predictor)
    facts = clip_facts(clip, policy)
    rate_hz = min(LOOKED_AT_HZ, MOST_LOOKED_AT / facts.duration_s)
    seen = read_video(clip, policy, rate_hz=rate_hz, fit=PICTURE_PX)
    x_KF = described(seen)
    chosen = greedy(Objective.of(x_KF), num_segments)
    starts = segment_starts(x_KF, chosen)
    time_N = seen.time_N + facts.pictures_start_s
    edges_s = [float(time_N[k]) for k in starts] + [facts.pictures_start_s + facts.duration_s]
    rows = [
        {**_media(predictor, clip, seen, k, span_s, has_sound=facts.sound_start_s is not None), **(given or {})}
        for k, span_s in zip(chosen, itertools.pairwise(edges_s), strict=True)
    ]
    answers = predictor.predict(rows)
    segments = [
        Segment(edges_s[i], edges_s[i + 1], float(time_N[k]), said.text, said.probability, seen.frame_NHW3[k])
        for i, (k, said) in enumerate(zip(chosen, answers, strict=True))
    ]
    name = clip.path.name if clip.path is not None else str(clip)
    return Summary(name, facts.duration_s, tuple(segments), omitted([said.cut for said in answers]))


def described(seen: Clip, side: int = 12) -> NDArray[np.float64]:
    """Describe each picture by its colours, coarsely: (K, 3 side²) float64, 0..1 as roots (Hellinger)."""
    small = [
        np.asarray(Image.fromarray(picture_HW3).resize((side, side), Image.Resampling.BOX), np.float64) / 255
        for picture_HW3 in seen.frame_NHW3
    ]
    return np.sqrt(np.stack(small).reshape(len(small), -1))


def _policy(predictor: Predictor) -> MediaPolicy:
    return policy_of_all(predictor.model.preparers.values())


def _media(
    predictor: Predictor, clip: Media, seen: Clip, key: int, span_s: tuple[float, float], *, has_sound: bool
) -> dict[str, Media]:
    """Give each input that sees or hears its part of the segment."""
    part = replace(clip, span_s=span_s)
    offers = {"video": lambda: part, "image": lambda: _photo(seen.frame_NHW3[key])}
    if has_sound:
        offers["audio"] = lambda: part
    by_name = {name: preparer.modality for name, preparer in predictor.model.preparers.items()}
    if not {"video", "image"} & set(by_name.values()):
        raise UsageError(
            "this model sees neither clips nor pictures", advice="train one with a video or image input"
        )
    read = predictor.columns
    return {name: offers[kind]() for name, kind in by_name.items() if kind in offers and name in read}


def _photo(picture_HW3: NDArray[np.uint8]) -> Media:
    file = io.BytesIO()
    Image.fromarray(picture_HW3).save(file, "PNG")
    return Media(data=file.getvalue())

"""Clips: untrusted bytes to upright 8-bit RGB pictures and their times.

Enters: a `Media` holding MP4, Matroska/WebM, ASF, MPEG, AVI, FLV or Ogg video.  Leaves: `Clip`, with only
the pictures that are kept ever turned to RGB; its sound is read by `sensorium.media.audio.read_audio` from the same
`Media`.

    which pictures    N, one from each of N equal segments (keyframes where a segment has one, unless `exact`), or
                      those on screen at a rate; each picture at most once, so a short clip gives fewer
    times             seconds from the first picture, by the container's own clock
    span              where the `Media` has one, that part alone is read, and times count from its first picture;
                      its seconds count from the beginning of the clip, which is its sound's where that begins first
    display matrix    as a phone notes it, in quarter turns and mirrorings
    pixels that are not square    the picture is widened or narrowed, as its track says
    truncated, damaged            refused, never half a clip

The header and the packets' times are held against the policy first; only then are pictures decoded.
"""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sensorium.core.errors import ConfigError, MediaError
from sensorium.media.bytes import read_bytes
from sensorium.media.content_type import FILMS, RAW_FILMS, cure, sniffed
from sensorium.media.frame_choice import at_rate, evenly_spaced
from sensorium.media.policy import MediaPolicy
from sensorium.media.sound_layout import walk
from sensorium.media.video_track import Track

if TYPE_CHECKING:
    from sensorium.core.types import Media


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures of a clip, and when they appear.

    Attributes:
        frame_NHW3: (N, H, W, 3) uint8, RGB, upright.
        time_N: (N,) float64, seconds from the first picture of the clip, or of the part that is read, ascending.
        facts: of the whole clip.
    """

    frame_NHW3: NDArray[np.uint8]
    time_N: NDArray[np.float64]
    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a clip holds, known without decoding.

    Attributes:
        kind: content type.
        width, height: of a picture as stored.
        num_frames: pictures in all.
        duration_s: from the first picture to the end of the last.
        sound_start_s: when its sound begins, 0 = with the first picture; None where it has none.
    """

    kind: str
    width: int
    height: int
    num_frames: int
    duration_s: float
    sound_start_s: float | None

    @property
    def pictures_start_s(self) -> float:
        """When the pictures begin on the clip's own clock, by which spans are cut."""
        return max(-(self.sound_start_s or 0.0), 0.0)


def read_video(
    media: Media,
    policy: MediaPolicy,
    *,
    num_frames: int | None = None,
    rate_hz: float | None = None,
    max_frames: int | None = None,
    fit: int | None = None,
    exact: bool = False,
) -> Clip:
    """Decode some of a clip's pictures.

    Args:
        num_frames: how many, evenly spaced; or
        rate_hz: how many a second.  Without either, all.
        max_frames: no more than the first so many.
        fit: the smallest side wanted; larger pictures are scaled down to it.
        exact: take the picture in the middle of each segment though a keyframe of it costs less.

    Raises:
        MediaError: not a clip, no picture track, cut short, damaged, or beyond the policy; it names the medium.
        ConfigError: both a number and a rate, or one that is not above 0.
    """
    if num_frames is not None and rate_hz is not None:
        raise ConfigError("a clip is read by num_frames or by rate_hz, not both")
    if (num_frames is not None and num_frames < 1) or (rate_hz is not None and not 0 < rate_hz <= 1000):
        raise ConfigError("num_frames and rate_hz are above 0, and rate_hz is at most 1000")
    try:
        with _opened(media, policy) as track:
            first, last, end_s = _span(track, media.span_s)
            time_K = track.time_K[first:last]
            if num_frames is not None:
                keys = None if exact else track.is_key_K[first:last]
                chosen_N = evenly_spaced(time_K, end_s, num_frames, keys)
            elif rate_hz is not None:
                chosen_N = at_rate(time_K, end_s, rate_hz)
            else:
                chosen_N = np.arange(len(time_K))
            chosen_N = chosen_N[:max_frames] + first
            frames = _converted(track, chosen_N, fit, policy)
            return Clip(frames, track.time_K[chosen_N] - track.time_K[first], _facts(track))
    except MediaError as error:
        raise error.at(str(media)) from None


def clip_facts(media: Media, policy: MediaPolicy) -> ClipFacts:
    """Say what a clip holds, decoding nothing.  Raises MediaError, as `read_video`."""
    try:
        with _opened(media, policy) as track:
            return _facts(track)
    except MediaError as error:
        raise error.at(str(media)) from None


def _opened(media: Media, policy: MediaPolicy) -> AbstractContextManager[Track]:
    data = read_bytes(media, policy, policy.max_video_bytes)
    kind, start = sniffed(data)
    if kind not in FILMS:
        problem = "which is not read here" if kind in RAW_FILMS else "not a clip"
        raise MediaError(f"is {kind}, {problem}", advice=cure(kind, FILMS))
    data = data[start:] if start else data
    walk(data, kind)
    return Track.open(data, kind, policy)


def _span(track: Track, span_s: tuple[float, float | None] | None) -> tuple[int, int, float]:
    """Return the first picture of a span, the one after its last, and when the span ends."""
    if span_s is None:
        return 0, len(track.time_K), track.end_s
    begins_s = _facts(track).pictures_start_s
    start_s = max(span_s[0] - begins_s, 0.0)
    end_s = track.end_s if span_s[1] is None else min(span_s[1] - begins_s, track.end_s)
    if start_s >= track.end_s:
        raise MediaError(f"has no pictures from {span_s[0]:g} s on: it lasts {begins_s + track.end_s:.2f} s")
    if end_s <= 0:
        raise MediaError(f"has no pictures before {begins_s:g} s")
    first, last = (int(n) for n in np.searchsorted(track.time_K, np.array((start_s, end_s)) - 5e-7))
    if first == last:  # between two pictures: the one that is on screen
        first, last = max(last - 1, 0), max(last, 1)
    return first, last, end_s


def _facts(track: Track) -> ClipFacts:
    duration_s = track.end_s - float(track.time_K[0])
    return ClipFacts(track.kind, track.width, track.height, len(track.time_K), duration_s, track.sound_start_s)


def _converted(
    track: Track, chosen_N: NDArray[np.int64], fit: int | None, policy: MediaPolicy
) -> NDArray[np.uint8]:
    """Decode the chosen pictures and bring them to RGB of one size, that of the first."""
    kept: NDArray[np.uint8] | None = None
    size = matrix = None
    reformatter = VideoReformatter()  # one for all: each makes its tables once
    for n, frame in enumerate(track.decode(chosen_N)):
        if size is None or matrix is None:
            size, matrix = _size(frame, track.pixel_aspect, fit), display_matrix(frame)
        picture_HW3 = upright(_to_rgb(reformatter, frame, size), matrix)
        if kept is None:
            num_bytes = len(chosen_N) * picture_HW3.nbytes
            if num_bytes > policy.max_clip_bytes:
                raise MediaError(
                    f"{len(chosen_N):,} pictures of it take {num_bytes:,} bytes, more than the "
                    f"{policy.max_clip_bytes:,} that the policy allows",
                    advice="keep fewer, or smaller ones, or raise max_clip_bytes of the media policy",
                )
            kept = np.empty((len(chosen_N), *picture_HW3.shape), np.uint8)
        kept[n] = picture_HW3
    assert kept is not None
    return kept


def display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """Return (a, b, c, d): a stored place (x, y) is shown at (a x + c y, b x + d y) / 65536."""
    noted = frame.side_data.get("DISPLAYMATRIX")
    if noted is None or len(bytes(noted)) < 36:
        return 65536, 0, 0, 65536
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(noted)[:36])
    return a, b, c, d


def upright(picture_HW3: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Turn and mirror a picture as a display matrix says, by the nearest of the eight ways that keep pixels."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture_HW3, a, d = picture_HW3.swapaxes(0, 1), c, b
    return picture_HW3[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _to_rgb(reformatter: Any, frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    # Threads for a millisecond's work cost more than it: six times the processor's time, by default.
    scaled = reformatter.reformat(frame, *size, format="rgb24", interpolation="AREA", threads=1)
    rgb: NDArray[np.uint8] = scaled.to_ndarray()
    return rgb


def _size(frame: Any, pixel_aspect: float, fit: int | None) -> tuple[int, int]:
    """Return width and height with square pixels, the smaller side `fit` where that is less."""
    width, height = frame.width * pixel_aspect, float(frame.height)
    scale = 1.0 if fit is None else min(1.0, fit / min(width, height))
    return max(round(width * scale), 1), max(round(height * scale), 1)

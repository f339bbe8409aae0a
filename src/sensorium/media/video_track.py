"""The picture track of a container: what it holds, and some of its pictures decoded.

Enters: bytes whose content type is known.  Leaves: `Track`, whose packets have been counted and timed without
decoding any, and whose `decode` gives the pictures that are asked for.

Times are the packets' own, so that clips of a variable rate are right; a container that states none (old AVI) has
its average rate.  Decoding begins at the keyframe before each wanted picture, skips pictures that nothing refers
to, and ends with it.  A seek that lands elsewhere is noticed by the times; the track is then read from its start.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.ffmpeg import DEMUXERS, lag_s, picture_stream, reason, refuse
from sensorium.media.policy import MediaPolicy

_MOST_ASPECT = 4.0


class _SeekMissed(Exception):
    """The picture wanted did not come after a seek."""


@dataclass
class Track:
    """An opened picture track.

    Attributes:
        kind: content type, for messages.
        width, height: of a picture as stored, before rotation.
        time_K: (K,) seconds at which each picture appears, from the first one's on, ascending.
        is_key_K: (K,) bool, a picture that is decoded alone.
        end_s: when the last picture ends.
        sound_start_s: when the sound begins on the same clock, below 0 if before the pictures; None without sound.
        pixel_aspect: width of a pixel by its height, as stored; 1 where none is stated, or one beyond 4 to 1.
    """

    kind: str
    data: bytes = field(repr=False)
    policy: MediaPolicy = field(repr=False)
    width: int = 0
    height: int = 0
    time_K: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    is_key_K: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    end_s: float = 0.0
    sound_start_s: float | None = None
    pixel_aspect: float = 1.0
    _pts_K: NDArray[np.int64] | None = None
    _at_hand: tuple[Any, Any] = field(default=(None, None), repr=False)
    """The container and its picture stream: opening one anew costs as much as decoding a keyframe."""

    @classmethod
    @contextmanager
    def open(cls, data: bytes, kind: str, policy: MediaPolicy) -> Iterator[Track]:
        """Read the header and the packets' times; the container stays open for `decode`, until the `with` ends.

        Raises:
            MediaError: no picture track, a damaged container, or more than the policy allows.
        """
        track = cls(kind, data, policy)
        with track._opened() as container:
            stream = track._stream(container)
            track._at_hand = container, stream
            track.width, track.height = stream.codec_context.width, stream.codec_context.height
            track._check_size(track.width, track.height)
            stated = float(stream.sample_aspect_ratio or 1)
            track.pixel_aspect = stated if 1 / _MOST_ASPECT <= stated <= _MOST_ASPECT else 1.0
            try:
                track._index(container, stream)
            except MediaError:
                raise
            except Exception as error:  # a demuxer may raise anything on hostile bytes
                raise MediaError(f"{kind} is cut short or damaged: {reason(error)}") from None
            yield track

    def decode(self, chosen_N: NDArray[np.int64]) -> Iterator[Any]:
        """Yield the chosen pictures, ascending, as FFmpeg frames.

        Raises:
            MediaError: damage on the way to one of them, or pictures that grow beyond the policy.
        """
        given = 0
        if self._pts_K is not None:
            try:
                for frame in self._sought(chosen_N):
                    yield frame
                    given += 1
            except _SeekMissed:
                pass
            except (av.FFmpegError, ValueError):
                pass  # an open group of pictures may miss what came before it; from the start it has all
        if given < len(chosen_N):
            yield from self._from_start(chosen_N[given:])

    def _opened(self) -> Any:
        try:
            return av.open(io.BytesIO(self.data), format=DEMUXERS[self.kind], io_open=refuse)
        except Exception as error:  # a demuxer may raise anything on hostile bytes
            raise MediaError(f"{self.kind} cannot be decoded: {reason(error)}") from None

    def _stream(self, container: Any) -> Any:
        stream = picture_stream(container)
        if stream is None:
            raise MediaError(f"{self.kind} without a picture track")
        if stream.codec_context is None:
            raise MediaError(f"{self.kind} with a picture track of an unknown codec")
        # The decoder holds every picture against the cap, not the header alone; and says what it cannot decode.
        stream.codec_context.options = {"max_pixels": str(self.policy.max_pixels), "err_detect": "explode"}
        return stream

    def _check_size(self, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise MediaError(f"{self.kind} header declares pictures of {width} x {height}")
        if width * height > self.policy.max_pixels:
            raise MediaError(
                f"has pictures of {width} x {height} pixels, more than the {self.policy.max_pixels:,} allowed",
                advice="make it smaller, or raise max_pixels of the media policy",
            )

    def _index(self, container: Any, stream: Any) -> None:
        """Read when each picture appears from its packet, holding number and length against the policy."""
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        pts: list[int | None] = []
        keys: list[bool] = []
        last_duration = 0
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.is_corrupt:
                raise MediaError(f"{self.kind} is cut short or damaged: a packet of its pictures is not whole")
            pts.append(packet.pts)
            keys.append(packet.is_keyframe)
            last_duration = packet.duration or last_duration
            if len(pts) > self.policy.max_video_frames:
                raise MediaError(
                    f"has more than the {self.policy.max_video_frames:,} pictures that the policy allows",
                    advice="cut it, or raise max_video_frames of the media policy",
                )
        if not pts:
            raise MediaError(f"{self.kind} whose picture track is empty")
        tick_s = float(stream.time_base)
        known = np.array([p for p in pts if p is not None], np.int64)
        if len(known) == len(pts) and len(np.unique(known)) == len(pts):
            order_K = known.argsort(kind="stable")
            self._pts_K = known[order_K]
            self.is_key_K = np.array(keys)[order_K]
            self.time_K = (self._pts_K - self._pts_K[0]) * tick_s
        else:
            self.time_K = np.arange(len(pts)) / float(rate)
            self.is_key_K = np.zeros(len(pts), np.bool_)
        self.end_s = float(self.time_K[-1]) + (last_duration * tick_s if self._pts_K is not None else 0)
        if self.end_s <= self.time_K[-1]:
            self.end_s = float(self.time_K[-1]) + 1 / float(rate)
        if self.end_s > self.policy.max_video_seconds:
            raise MediaError(
                f"lasts longer than the {self.policy.max_video_seconds:g} s that the policy allows",
                advice="cut it, or raise max_video_seconds of the media policy",
            )
        sound = next((s for s in container.streams.audio if s.codec_context is not None), None)
        self.sound_start_s = None if sound is None else lag_s(container, sound)

    def _sought(self, chosen_N: NDArray[np.int64]) -> Iterator[Any]:
        """Decode group by group of pictures, each from its keyframe to the last one wanted of it."""
        assert self._pts_K is not None
        key_J = np.flatnonzero(self.is_key_K)
        if not len(key_J) or key_J[0] > chosen_N[0]:
            raise _SeekMissed
        group_N = key_J[np.searchsorted(key_J, chosen_N, side="right") - 1]
        container, stream = self._at_hand
        for key in np.unique(group_N):
            wanted = self._pts_K[chosen_N[group_N == key]].tolist()
            container.seek(int(self._pts_K[key]), stream=stream, backward=True)
            yield from self._group(container, stream, wanted)

    def _group(self, container: Any, stream: Any, wanted: list[int]) -> Iterator[Any]:
        """Feed packets until those of all wanted pictures are in, which only earlier packets are needed for."""
        waiting, left = set(wanted), list(wanted)
        context, is_first = stream.codec_context, True
        for packet in container.demux(stream):
            if packet.size == 0 or (is_first and packet.pts > wanted[0]):
                raise _SeekMissed
            is_first = False
            context.skip_frame = "DEFAULT" if packet.pts in waiting else "NONREF"
            waiting.discard(packet.pts)
            frames = packet.decode()
            if not waiting:
                frames += context.decode(None)
            for frame in frames:
                if left and frame.pts == left[0]:
                    if frame.is_corrupt:
                        raise _SeekMissed
                    left.pop(0)
                    yield self._checked(frame)
            if not waiting:
                break
        if left:
            raise _SeekMissed

    def _from_start(self, chosen_N: NDArray[np.int64]) -> Iterator[Any]:
        """Decode everything up to the last one chosen."""
        left = chosen_N.tolist()
        with self._opened() as container:
            stream = self._stream(container)
            number = -1
            try:
                for frame in container.decode(stream):
                    number += 1
                    if self._pts_K is not None and frame.pts is not None:
                        number = int(np.searchsorted(self._pts_K, frame.pts))
                    if number == left[0] and frame.is_corrupt:
                        raise ValueError(f"picture {number + 1} of {len(self.time_K)} is damaged")
                    if number >= left[0]:  # one that the decoder swallowed is stood for by the next
                        yield self._checked(frame)
                        left = [n for n in left if n > number]
                    if not left:
                        return
            except MediaError:
                raise
            except Exception as error:  # a decoder may raise anything on hostile bytes
                raise MediaError(f"{self.kind} is cut short or damaged: {reason(error)}") from None
        raise MediaError(
            f"{self.kind} ends before picture {left[0] + 1} of {len(self.time_K)}: it is cut short or damaged"
        )

    def _checked(self, frame: Any) -> Any:
        self._check_size(frame.width, frame.height)
        return frame

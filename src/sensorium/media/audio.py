"""Sounds: untrusted bytes to mono samples at one rate.

Enters: a `Media` holding WAV, W64, FLAC, Ogg, AIFF, AU, CAF or NIST SPHERE (libsndfile), or MP3, MP4,
Matroska/WebM, AAC, ASF, MPEG, AVI, FLV, Ogg video or AMR (FFmpeg; the first sound track of a video counts).
Leaves: float32 (N,).

    before it      tags (ID3, APE) and junk before the first frame of MP3, AAC or MPEG-TS are passed over

    channels       the mean over them
    sample rate    windowed-sinc polyphase, `sensorium.media.resample`
    full scale     1.0 for integer formats; floats as they are, and what overshoots 1 is clipped
    span           cut out after decoding, where the `Media` has one
    NaN, infinity  refused; so is a peak beyond 8, which is no overshoot but another scale
    lengths        a file that holds less sound than its header declares is refused
    some seconds   of a `Media` that names them, `sensorium.media.sound_span`; the caps are on what is kept
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.bytes import read_bytes, read_head
from sensorium.media.content_type import CONTAINERS, FILMS, HEAD, OTHER_SOUNDS, SOUNDS, content_type, cure, sniffed
from sensorium.media.policy import MediaPolicy
from sensorium.media.resample import Resampler
from sensorium.media.sound_layout import is_endless_opus, walk
from sensorium.media.sound_span import seconds_of
from sensorium.media.sound_stream import SoundStream
from sensorium.media.unsized import sized

if TYPE_CHECKING:
    from sensorium.core.types import Media

MAX_PEAK = 8.0


def read_audio(media: Media, policy: MediaPolicy, rate_hz: int = 16_000) -> NDArray[np.float32]:
    """Decode a sound to mono at `rate_hz`, float32 (N,) in [-1, 1], N >= 1.

    Raises:
        MediaError: not a sound, cut short, damaged, without samples, or beyond the policy; it names
            the medium.
    """
    try:
        is_film = content_type(read_head(media, policy, HEAD)) in FILMS
        data = read_bytes(media, policy, policy.max_video_bytes if is_film else policy.max_audio_bytes)
        kind, start = sniffed(data)
        data = data[start:]
        stream = _open(data, kind)
        if media.span_s is not None:
            stream = seconds_of(stream, *media.span_s)
        blocks = [block for block in _at_rate(stream, policy, rate_hz) if len(block)]
        if not blocks:
            raise MediaError(f"{kind} without samples")
        samples_N = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return np.clip(samples_N, -1, 1, out=samples_N)
    except MediaError as error:
        raise error.at(str(media)) from None


def _open(data: bytes, kind: str) -> SoundStream:
    """Choose a decoder by content; the libraries are imported when first needed."""
    if kind in CONTAINERS or is_endless_opus(data):
        from sensorium.media.ffmpeg import open_ffmpeg

        return open_ffmpeg(data, kind, walk(data, kind))
    if kind in SOUNDS:
        from sensorium.media.sndfile import open_sndfile

        data = sized(data, kind)
        return open_sndfile(data, kind, walk(data, kind))
    problem = "which is not read here" if kind in OTHER_SOUNDS else "not a sound"
    raise MediaError(f"is {kind}, {problem}", advice=cure(kind, SOUNDS | CONTAINERS))


def _at_rate(stream: SoundStream, policy: MediaPolicy, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    stream.check(policy)
    if stream.rate_hz == rate_hz:
        yield from _mono(stream, policy)
        return
    resampler = Resampler(stream.rate_hz, rate_hz)
    for block in _mono(stream, policy):
        yield resampler.push(block)
    yield resampler.flush()


def _mono(stream: SoundStream, policy: MediaPolicy) -> Iterator[NDArray[np.float32]]:
    """Yield the channel mean, block by block, holding length and values against the policy."""
    num_samples = 0
    for block_NC in stream.blocks:
        num_samples += len(block_NC)
        stream.check_length(num_samples, policy)
        mono_N = block_NC[:, 0].copy() if block_NC.shape[1] == 1 else block_NC.mean(axis=1, dtype=np.float32)
        _check_values(mono_N)
        yield mono_N
    stream.check_complete(num_samples)


def _check_values(mono_N: NDArray[np.float32]) -> None:
    peak = float(np.abs(mono_N).max(initial=0))
    if not np.isfinite(peak):
        raise MediaError("has samples that are NaN or infinite", advice="export it again, as 16-bit for example")
    if peak > MAX_PEAK:
        raise MediaError(f"has samples as large as {peak:g}, where full scale is 1", advice="scale it to [-1, 1]")

"""MP3, MP4, Matroska/WebM, AAC, ASF, MPEG, AVI, FLV and AMR through FFmpeg (PyAV), without its protocols.

Enters: bytes whose content type is known.  Leaves: a `SoundStream` of float32 blocks.
A clip's seconds count from the first of its tracks to begin, as players and subtitles have it: a sound that begins
after the pictures is silent until then.
FFmpeg gets the bytes, never a name; the demuxer is the one that belongs to the content type, so that
no playlist or concat script is ever probed; and a reference to another file is refused.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.sound_stream import SoundStream

DEMUXERS = {
    "MP3": "mp3",
    "MP4": "mov",
    "Matroska": "matroska",
    "AAC": "aac",
    "ASF": "asf",
    "MPEG-PS": "mpeg",
    "MPEG-TS": "mpegts",
    "AVI": "avi",
    "FLV": "flv",
    "AMR": "amr",
    "Ogg": "ogg",
    "Ogg video": "ogg",
}

# Where the header states a length; elsewhere FFmpeg guesses one from the bit rate.
_STATES_LENGTH = frozenset({"MP4", "Matroska", "AVI"})
# Codecs add a start-up delay that containers count or do not count; an MP3 tag may count itself.
_SLACK_S = 0.1
_SLACK_MP3 = 1152
_SLACK_MATROSKA = 3072  # its length counts the delay and what fills the last frame, of 1024 samples each in AAC
BLOCK_SAMPLES = 1 << 16


def open_ffmpeg(data: bytes, kind: str, declared_s: float | None) -> SoundStream:
    """Open the first sound track of a container.

    Args:
        declared_s: length by a tag that FFmpeg does not hold the file to.

    Raises:
        MediaError: a damaged header or no sound track, at once; damaged packets, while reading.
    """
    try:
        container = av.open(io.BytesIO(data), format=DEMUXERS[kind], io_open=refuse)
    except Exception as error:  # a demuxer may raise anything on hostile bytes
        raise MediaError(f"{kind} cannot be decoded: {reason(error)}") from None
    if not container.streams.audio:
        container.close()
        raise MediaError(f"{kind} without a sound track")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        container.close()
        raise MediaError(f"{kind} with a sound track of an unknown codec")
    rate_hz = stream.rate or 0
    if declared_s is None and kind in _STATES_LENGTH:
        declared_s = _declared_s(container, stream)
    lag = round(max(lag_s(container, stream), 0.0) * rate_hz)
    return SoundStream(
        kind=kind,
        rate_hz=rate_hz,
        num_channels=stream.channels,
        declared_samples=None if declared_s is None else lag + round(declared_s * rate_hz),
        slack_samples=_slack(kind, rate_hz),
        blocks=itertools.chain(_silence(lag, stream.channels), _blocks(container, stream, kind)),
    )


def lag_s(container: Any, sound: Any) -> float:
    """Return how many seconds after the pictures a sound begins, below 0 if before them; 0 without pictures."""
    pictures = picture_stream(container)
    if pictures is None or pictures.start_time is None or sound.start_time is None:
        return 0.0
    return float(sound.start_time * sound.time_base) - float(pictures.start_time * pictures.time_base)


def picture_stream(container: Any) -> Any | None:
    """Return the first stream of moving pictures, which a cover is not; None without one."""
    attached = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & attached), None)


def _silence(num_samples: int, num_channels: int) -> Iterator[NDArray[np.float32]]:
    for done in range(0, num_samples, BLOCK_SAMPLES):
        yield np.zeros((min(BLOCK_SAMPLES, num_samples - done), num_channels), np.float32)


def _slack(kind: str, rate_hz: int) -> int:
    if kind == "MP3":
        return _SLACK_MP3
    return max(round(_SLACK_S * rate_hz), _SLACK_MATROSKA if kind == "Matroska" else 0)


def _declared_s(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska states one length for all tracks; it binds the sound only where nothing else is there.
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None


def _blocks(container: Any, stream: Any, kind: str) -> Iterator[NDArray[np.float32]]:
    """Join the frames, of a thousand samples each, to blocks worth handing on."""
    waiting: list[NDArray[np.float32]] = []
    num_waiting = 0
    with container:
        for part_NC in _frames(container, stream, kind):
            waiting.append(part_NC)
            num_waiting += part_NC.size
            if num_waiting >= BLOCK_SAMPLES:
                yield np.concatenate(waiting)
                waiting, num_waiting = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _frames(container: Any, stream: Any, kind: str) -> Iterator[NDArray[np.float32]]:
    """Yield decoded frames, (n, channels).

    Bytes that do not decode are damage.  Only behind the last frame of an MP3, which has no end of its
    own, they are a tag or junk: they count as damage once a frame follows them.
    """
    # Packed, not planar: PyAV counts the planes of a frame by looking for a null pointer, which from
    # eight planes on is not there.
    to_packed = av.AudioResampler(format="flt", rate=stream.rate, layout=stream.layout)
    packets = container.demux(stream)
    damage: Exception | None = None
    is_over = False
    while not is_over:
        parts = []
        try:
            packet = next(packets, None)
            is_over = packet is None
            frames = [] if packet is None else packet.decode()
            parts = [_samples(part, stream) for frame in frames for part in to_packed.resample(frame)]
            if is_over:
                parts = [_samples(part, stream) for part in to_packed.resample(None) if part is not None]
        except Exception as error:  # a decoder may raise anything on hostile bytes
            damage = error
        if damage and (parts or kind != "MP3"):
            raise MediaError(f"{kind} is cut short or damaged: {reason(damage)}")
        yield from parts


def _samples(frame: av.AudioFrame, stream: Any) -> NDArray[np.float32]:
    num_channels = frame.layout.nb_channels
    if frame.format.name != "flt" or num_channels != stream.channels or frame.sample_rate != stream.rate:
        raise ValueError("its sample format changes on the way")
    return np.frombuffer(memoryview(frame.planes[0]), np.float32, frame.samples * num_channels).reshape(
        -1, num_channels
    )


def refuse(*_: object) -> None:
    """Refuse to open what a container refers to."""
    raise MediaError("refers to another file, and nothing else is opened")


def reason(error: Exception) -> str:
    """Return what a codec says of an error, as part of a sentence."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")

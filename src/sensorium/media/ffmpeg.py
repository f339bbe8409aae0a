"""MP4, Matroska/WebM, AAC, ASF, MPEG, AVI, FLV and AMR through FFmpeg (PyAV), without its protocols.

Enters: bytes whose content type is known.  Leaves: a `SoundStream` of float32 blocks.
FFmpeg gets the bytes, never a name; the demuxer is the one that belongs to the content type, so that
no playlist or concat script is ever probed; and a reference to another file is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.sound_stream import SoundStream

_DEMUXERS = {
    "MP4": "mov",
    "Matroska": "matroska",
    "AAC": "aac",
    "ASF": "asf",
    "MPEG-PS": "mpeg",
    "AVI": "avi",
    "FLV": "flv",
    "AMR": "amr",
    "Ogg": "ogg",
    "WAV": "wav",
}


def open_ffmpeg(data: bytes, kind: str) -> SoundStream:
    """Open the first sound track of a container.

    Raises:
        MediaError: a damaged header or no sound track, at once; damaged packets, while reading.
    """
    try:
        container = av.open(io.BytesIO(data), format=_DEMUXERS[kind], io_open=_refuse)
    except Exception as error:  # a demuxer may raise anything on hostile bytes
        raise MediaError(f"is a damaged {kind}: {_reason(error)}") from None
    if not container.streams.audio:
        container.close()
        raise MediaError(f"is a {kind} without a sound track")
    stream = container.streams.audio[0]
    rate_hz = stream.rate or 0
    declared = None
    if stream.duration is not None and stream.time_base is not None:
        declared = int(stream.duration * stream.time_base * rate_hz)
    return SoundStream(
        kind=kind,
        rate_hz=rate_hz,
        num_channels=stream.channels,
        declared_samples=declared,
        slack_samples=rate_hz // 10,
        blocks=_blocks(container, stream, kind),
    )


def _blocks(container: Any, stream: Any, kind: str) -> Iterator[NDArray[np.float32]]:
    resampler = av.AudioResampler(format="fltp")
    with container:
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames, None)
                parts = resampler.resample(frame)
            except Exception as error:
                raise MediaError(f"is a damaged {kind}: {_reason(error)}") from None
            for part in parts:
                yield np.ascontiguousarray(part.to_ndarray().T)
            if frame is None:
                return


def _refuse(*_: object) -> None:
    raise MediaError("refers to another file, and nothing else is opened")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")

"""WAV, FLAC, Ogg, MP3, AIFF, AU and CAF through libsndfile.

Enters: bytes whose content type is known.  Leaves: a `SoundStream` of float32 blocks.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.sound_stream import SoundStream

BLOCK = 1 << 16


def open_sndfile(data: bytes, kind: str) -> SoundStream:
    """Open a sound that libsndfile decodes.

    Raises:
        MediaError: a damaged header, at once; damaged samples, while the blocks are read.
    """
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except Exception as error:  # a decoder may raise anything on hostile bytes
        raise MediaError(f"is a damaged {kind}: {_reason(error)}") from None
    return SoundStream(
        kind=kind,
        rate_hz=file.samplerate,
        num_channels=file.channels,
        declared_samples=file.frames,
        slack_samples=0,
        blocks=_blocks(file, kind),
    )


def _blocks(file: soundfile.SoundFile, kind: str) -> Iterator[NDArray[np.float32]]:
    with file:
        while True:
            try:
                block = file.read(BLOCK, dtype="float32", always_2d=True)
            except Exception as error:
                raise MediaError(f"is a damaged {kind}: {_reason(error)}") from None
            if len(block) == 0:
                return
            yield block


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).rstrip(".").removeprefix("Error : ")

"""WAV, W64, FLAC, Ogg, AIFF, AU, CAF and NIST SPHERE through libsndfile.

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

BLOCK_SAMPLES = 1 << 16  # of all channels together
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's own sign for a stream that states no length

# Not Ogg, whose packets lean on those before.
_SEEKS_EXACTLY = frozenset({"WAV", "W64", "FLAC", "AIFF", "AU", "CAF", "NIST SPHERE"})


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # the package has no types
    """A sound read from its beginning to its end.

    After each read, soundfile seeks to where it is already; a stream of unknown length cannot do that.
    """

    def seekable(self) -> bool:
        """Say no."""
        return False


def open_sndfile(data: bytes, kind: str, declared_s: float | None) -> SoundStream:
    """Open a sound that libsndfile decodes.

    Args:
        declared_s: length by the container, where libsndfile sees only what is there.

    Raises:
        MediaError: a damaged header, at once; damaged samples, while the blocks are read.
    """
    try:
        file = _ForwardFile(io.BytesIO(data))
    except Exception as error:  # a decoder may raise anything on hostile bytes
        raise MediaError(f"{kind} cannot be decoded: {_reason(error)}") from None
    declared = [file.frames] if 0 <= file.frames < _UNKNOWN_FRAMES else []
    if declared_s is not None:
        declared.append(round(declared_s * file.samplerate))
    return SoundStream(
        kind=kind,
        rate_hz=file.samplerate,
        num_channels=file.channels,
        declared_samples=max(declared, default=None),
        # A Vorbis stream may begin and end inside a block, of 8192 samples at most.
        slack_samples=8192 if kind == "Ogg" else 0,
        blocks=_blocks(file, kind),
        seek=file.seek if kind in _SEEKS_EXACTLY else None,
    )


def _blocks(file: soundfile.SoundFile, kind: str) -> Iterator[NDArray[np.float32]]:
    num_frames = max(1, BLOCK_SAMPLES // file.channels)
    with file:
        while True:
            try:
                block = file.read(num_frames, dtype="float32", always_2d=True)
            except Exception as error:
                raise MediaError(f"{kind} is cut short or damaged: {_reason(error)}") from None
            if len(block) == 0:
                return
            yield block


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).rstrip(".").removeprefix("Error : ")

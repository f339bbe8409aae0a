"""Some seconds of a sound.

Enters: an opened `SoundStream`, and which seconds.  Leaves: one that holds nothing else.
Samples are counted at the sound's own rate: from round(start x rate) up to, not with, round(end x rate).
An end up to `OVERSHOOT_S` behind the sound's own is the sound's own, as for Kaldi's extract-segments; more is a
fault of the table, and said to be one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import MediaError
from sensorium.media.sound_stream import SoundStream

OVERSHOOT_S = 0.5


def seconds_of(stream: SoundStream, start_s: float, end_s: float | None) -> SoundStream:
    """Return the seconds `start_s` to `end_s` of a sound (None = its end).

    Raises:
        MediaError: they lie behind the end of the sound; where its length is not known before, while reading.
    """
    start, rate_hz = round(start_s * stream.rate_hz), stream.rate_hz
    end = None if end_s is None else max(round(end_s * rate_hz), start + 1)
    known = stream.declared_samples
    overshoot = round(OVERSHOOT_S * rate_hz)
    if known is not None:
        _check(start, end, known, rate_hz)
    wanted = known if end is None else end if known is None else min(end, known)
    if stream.seek is not None and start:
        stream.seek(start)
    return replace(
        stream,
        declared_samples=None if wanted is None else wanted - start,
        slack_samples=overshoot if known is None else stream.slack_samples,
        blocks=_cut(
            stream, 0 if stream.seek is not None and start else start, None if end is None else end - start
        ),
        seek=None,
    )


def _check(start: int, end: int | None, known: int, rate_hz: int) -> None:
    if start >= known or (end is not None and end > known + round(OVERSHOOT_S * rate_hz)):
        until = "" if end is None else f" to {end / rate_hz:g}"
        raise MediaError(
            f"lasts {known / rate_hz:.2f} s, and its seconds {start / rate_hz:g}{until} are asked for",
            advice="is this the recording that the times belong to?",
        )


def _cut(stream: SoundStream, skip: int, most: int | None) -> Iterator[NDArray[np.float32]]:
    """Leave out the first `skip` samples, and all behind the `most` that follow them."""
    left = most
    for block_NC in stream.blocks:
        here_NC = block_NC[skip:]
        skip = max(0, skip - len(block_NC))
        if left is not None:
            here_NC = here_NC[:left]
            left -= len(here_NC)
        if len(here_NC):
            yield here_NC
        if left == 0:
            return

"""Clips that tests film: each picture's brightness tells which one it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 8
"""Brightness from one picture to the next."""


def film(
    path: Path,
    num: int = 24,
    *,
    rate_hz: int = 12,
    size: tuple[int, int] = (64, 48),
    keyint: int = 12,
    codec: str = "libx264",
    sound_s: float = 0.0,
    sound_at_s: float = 0.0,
    ticks: list[int] | None = None,
    pictures: bool = True,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Film `num` grey pictures, picture i of brightness 20 + STEP * i (mod 200); `ticks` of 1/120 s set times.

    A sound is a tone of `sound_s` seconds that begins at `sound_at_s`.
    """
    with av.open(str(path), "w") as file:
        video = sound = None
        if pictures:
            video = file.add_stream(
                codec, rate=rate_hz, options={"g": str(keyint), "sc_threshold": "0", **(options or {})}
            )
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
            if ticks is not None:
                video.codec_context.time_base = Fraction(1, 120)
        if sound_s:
            sound = file.add_stream("mp2" if path.suffix == ".mpg" else "aac", rate=16_000, layout="mono")
        for i in range(num if video else 0):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level(i), np.uint8), format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[i], Fraction(1, 120)
            file.mux(video.encode(frame))
        if video:
            file.mux(video.encode(None))
        if sound:
            time_N = np.arange(round(sound_s * 16_000)) / 16_000
            tone_N = (0.3 * np.sin(2 * np.pi * 440 * time_N)).astype(np.float32)
            kind = "s16" if path.suffix == ".mpg" else "fltp"
            values = (tone_N * 32767).astype(np.int16) if kind == "s16" else tone_N
            frame = av.AudioFrame.from_ndarray(values[None], format=kind, layout="mono")
            frame.sample_rate, frame.pts = 16_000, round(sound_at_s * 16_000)
            file.mux([*sound.encode(frame), *sound.encode(None)])
    return path


def level(i: int) -> int:
    return 20 + STEP * i % 200


def seen(frame_NHW3: np.ndarray) -> list[int]:
    """Say which pictures these are, by their brightness (of the first 25)."""
    return [round((float(x.mean()) - 20) / STEP) for x in frame_NHW3]

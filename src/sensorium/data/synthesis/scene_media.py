"""A scene as a picture, as sound and as a moving picture.

Enters: a `Scene`.  Leaves: an RGB picture; mono samples, a tone for each shape from left to right, whose
pitch is its colour and whose wave form is its kind; frames or an MP4 in which the subject moves.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sensorium.core.commit import disk_error
from sensorium.data.synthesis.scenes import COLORS, DIRECTIONS, Scene, Shape

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

RATE_HZ = 16_000
TONE_S, GAP_S = 0.22, 0.06
PITCH_HZ = dict(zip(COLORS, (262.0, 330.0, 392.0, 523.0, 659.0), strict=True))
FRAMES, FRAMES_HZ = 8, 8
TRAVEL = 0.28
"""How far the subject goes in a clip, in widths of the picture."""

_FINER = 4  # drawn so much larger and then averaged, for smooth edges
_FADE_S = 0.02
# A fixed quantiser and no look-ahead: on tiny pictures x264's look-ahead reads memory that it never wrote, and what
# it writes then depends on what the process encoded before.
_X264 = {"qp": "16", "threads": "1", "x264-params": "rc-lookahead=0:no-mbtree=1:b-adapt=0:weightp=0"}
_LOUDNESS = 0.3


def picture(scene: Scene, size: int) -> Image:
    """Draw a scene, `size` x `size` RGB; the subject lies on top."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (size * _FINER,) * 2, (scene.ground,) * 3)
    draw = ImageDraw.Draw(canvas)
    for shape in reversed(scene.shapes):
        _draw(draw, shape, size * _FINER)
    return canvas.reduce(_FINER)


def _draw(draw: ImageDraw, shape: Shape, width: int) -> None:
    x, y, r = shape.x * width, shape.y * width, shape.radius * width
    color = COLORS[shape.color]
    if shape.kind == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=color)
        return
    draw.polygon([(x + r * dx, y + r * dy) for dx, dy in _CORNERS[shape.kind]], fill=color)


_CORNERS = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0.0, -1.0), (1.0, 0.9), (-1.0, 0.9)),
    "diamond": ((0.0, -1.15), (0.8, 0.0), (0.0, 1.15), (-0.8, 0.0)),
}


def tones(scene: Scene) -> NDArray[np.float32]:
    """Sound a scene: float32 (N,) at `RATE_HZ`, one tone a shape, from left to right."""
    gap = np.zeros(round(GAP_S * RATE_HZ), np.float32)
    parts = [gap]
    for shape in sorted(scene.shapes, key=lambda shape: shape.x):
        parts += [_tone(shape), gap]
    return np.concatenate(parts)


def _tone(shape: Shape) -> NDArray[np.float32]:
    time_N = np.arange(round(TONE_S * RATE_HZ)) / RATE_HZ
    phase_N = (PITCH_HZ[shape.color] * time_N) % 1.0
    wave_N = {
        "circle": np.sin(2 * math.pi * phase_N),
        "square": 0.5 * np.sign(0.5 - phase_N),
        "triangle": 1 - 4 * np.abs(phase_N - 0.5),
        "diamond": 0.7 * (2 * phase_N - 1),  # a saw tooth
    }[shape.kind]
    fade_N: NDArray[np.float64] = np.clip(np.minimum(time_N, time_N[-1] - time_N) / _FADE_S, 0, 1)
    tone_N: NDArray[np.float32] = (_LOUDNESS * wave_N * fade_N).astype(np.float32)
    return tone_N


def frames(scene: Scene, size: int) -> list[Image]:
    """Draw the clip's pictures: the subject passes its place halfway."""
    dx, dy = DIRECTIONS[scene.direction]
    pictures = []
    for i in range(FRAMES):
        gone = TRAVEL * (i / (FRAMES - 1) - 0.5)
        subject = dataclasses.replace(scene.subject, x=scene.subject.x + dx * gone, y=scene.subject.y + dy * gone)
        pictures.append(picture(dataclasses.replace(scene, shapes=(subject, *scene.shapes[1:])), size))
    return pictures


def write_mp4(
    path: Path, pictures: list[Image], rate_hz: int = FRAMES_HZ, sound_N: NDArray[np.float32] | None = None
) -> None:
    """Write pictures as an MP4 (H.264, 4:2:0; sound as AAC), byte for byte the same each time.  Raises DiskError.

    Args:
        pictures: of one size, even in both directions.
        sound_N: (N,) mono at `RATE_HZ`; None = a clip without a sound track.
    """
    import av

    try:
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as file:
            stream = file.add_stream("libx264", rate=rate_hz, options=_X264)
            stream.width, stream.height = pictures[0].size
            stream.pix_fmt = "yuv420p"
            sound = None if sound_N is None else file.add_stream("aac", rate=RATE_HZ, layout="mono")
            for one in pictures:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(_yuv420(one), format="yuv420p")))
            file.mux(stream.encode(None))
            if sound is not None and sound_N is not None:
                sound.bit_rate = 64_000
                frame = av.AudioFrame.from_ndarray(sound_N[None], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE_HZ, 0
                file.mux([*sound.encode(frame), *sound.encode(None)])
    except OSError as error:
        raise disk_error(error, path) from error


def _yuv420(one: Image) -> NDArray[np.uint8]:
    """Turn RGB into BT.601 planes, (3/2 H, W): the library's own conversion rounds by the buffer's alignment."""
    rgb_HW3 = np.asarray(one, np.float64)
    luma_HW = 16 + rgb_HW3 @ (65.481, 128.553, 24.966) / 255
    height, width = luma_HW.shape
    small_HW3 = rgb_HW3.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    blue_HW = 128 + small_HW3 @ (-37.797, -74.203, 112.0) / 255
    red_HW = 128 + small_HW3 @ (112.0, -93.786, -18.214) / 255
    planes = [np.rint(plane).astype(np.uint8).reshape(-1, width) for plane in (luma_HW, blue_HW, red_HW)]
    return np.concatenate(planes)

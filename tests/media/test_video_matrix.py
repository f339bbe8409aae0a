"""A clip is shown as its display matrix says: all eight ways to turn and mirror it."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from sensorium.core.types import Media
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video

ONE = 0x10000
# Source: QuickTime File Format, "Matrices": (x', y') = (a x + c y, b x + d y).
RIGHT = {
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, -1): lambda x: x[::-1, ::-1],
    (-1, 0, 0, 1): lambda x: x[:, ::-1],
    (1, 0, 0, -1): lambda x: x[::-1],
    (0, 1, 1, 0): lambda x: x.swapaxes(0, 1),
    (0, 1, -1, 0): lambda x: np.rot90(x, -1),
    (0, -1, 1, 0): lambda x: np.rot90(x, 1),
    (0, -1, -1, 0): lambda x: x[::-1, ::-1].swapaxes(0, 1),
}


@pytest.fixture(scope="module")
def clip() -> bytes:
    picture = np.full((48, 64, 3), 20, np.uint8)
    picture[:, :32], picture[:24, :32] = (200, 40, 40), (40, 40, 200)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def shown(clip: bytes, matrix) -> np.ndarray:
    a, b, c, d = (ONE * value for value in matrix)
    data, at = bytearray(clip), clip.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    return read_video(Media(data=bytes(data)), MediaPolicy()).frame_NHW3[0]


@pytest.mark.parametrize("matrix", RIGHT)
def test_clips_are_turned_and_mirrored(clip, matrix):
    found, right = shown(clip, matrix), RIGHT[matrix](shown(clip, (1, 0, 0, 1)))
    assert found.shape == right.shape
    assert np.abs(found.astype(int) - right).max() < 30

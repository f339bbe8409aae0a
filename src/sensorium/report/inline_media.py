"""Media of rows as data: URIs, small enough that a page with hundreds of them can be mailed.

Enters: the items of a row, untrusted; they are opened by `sensorium.media` alone.  Leaves: `Shown`.  A picture
becomes a JPEG of at most 160 px, a clip a strip of some of its pictures, a sound an MP3 of at most some seconds.  What fails, or would break the budget
of bytes, is named instead of shown, and counted.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import SensoriumError
from sensorium.core.types import Media
from sensorium.media.audio import read_audio
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video
from sensorium.report.facts import Shown

PICTURE_PX = 160
STRIP_PX, STRIP_FRAMES = 80, 6
SOUND_S, SOUND_HZ = 8.0, 16_000
TEXT_CHARACTERS = 600


@dataclass
class Inliner:
    """Turn items into what a page shows, within a budget.

    Attributes:
        max_bytes: of all data URIs together.
        num_left_out: media that did not fit.
    """

    policy: MediaPolicy
    max_bytes: int = 7_000_000
    num_left_out: int = 0
    _spent: int = 0
    _known: dict[tuple[str, Media], Shown] = field(default_factory=dict)

    def show(self, name: str, modality: str, item: object) -> list[Shown]:
        """Return an input of a row; several media of it are several."""
        if item is None:
            return [Shown(name=name, kind="text", source=None, note="absent")]
        if isinstance(item, Media):
            return [self._medium(name, modality, item)]
        if isinstance(item, Sequence) and not isinstance(item, str):
            return [shown for part in item for shown in self.show(name, modality, part)]
        return [Shown(name=name, kind="text", source=cut(str(item)))]

    def _medium(self, name: str, modality: str, media: Media) -> Shown:
        key = (modality, media)
        if key not in self._known:
            self._known[key] = self._encoded(name, modality, media)
        known = self._known[key]
        if known.source is not None:  # each time it is shown it takes its bytes again
            if self._spent + len(known.source) > self.max_bytes:
                self.num_left_out += 1
                return Shown(name=name, kind="text", source=None, note=f"{_file_name(media)} (left out for size)")
            self._spent += len(known.source)
        return Shown(name=name, kind=known.kind, source=known.source, note=known.note)

    def _encoded(self, name: str, modality: str, media: Media) -> Shown:
        encode = _ENCODERS.get(modality)
        if encode is None:
            return Shown(name=name, kind="text", source=None, note=_file_name(media))
        try:
            return Shown(name=name, kind=modality, source=encode(media, self.policy), note=_file_name(media))
        except SensoriumError as error:
            return Shown(name=name, kind="text", source=None, note=f"{_file_name(media)}: {error.what}")


def cut(text: str, most: int = TEXT_CHARACTERS) -> str:
    """Return the beginning of a long text, and how much more there is."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def picture_uri(media: Media, policy: MediaPolicy) -> str:
    """Return a small JPEG of a picture.  Raises MediaError."""
    from PIL import Image

    picture = Image.fromarray(read_image(media, policy, fit=PICTURE_PX))
    picture.thumbnail((PICTURE_PX, PICTURE_PX))
    return jpeg_uri(np.asarray(picture))


def sound_uri(media: Media, policy: MediaPolicy) -> str:
    """Return the beginning of a sound as MP3.  Raises MediaError."""
    import soundfile

    samples_N = read_audio(media, policy, SOUND_HZ)[: round(SOUND_S * SOUND_HZ)]
    file = io.BytesIO()
    soundfile.write(file, samples_N, SOUND_HZ, format="MP3", compression_level=0.7)
    return _uri("audio/mpeg", file.getvalue())


def strip_uri(media: Media, policy: MediaPolicy) -> str:
    """Return some pictures of a clip, side by side, as one JPEG.  Raises MediaError."""
    clip = read_video(media, policy, num_frames=STRIP_FRAMES, fit=STRIP_PX)
    return jpeg_uri(np.concatenate(list(clip.frame_NHW3), axis=1))


def jpeg_uri(picture_HW3: NDArray[np.uint8]) -> str:
    """Return RGB pixels as a JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture_HW3).save(file, "JPEG", quality=80, optimize=True)
    return _uri("image/jpeg", file.getvalue())


_ENCODERS: dict[str, Callable[[Media, MediaPolicy], str]] = {
    "image": picture_uri,
    "audio": sound_uri,
    "video": strip_uri,
}


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _file_name(media: Media) -> str:
    return media.path.name if media.path is not None else f"{len(media.data or b''):,} bytes"

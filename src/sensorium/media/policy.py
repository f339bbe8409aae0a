"""What may be opened and how much of it: the caps and the granted folders of the media gateway.

Enters: the `[media]` section of a config.  Leaves: a frozen `MediaPolicy` that every reader obeys.
The caps are declared here and nowhere else; an image, sound or clip beyond one is refused by name, never
cut down in silence.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sensorium.core.config import Section

# Pillow refuses twice its own MAX_IMAGE_PIXELS whatever we allow, so no larger cap can be kept.
_PILLOW_LIMIT = 178_956_970

DECODING = 2
"""Raised whenever the same bytes decode to other numbers or at other times: what was prepared before is not taken.

2: a clip's sound begins at the clip's clock; pictures of more than 8 bits are scaled or refused.
"""


class MediaPolicy(Section):
    """Say how large a medium may be and where it may lie.

    Attributes:
        max_pixels: width x height of an image or a clip's picture, checked in its header.
        max_aspect: longest side over shortest; a 1 x 65535 strip scaled to a square model input would
            otherwise grow to billions of pixels on its way.
        max_scans: passes of a progressive JPEG of `max_pixels`, each of which costs a whole decode;
            a smaller picture may have more.
        max_image_bytes: size of an image file.
        max_audio_bytes: size of a sound file.
        max_audio_seconds: length of a sound once decoded, checked in its header and while decoding.
        max_video_bytes: size of a file of moving pictures, its sound included.
        max_video_seconds, max_video_frames: length of a clip, by the times of its packets.
        max_clip_bytes: pictures of one clip that are kept, as RGB.
        max_channels: channels of a sound.
        min_rate_hz, max_rate_hz: sample rate of a sound.
        roots: granted folders; a path counts after its symlinks are followed.  Empty: no restriction,
            for tables that the user names himself.
    """

    max_pixels: int = Field(default=40_000_000, ge=1, le=_PILLOW_LIMIT)
    max_aspect: float = Field(default=200.0, ge=1)
    max_scans: int = Field(default=16, ge=1)
    max_image_bytes: int = Field(default=20_000_000, ge=1)
    max_audio_bytes: int = Field(default=25_000_000, ge=1)
    max_audio_seconds: float = Field(default=1800.0, gt=0)
    max_video_bytes: int = Field(default=500_000_000, ge=1)
    max_video_seconds: float = Field(default=7200.0, gt=0)
    max_video_frames: int = Field(default=500_000, ge=1)
    max_clip_bytes: int = Field(default=1_000_000_000, ge=1)
    max_channels: int = Field(default=64, ge=1)
    min_rate_hz: int = Field(default=1000, ge=1)
    max_rate_hz: int = Field(default=768_000, ge=1)
    roots: tuple[Path, ...] = ()

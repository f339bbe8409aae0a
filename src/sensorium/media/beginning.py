"""Where a medium begins: behind tags, and behind what is left of another stream.

Enters: bytes.  Leaves: the place of the first one that belongs to the medium itself.
Any sound may stand behind ID3 tags (several, where programs added their own), and an MP3 behind an APE tag.
Streams of equal frames may be cut anywhere, so that half a frame, zeros or junk come first: they begin where frame
follows frame as their headers say.
Sources: ID3v2.4, 3.1; APEv2; ISO 11172-3, 2.4.1.3 and ISO 13818-3 (MPEG audio); ISO 13818-7, 6.2 (ADTS); ISO
13818-1, 2.4.3.2 (transport streams), with 4 bytes of time before each packet (BDAV) or 16 of parity behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_TAGS = 16
MOST_JUNK = 65_536  # bytes before the first frame, as FFmpeg allows them
_FRAMES = 4  # of equal kind in a row tell a stream from bytes that look like one
_PACKETS = 5

_SAMPLE_RATES_HZ = (44_100, 48_000, 32_000)
_KBITS_1 = (
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_KBITS_2 = (
    (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


def behind_tags(data: bytes) -> int:
    """Return where the tags at the beginning of `data` end; beyond its end where only a part of them is there."""
    place = 0
    for _ in range(MAX_TAGS):
        head = data[place : place + 32]
        if head[:3] == b"ID3" and len(head) >= 10:
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            place += 10 + size + (10 if head[5] & 0x10 else 0)  # the flag of a footer
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            place += 32 + int.from_bytes(head[12:16], "little")
        else:
            break
    return place


_SYNC = re.compile(rb"\xff[\xe0-\xff]|G")


def first_frame(data: bytes, start: int = 0) -> tuple[str, int] | None:
    """Find the first of several frames in a row: ('MP3', 'AAC' or 'MPEG-TS', its place); None where there is none.

    A search of at most `MOST_JUNK` bytes from `start` on.
    """
    for found in _SYNC.finditer(data, start, start + MOST_JUNK):
        place = found.start()
        if data[place] == 0x47:
            packet = next((size for size in (188, 192, 204) if is_transport(data, place, size)), 0)
            if packet:
                return "MPEG-TS", place
        elif _is_row(data, place, mpeg_frame_bytes):
            return "MP3", place
        elif _is_row(data, place, _adts_frame_bytes):
            return "AAC", place
    return None


def is_transport(data: bytes, place: int, packet_bytes: int, num_packets: int = _PACKETS) -> bool:
    """Say whether packets of a transport stream follow each other from `place` on."""
    return data[place : place + (num_packets - 1) * packet_bytes + 1 : packet_bytes] == b"G" * num_packets


def mpeg_frame_bytes(head: bytes) -> int:
    """Return the bytes of the frame of MPEG audio that four bytes begin; 0 where they begin none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return 0
    rate_hz = _SAMPLE_RATES_HZ[rate] >> {3: 0, 2: 1}.get(version, 2)
    kbits = (_KBITS_1 if version == 3 else _KBITS_2)[layer - 1][bits - 1]
    padding = head[2] >> 1 & 1
    if layer == 1:
        return 4 * (12_000 * kbits // rate_hz + padding)
    return (144_000 if version == 3 or layer == 2 else 72_000) * kbits // rate_hz + padding


def _adts_frame_bytes(head: bytes) -> int:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _is_row(data: bytes, place: int, frame_bytes: Callable[[bytes], int]) -> bool:
    """Say whether several frames of one kind follow each other."""
    kind = data[place + 1] & 0xFE, data[place + 2] & 0x0C  # version, layer, sample rate
    for _ in range(_FRAMES):
        head = data[place : place + 7]
        size = frame_bytes(head)
        if size < 7 or (head[1] & 0xFE, head[2] & 0x0C) != kind:
            return False
        place += size
    return True

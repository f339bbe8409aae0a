"""How a sound file is laid out, walked before any decoder sees it.

Enters: the bytes and content type of a sound.  Leaves: its declared length where only the walk can
know it; or a `MediaError` for a header that lies.
Decoders believe the bytes that are there: a WAV cut in half plays half and reports success.  The walks
compare what a header declares with what the file holds.
Sources: Multimedia Programming Interface 1.0 (RIFF) and EBU Tech 3306 (RF64); AIFF-C draft 1991;
Sun AU; Apple CAF 1.0; Sony W64; NIST SPHERE 2.6; Ogg RFC 3533 and Opus in Ogg RFC 7845; the Xing and
LAME tags of MP3; ISO 14496-12 (MP4); Matroska RFC 9559.

    length unknown   a WAV or AU of 0x7FFFF000 bytes or more, a CAF of -1: a stream, read to its end; see
                     `sensorium.media.unsized`
    more than there  refused, with the share that is there
    less than there  the header is believed; what follows its samples is not sound
    Ogg              its last page must be whole, and no page may be missing; a recording that was stopped has
                     none that is marked as the last
    behind the boxes of an MP4    what is no box of its is not looked at
    MP3              the Xing or Info tag counts its frames; without one, what is there is all
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from sensorium.core.errors import MediaError

UNKNOWN_BYTES = 0x7FFFF000
MAX_BLOCKS = 65_536  # chunks of one file; pages of an Ogg are counted apart
MAX_PAGES = 1_000_000
MAX_START_S = 4  # an Ogg whose first page ends later than this was cut out of a longer stream


def walk(data: bytes, kind: str) -> float | None:
    """Walk a sound of content type `kind`; return the seconds it declares where its decoder does not ask.

    Raises:
        MediaError: a header that declares more than there is, no channels, or a rate of 0 Hz.
    """
    walker = _WALKS.get(kind)
    return walker(data) if walker else None


_MPEG_TAGS = (0x50, 0x55)


def _walk_wav(data: bytes) -> None:
    order = ">" if data[:4] == b"RIFX" else "<"
    long_size = None
    for name, start, size in chunks(data, 12, order + "4sI"):
        if name == b"ds64" and len(data) >= start + 16:
            long_size = struct.unpack_from("<Q", data, start + 8)[0]
        elif name == b"fmt " and len(data) >= start + 8:
            tag, num_channels, rate_hz = struct.unpack_from(order + "HHI", data, start)
            _check_header("WAV", num_channels, rate_hz)
            if tag in _MPEG_TAGS:
                raise MediaError("is a WAV that holds MPEG audio", advice="save it as MP3, or as 16-bit WAV")
        elif name == b"data":
            declared = long_size if size == 0xFFFFFFFF and long_size else size
            is_stream = declared == size and size >= UNKNOWN_BYTES
            _check_bytes("WAV", None if is_stream else declared, len(data) - start)
            return


def _walk_aiff(data: bytes) -> None:
    for name, start, size in chunks(data, 12, ">4sI"):
        if name == b"COMM" and len(data) >= start + 18:
            # The rate is an 80-bit float; its 64-bit mantissa is zero only for zero.
            _check_header(
                "AIFF", struct.unpack_from(">H", data, start)[0], struct.unpack_from(">Q", data, start + 10)[0]
            )
        elif name == b"SSND":
            _check_bytes("AIFF", size, len(data) - start)


def _walk_au(data: bytes) -> None:
    if len(data) >= 24:
        start, size, _, rate_hz, num_channels = struct.unpack_from(">5I", data, 4)
        _check_header("AU", num_channels, rate_hz)
        _check_bytes("AU", None if size >= UNKNOWN_BYTES else size, len(data) - start)


def _walk_w64(data: bytes) -> None:
    """Hold the samples against their chunk, whose size counts its own 24 bytes of name and size (Sony, 2.4)."""
    place = 40
    for _ in range(MAX_BLOCKS):
        if place + 24 > len(data):
            return
        name, size = data[place : place + 4], int.from_bytes(data[place + 16 : place + 24], "little")
        if name == b"data":
            _check_bytes("W64", size - 24 if 24 < size < 1 << 62 else None, len(data) - place - 24)
            return
        if name == b"fmt " and len(data) >= place + 32:
            _check_header("W64", *struct.unpack_from("<HI", data, place + 26))
        if size < 24:
            return
        place += size + -size % 8
    raise _too_many("sound file")


_NIST_FIELD = re.compile(
    rb"^(sample_count|sample_n_bytes|channel_count|sample_rate) -(?:i|s\d+) (\d{1,12})\s*$", re.M
)
_NIST_CODING = re.compile(rb"^sample_coding -s\d+ (.*?)\s*$", re.M)


def _walk_nist(data: bytes) -> None:
    """Read the fields of the header, one a line, and hold the samples against them (NIST SPHERE 2.6)."""
    size = int(data[8:16]) if data[8:16].strip().isdigit() else 1024
    head = data[: min(size, MAX_BLOCKS)]
    coding = _NIST_CODING.search(head)
    if coding and b"embedded" in coding[1]:
        named = coding[1].decode("ascii", "replace")
        raise MediaError(
            f"is NIST SPHERE of coding '{named}', which is not read here",
            advice="turn it into a WAV: sph2pipe -f wav",
        )
    fields = {name.decode("ascii"): int(value) for name, value in _NIST_FIELD.findall(head)}
    num_channels = fields.get("channel_count", 1)
    _check_header("NIST SPHERE", num_channels, fields.get("sample_rate", 1))
    if "sample_count" in fields:
        declared = fields["sample_count"] * fields.get("sample_n_bytes", 2) * num_channels
        _check_bytes("NIST SPHERE", declared, len(data) - size)


def _walk_caf(data: bytes) -> None:
    for name, start, size in chunks(data, 8, ">4sq"):
        if name == b"desc" and len(data) >= start + 32:
            rate_hz, _, num_channels = struct.unpack_from(">d16sI", data, start)
            _check_header("CAF", num_channels, rate_hz)
        elif name == b"data":
            _check_bytes("CAF", None if size < 0 else size, len(data) - start)


def chunks(data: bytes, place: int, header: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of body, declared size); an odd body is followed by one byte of padding.

    Raises:
        MediaError: more of them than any real file has.
    """
    width = struct.calcsize(header)
    is_padded = header.endswith("I")
    for _ in range(MAX_BLOCKS):
        if place + width > len(data):
            return
        name, size = struct.unpack_from(header, data, place)
        yield name, place + width, size
        if size < 0:
            return
        place += width + size + (size & 1 if is_padded else 0)
    raise _too_many("sound file")


def _check_header(kind: str, num_channels: int, rate_hz: float) -> None:
    if num_channels == 0:
        raise MediaError(f"{kind} header declares 0 channels")
    if not rate_hz > 0:
        raise MediaError(f"{kind} header declares a sample rate of {rate_hz:g} Hz")


def _check_bytes(kind: str, declared: int | None, there: int) -> None:
    if declared is not None and there < declared:
        raise MediaError(
            f"{kind} ends at {100 * max(there, 0) // declared} % of its samples: its header declares "
            f"{declared:,} bytes of them, {max(there, 0):,} are there"
        )


def _walk_ogg(data: bytes) -> float | None:
    """Follow the pages; return the length by the granule position of the last one."""
    place, expected, flags = 0, 0, 0
    serials: set[bytes] = set()
    granules: list[int] = []
    for _ in range(MAX_PAGES):
        if place + 27 > len(data) or data[place : place + 4] != b"OggS":
            break
        flags, granule, serial, number, num_segments = _OGG_PAGE.unpack_from(data, place)
        place += 27 + num_segments + sum(data[place + 27 : place + 27 + num_segments])
        if flags & _OGG_FIRST:
            serials.add(serial)
            expected = number
        if len(serials) == 1 and number != expected:
            raise MediaError(f"Ogg page {expected} is missing or damaged")
        expected += 1
        if granule > 0:
            granules.append(granule)
    if place > len(data) or (place < len(data) and not flags & _OGG_LAST):
        raise MediaError("Ogg is cut short: its last page is not whole")
    return _ogg_seconds(data[28:92], granules) if len(serials) == 1 and granules else None


def is_endless_opus(data: bytes) -> bool:
    """Say whether this is Opus in Ogg without a page marked as the last, which libsndfile does not open."""
    if data[:4] != b"OggS" or data[28:36] != b"OpusHead":
        return False
    last = data.rfind(b"OggS")
    return not any(byte & _OGG_LAST for byte in data[last + 5 : last + 6])


_OGG_PAGE = struct.Struct("<5xBq4sI4xB")
_OGG_FIRST, _OGG_LAST = 2, 4


def _ogg_seconds(head: bytes, granules: list[int]) -> float | None:
    """Turn granule positions into seconds: Vorbis counts samples, Opus 48 kHz ticks after a pre-skip."""
    if head.startswith(b"OpusHead"):
        rate_hz, skip = 48_000, int.from_bytes(head[10:12], "little")
    elif head.startswith(b"\x01vorbis"):
        rate_hz, skip = int.from_bytes(head[12:16], "little"), 0
    else:
        return None
    starts_at_zero = granules[0] <= MAX_START_S * rate_hz
    num_samples = granules[-1] - (skip if starts_at_zero else granules[0])
    return max(num_samples, 0) / rate_hz if rate_hz else None


_XING = re.compile(rb"Xing|Info")
_MPEG_RATES_HZ = (44_100, 48_000, 32_000, 0)


def _walk_mp3(data: bytes) -> float | None:
    """Read the frame count of a Xing or Info tag in the first frame, less what LAME says was added at both ends."""
    found = _XING.search(data, 0, 44)
    if not found or len(data) < found.start() + 144 or not data[found.end() + 3] & 1:
        return None
    # ISO 11172-3, 2.4.2.3: version 3 is MPEG-1, 2 MPEG-2 at half the rate, 0 MPEG-2.5 at a quarter.
    version, rate_index = data[1] >> 3 & 3, data[2] >> 2 & 3
    rate_hz = _MPEG_RATES_HZ[rate_index] >> {3: 0, 2: 1}.get(version, 2)
    num_frames = int.from_bytes(data[found.end() + 4 : found.end() + 8])
    trim = int.from_bytes(data[found.start() + 141 : found.start() + 144])  # delay and padding, 12 bits each
    num_samples = num_frames * (1152 if version == 3 else 576) - (trim >> 12) - (trim & 0xFFF)
    return max(num_samples, 0) / rate_hz if rate_hz else None


_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"udta", b"uuid", b"meta", b"moof", b"mfra"}
    | {b"styp", b"sidx", b"ssix", b"prft", b"pdin", b"emsg", b"imda", b"PICT"}
)
"""What stands at the top of an MP4; ISO 14496-12, table 1, and QuickTime."""


def _walk_mp4(data: bytes) -> None:
    """Hold each box against what is there.  Behind all that the clip needs may stand what is no box at all."""
    place, has_index = 0, False
    for _ in range(MAX_BLOCKS):
        if place + 16 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, place)
        if size == 1:
            size = struct.unpack_from(">Q", data, place + 8)[0]
        if size < 8 or min(name) < 32:  # 0 means to the end; otherwise what follows is not MP4
            return
        if has_index and name not in _BOXES:
            return
        if place + size > len(data):
            raise _cut_short("MP4", len(data), place + size)
        has_index = has_index or name == b"moov"
        place += size
    raise _too_many("MP4")


def _walk_matroska(data: bytes) -> None:
    """Hold the segment against its size; all ones there mean a live stream of unknown length."""
    place = 4
    for name in (_EBML, _SEGMENT):
        if data[place - 4 : place] != name or place >= len(data) or not data[place]:
            return
        width = 9 - data[place].bit_length()
        size = int.from_bytes(data[place : place + width]) & ((1 << 7 * width) - 1)
        place += width
        if size == (1 << 7 * width) - 1:
            return
        if place + size > len(data):
            raise _cut_short("Matroska", len(data), place + size)
        place += size + 4 if name == _EBML else 0


_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def _walk_avi(data: bytes) -> None:
    declared = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < declared < UNKNOWN_BYTES:
        raise _cut_short("AVI", len(data), declared)


def _walk_program_stream(data: bytes) -> None:
    """Follow the packets of an MPEG program stream (ISO 13818-1, 2.5.3): the last one must be whole."""
    place = 0
    while place + 6 <= len(data) and data[place : place + 3] == b"\0\0\1":
        code = data[place + 3]
        if code == _PS_END:
            return
        if code == _PS_PACK:
            is_mpeg2 = place + 14 <= len(data) and data[place + 4] >> 6 == 1
            place += 14 + (data[place + 13] & 7) if is_mpeg2 else 12
        elif code > _PS_PACK:
            size = int.from_bytes(data[place + 4 : place + 6])
            place += 6 + size
            if place > len(data):
                raise _cut_short("MPEG-PS", len(data), place)
        else:
            return


_PS_PACK, _PS_END = 0xBA, 0xB9


def _cut_short(kind: str, there: int, declared: int) -> MediaError:
    return MediaError(f"{kind} ends at {100 * there // declared} % of the length that its header declares")


def _too_many(kind: str) -> MediaError:
    return MediaError(f"{kind} of more parts than any real file", advice="save it again")


_WALKS: dict[str, Callable[[bytes], float | None]] = {
    "WAV": _walk_wav,
    "AIFF": _walk_aiff,
    "W64": _walk_w64,
    "NIST SPHERE": _walk_nist,
    "AU": _walk_au,
    "CAF": _walk_caf,
    "Ogg": _walk_ogg,
    "Ogg video": _walk_ogg,
    "MP3": _walk_mp3,
    "MP4": _walk_mp4,
    "Matroska": _walk_matroska,
    "AVI": _walk_avi,
    "MPEG-PS": _walk_program_stream,
}

"""What bytes really are, whatever their name says: content types by magic number.

Enters: the first bytes of a medium.  Leaves: a short name such as 'JPEG' or 'WAV', for routing to a
decoder and for messages ('is an HTML page, not an image').
Source: the signatures of each format's own specification, and the WHATWG MIME Sniffing Standard.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from sensorium.core import text_file
from sensorium.media.beginning import behind_tags, first_frame, is_transport

IMAGES = frozenset({"JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP"})
SOUNDS = frozenset({"WAV", "W64", "FLAC", "Ogg", "AIFF", "AU", "CAF", "NIST SPHERE"})
OTHER_IMAGES = frozenset(
    {"AVIF", "HEIC", "JPEG XL", "JPEG 2000", "an icon", "a Photoshop file", "an SVG drawing", "a Netpbm picture"}
    | {"an OpenEXR picture", "a QOI picture", "a DICOM file"}
)
FILMS = frozenset({"MP4", "Matroska", "ASF", "MPEG-PS", "MPEG-TS", "AVI", "FLV", "Ogg video"})
"""Containers that may hold moving pictures; each may hold sound alone, too."""
CONTAINERS = FILMS | {"MP3", "AAC", "AMR"}
RAW_FILMS = frozenset(
    {"raw H.264 video", "raw HEVC video", "raw VVC video", "raw MPEG-4 video", "raw MPEG-1 or MPEG-2 video"}
    | {"raw AV1 video", "raw DV video", "raw Y4M video", "an IVF file", "an MXF file", "RealMedia"}
)
"""Moving pictures that are not read here, most because they do not say when each picture appears."""
OTHER_SOUNDS = frozenset(
    {"Creative Voice", "IRCAM sound", "PARIS sound", "8SVX", "Portable Voice", "AVR sound", "WavPack", "Shorten"}
    | {"Monkey's Audio", "True Audio", "Musepack", "DSD sound", "AC-3", "LOAS", "RealMedia", "MIDI notes"}
)

HEAD = 4096  # bytes of a file that tell its kind, behind its tags

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b".snd", "AU"),
    (b"caff", "CAF"),
    (b"\x1aE\xdf\xa3", "Matroska"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
    (b"\0\0\x01\xba", "MPEG-PS"),
    (b"FLV\x01", "FLV"),
    (b"#!AMR", "AMR"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"7z\xbc\xaf", "a 7-zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet table"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\x01\0", "an icon"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "W64"),
    (b"NIST_1A\n", "NIST SPHERE"),
    (b"Creative Voice File\x1a", "Creative Voice"),
    (b" paf\0", "PARIS sound"),
    (b"fap ", "PARIS sound"),
    (b"PVF1\n", "Portable Voice"),
    (b"2BIT", "AVR sound"),
    (b"\x64\xa3", "IRCAM sound"),
    (b"wvpk", "WavPack"),
    (b"ajkg", "Shorten"),
    (b"MAC \x96\x0f", "Monkey's Audio"),
    (b"TTA1\x01\0", "True Audio"),
    (b"MPCK", "Musepack"),
    (b"MP+\x07", "Musepack"),
    (b"MP+\x17", "Musepack"),
    (b"DSD \x1c\0", "DSD sound"),
    (b"FRM8", "DSD sound"),
    (b"\x0b\x77", "AC-3"),
    (b"MThd", "MIDI notes"),
    (b".RMF", "RealMedia"),
    (b"DKIF\0\0", "an IVF file"),
    (b"YUV4MPEG2 ", "raw Y4M video"),
    (b"\x12\0\x0a", "raw AV1 video"),
    (b"\x1f\x07\0", "raw DV video"),
    (b"\x06\x0e\x2b\x34", "an MXF file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"qoif", "a QOI picture"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (text_file.LFS_POINTER, "a Git LFS pointer, its content was never fetched"),
)

_RIFF = {b"WAVE": "WAV", b"WEBP": "WebP", b"AVI ": "AVI"}
_FTYP_IMAGES = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}


_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"sidx", b"moof"})


class Sniffed(NamedTuple):
    """What bytes are, and where that begins: behind tags and junk."""

    kind: str
    start: int


def content_type(data: bytes) -> str:
    """Name what `data` begins as: a member of IMAGES, SOUNDS or CONTAINERS, or words such as 'an HTML page'.

    Never raises; bytes that nothing claims are 'unknown bytes'.  See `sniffed`.
    """
    return sniffed(data).kind


def sniffed(data: bytes) -> Sniffed:
    """Name what `data` is, and say where it begins.

    Only `HEAD` bytes matter, behind tags; where nothing claims them, frames of a sound or a clip are looked for.
    """
    if not data:
        return Sniffed("empty", 0)
    start = behind_tags(data)
    if start >= len(data):
        return Sniffed("MP3", 0)  # tags alone, as far as can be seen
    kind = _named(data[start : start + HEAD])
    if kind in (_UNKNOWN, _ZEROS):
        kind, start = first_frame(data, start) or ("MP3" if start else kind, start)
    return Sniffed(kind, start)


def cure(kind: str, known: frozenset[str]) -> str:
    """Say what to do with a medium of a kind that is not among the known ones."""
    if kind in RAW_FILMS and known <= FILMS:
        return "put it into a container that says when its pictures appear: ffmpeg -i FILE FILE.mp4"
    if kind in OTHER_SOUNDS:
        return "turn it into a WAV: ffmpeg -i FILE FILE.wav"
    return f"save it as one of {', '.join(sorted(known))}"


def _named(head: bytes) -> str:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return _ogg(head) if name == "Ogg" else name
    return _chunked(head) or _headerless(head) or _raw_video(head) or _patterned(head) or _textual(head)


def _ogg(head: bytes) -> str:
    """Tell pictures by the first packets of the streams, whose pages come before all others (RFC 3533, 4)."""
    place = 0
    while head[place : place + 4] == b"OggS" and place + 27 < len(head) and head[place + 5] & 2:
        start = place + 27 + head[place + 26]
        if head[start : start + 7] in _OGG_PICTURES:
            return "Ogg video"
        place = start + sum(head[place + 27 : start])
    return "Ogg"


_OGG_PICTURES = frozenset({b"\x80theora", b"OVP80\x01\x01"})


def _chunked(data: bytes) -> str | None:
    if data[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return _RIFF.get(data[8:12], "a RIFF file of unknown kind")
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if data[:4] == b"FORM" and data[8:12] in (b"8SVX", b"16SV"):
        return "8SVX"
    if data[4:8] == b"ftyp":
        return _FTYP_IMAGES.get(data[8:12], "MP4")
    if data[4:8] in _QUICKTIME and data[0] < 9:  # before 2001 without ftyp; a length first, never a letter
        return "MP4"
    if any(is_transport(data, place, size, 3) for place, size in ((0, 188), (4, 192), (0, 204))):
        return "MPEG-TS"
    # 'BM' alone begins many texts; the header length that follows settles it.
    if data[:2] == b"BM" and data[14:18] in _BMP_HEADERS:
        return "BMP"
    return None


_BMP_HEADERS = frozenset(length.to_bytes(4, "little") for length in (12, 16, 40, 52, 56, 64, 108, 124))


def _headerless(data: bytes) -> str | None:
    """Tell MPEG audio by its frame header (ISO 11172-3, 2.4.1.3): sync, then layer; layer 0 is ADTS."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    layer, version = data[1] >> 1 & 3, data[1] >> 3 & 3
    if layer == 0:
        return "AAC" if data[1] & 0xF6 == 0xF0 else None
    is_valid = version != 1 and data[2] >> 4 != 15 and data[2] >> 2 & 3 != 3
    return "MP3" if is_valid else None


_START_CODE = re.compile(rb"\0{2,8}\x01(..)", re.DOTALL)
_H264 = frozenset({0x06, 0x09, 0x27, 0x47, 0x67})  # first bytes of parameter sets, delimiters and messages
_HEVC = frozenset({0x40, 0x42, 0x44, 0x46, 0x4E})
_VVC = frozenset({0x71, 0x79, 0xA1})
_MPEG = {0xB3: "raw MPEG-1 or MPEG-2 video", 0xB0: "raw MPEG-4 video", 0xB5: "raw MPEG-4 video"}


def _raw_video(head: bytes) -> str | None:
    """Tell streams of pictures by what stands behind their first start code (ISO 14496-10, annex B, and kin)."""
    found = _START_CODE.match(head)
    if not found:
        return None
    first, second = found[1]
    if first in _HEVC and second == 1:
        return "raw HEVC video"
    if first == 0 and second in _VVC:
        return "raw VVC video"
    return "raw H.264 video" if first in _H264 else _MPEG.get(first)


_PATTERNS = (
    (re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s|P7\nWIDTH|P[Ff]\s\d+\s+\d+\s"), "a Netpbm picture"),
    (re.compile(rb".{128}DICM", re.DOTALL), "a DICOM file"),
    (re.compile(rb"\x56[\xe0-\xff]"), "LOAS"),
)


def _patterned(head: bytes) -> str | None:
    return next((name for pattern, name in _PATTERNS if pattern.match(head)), None)


_UNKNOWN, _ZEROS = "unknown bytes", "nothing but zero bytes"


def _textual(head: bytes) -> str:
    if not any(head):
        return _ZEROS
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text_file.PAGE.match(start):
        return "an HTML page"
    if re.search(rb"<svg[\s>]", start):
        return "an SVG drawing"
    if start.startswith(b"<?xml"):
        return "an XML document"
    if re.match(rb"[{\[]\s*[\"{\[\]}\d]", start):
        return "JSON"
    return "text" if _is_text(head) else _UNKNOWN


def _is_text(head: bytes) -> bool:
    try:
        text, _ = codecs.utf_8_decode(head, "strict", False)  # a character cut off at the end is no fault
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character >= " " or character in "\t\n\r\f\x1b" for character in text)

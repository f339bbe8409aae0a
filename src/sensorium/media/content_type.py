"""What bytes really are, whatever their name says: content types by magic number.

Enters: the first bytes of a medium.  Leaves: a short name such as 'JPEG' or 'WAV', for routing to a
decoder and for messages ('is an HTML page, not an image').
Source: the signatures of each format's own specification, and the WHATWG MIME Sniffing Standard.
"""

from __future__ import annotations

import codecs
import re

IMAGES = frozenset({"JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP"})
SOUNDS = frozenset({"WAV", "FLAC", "Ogg", "AIFF", "AU", "CAF"})
OTHER_IMAGES = frozenset({"AVIF", "HEIC", "JPEG XL", "JPEG 2000", "an icon", "a Photoshop file", "an SVG drawing"})
CONTAINERS = frozenset({"MP3", "MP4", "Matroska", "AAC", "ASF", "MPEG-PS", "MPEG-TS", "AVI", "FLV", "AMR"})
FILMS = frozenset({"MP4", "Matroska", "ASF", "MPEG-PS", "MPEG-TS", "AVI", "FLV"})
"""Containers that may hold moving pictures; each may hold sound alone, too."""

HEAD = 4096  # bytes of a file that `content_type` looks at

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
    (b"ID3", "MP3"),
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
    (b"version https://git-lfs.github.com", "a Git LFS pointer, its content was never fetched"),
)

_RIFF = {b"WAVE": "WAV", b"WEBP": "WebP", b"AVI ": "AVI"}
_FTYP_IMAGES = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}


def content_type(data: bytes) -> str:
    """Name what `data` begins as: a member of IMAGES, SOUNDS or CONTAINERS, or words such as 'an HTML page'.

    Only the first `HEAD` bytes matter.  Never raises; bytes that nothing claims are 'unknown bytes'.
    """
    if not data:
        return "empty"
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    return _chunked(data) or _headerless(data) or _textual(data[:HEAD])


def _chunked(data: bytes) -> str | None:
    if data[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return _RIFF.get(data[8:12], "a RIFF file of unknown kind")
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if data[4:8] == b"ftyp":
        return _FTYP_IMAGES.get(data[8:12], "MP4")
    if data[:1] == b"G" and data[188:189] == b"G" and data[376:377] == b"G":
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


def _textual(head: bytes) -> str:
    if not any(head):
        return "nothing but zero bytes"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<!doctype html|<html|<head|<body|<script|<!--", start):
        return "an HTML page"
    if re.search(rb"<svg[\s>]", start):
        return "an SVG drawing"
    if start.startswith(b"<?xml"):
        return "an XML document"
    if re.match(rb"[{\[]\s*[\"{\[\]}\d]", start):
        return "JSON"
    return "text" if _is_text(head) else "unknown bytes"


def _is_text(head: bytes) -> bool:
    try:
        text, _ = codecs.utf_8_decode(head, "strict", False)  # a character cut off at the end is no fault
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character >= " " or character in "\t\n\r\f\x1b" for character in text)

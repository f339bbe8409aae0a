"""Bad media by the dozen: each a name, a reader, what to read, and words its error must contain.

`build` makes them in a folder.  Run as a script, this reads them all in one process and prints, for
each, what happened, CPU seconds and the process's peak memory, as JSON lines.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import sys
import time
import traceback
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from sensorium.core.errors import MediaError
from sensorium.core.types import Media
from sensorium.media.audio import read_audio
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy

RATE_HZ = 16_000


@dataclass(frozen=True)
class Case:
    name: str
    modality: str
    media: Media
    words: str
    policy: MediaPolicy = field(default_factory=MediaPolicy)


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(1, 256, (97, 83, 3), dtype=np.uint8)
    return Image.fromarray(values)


def image_bytes(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def tone(seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).standard_normal(len(times))
    return (0.4 * np.sin(2 * np.pi * 440 * times) + 0.02 * noise).astype(np.float32)


def sound_bytes(kind: str, samples: np.ndarray | None = None, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone() if samples is None else samples, RATE_HZ, format=kind, subtype=subtype)
    return buffer.getvalue()


def container_bytes(path: Path, kind: str, codec: str, rate_hz: int = RATE_HZ, **options: str) -> bytes:
    """Encode a tone with FFmpeg; it wants a real file to seek in."""
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(1.0, rate_hz)[None], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path.read_bytes()


def wav(rate: int = RATE_HZ, channels: int = 1, bits: int = 16, tag: int = 1, size: int | None = None) -> bytes:
    data = (tone() * 32767).astype("<i2").tobytes()
    align = channels * bits // 8 & 0xFFFF
    header = struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data"
    body += struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *before: bytes, pixels: bytes | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes((width + 1) * height) if pixels is None else pixels)
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(*tags: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """One directory of (tag, type, count, value or offset) entries at byte 8, then `tail`."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail


def overlapping_tags() -> bytes:
    return tiff(*((tag, 1, 1_000_000, 8) for tag in range(40_000, 41_000)), tail=bytes(1_000_000))


def tiff_of(width: int, height: int) -> bytes:
    return tiff(
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 16),
    )  # fmt: skip


def jpeg_with(*segments: tuple[int, bytes], junk: bytes = b"") -> bytes:
    data = image_bytes("JPEG")
    extra = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return data[:2] + extra + junk + data[2:]


def many_scans() -> bytes:
    """A 3000 x 3000 progressive JPEG whose second scan comes a thousand times over."""
    data = image_bytes("JPEG", Image.new("L", (3000, 3000)), progressive=True)
    first = data.find(b"\xff\xda")
    second = data.find(b"\xff\xda", first + 2)
    third = data.find(b"\xff\xda", second + 2)
    return data[:second] + data[second:third] * 1000 + data[third:]


def webp_of(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + b"VP8 " + bytes(4)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flipped(data: bytes, place: int, count: int = 1) -> bytes:
    changed = bytearray(data)
    for i in range(place, place + count):
        changed[i] ^= 0x5A
    return bytes(changed)


def flac_declaring(rate: int | None = None, num_samples: int | None = None, seconds: float = 1.0) -> bytes:
    """Rewrite STREAMINFO: 20 bits of rate, 8 of format, 36 of total samples, from byte 18."""
    data = bytearray(sound_bytes("FLAC", np.zeros(round(seconds * RATE_HZ), np.float32) if seconds > 1 else None))
    bits = int.from_bytes(data[18:26])
    if rate is not None:
        bits = bits & ((1 << 44) - 1) | rate << 44
    if num_samples is not None:
        bits = bits >> 36 << 36 | num_samples
    data[18:26] = bits.to_bytes(8)
    return bytes(data)


def in_memory(name: str, modality: str, data: bytes, words: str) -> Case:
    return Case(name, modality, Media(data=data), words)


def truncated(folder: Path) -> list[Case]:
    images = {
        "jpeg": image_bytes("JPEG"),
        "progressive": image_bytes("JPEG", progressive=True),
        "png": image_bytes("PNG"),
        "webp": image_bytes("WEBP"),
        "gif": image_bytes("GIF"),
        "tiff": image_bytes("TIFF"),
        "tiff_lzw": image_bytes("TIFF", compression="tiff_lzw"),
        "tiff_jpeg": image_bytes("TIFF", compression="jpeg"),
        "bmp": image_bytes("BMP"),
    }
    sounds = {
        "wav": sound_bytes("WAV"),
        "wav_float": sound_bytes("WAV", subtype="FLOAT"),
        "rf64": sound_bytes("RF64"),
        "flac": sound_bytes("FLAC"),
        "vorbis": sound_bytes("OGG"),
        "opus": sound_bytes("OGG", subtype="OPUS"),
        "aiff": sound_bytes("AIFF"),
        "au": sound_bytes("AU"),
        "caf": sound_bytes("CAF"),
        "w64": sound_bytes("W64"),
        "nist": sound_bytes("NIST"),
        "id3_flac": b"ID3\4\0\0\0\0\0\x10" + bytes(16) + sound_bytes("FLAC"),
        "m4a": container_bytes(folder / "t.mp4", "mp4", "aac"),
        "m4a_fast": container_bytes(folder / "f.mp4", "mp4", "aac", movflags="faststart"),
        "webm": container_bytes(folder / "t.webm", "webm", "libopus", 48_000),
        "adts": container_bytes(folder / "t.aac", "adts", "aac"),
        "avi": container_bytes(folder / "t.avi", "avi", "mp3"),
        "flv": container_bytes(folder / "t.flv", "flv", "aac"),
    }
    words = "ends|cut short|header|cannot be decoded|lies beyond"
    cases = []
    for modality, files in (("image", images), ("audio", sounds)):
        for name, data in files.items():
            for percent in (1, 50, 99):
                part = data[: len(data) * percent // 100]
                cases.append(in_memory(f"{name} cut at {percent} %", modality, part, words))
    mp3 = sound_bytes("MP3")
    cases += [
        in_memory("mp3 cut at 1 %", "audio", mp3[: len(mp3) // 100], "cannot be decoded"),
        in_memory("mp3 cut at 50 %", "audio", mp3[: len(mp3) // 2], "MP3 ends at [34]. %"),
        in_memory("png without its last byte", "image", images["png"][:-1], "last chunk is missing"),
    ]
    return cases


def wrong_kinds() -> list[Case]:
    rng = random.Random(0)
    zip_file = b"PK\x03\x04" + rng.randbytes(500)
    contents = {
        "zero bytes": (b"", "is empty"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        "html after space": (b"\xef\xbb\xbf\n <html>", "an HTML page"),
        "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        "zip": (zip_file, "a zip archive"),
        "pdf": (b"%PDF-1.7\n" + rng.randbytes(100), "a PDF"),
        "json": (b'{"error": "not found"}', "JSON"),
        "text": (b"just a caption\n", "is text"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        "random bytes": (b"\x07" + rng.randbytes(5000), "unknown bytes"),
        "zeros": (bytes(5000), "nothing but zero bytes"),
        "one byte": (b"\xff", "unknown bytes"),
        "ico": (b"\0\0\1\0\1\0" + bytes(60), "an icon"),
    }
    cases = [
        in_memory(f"{name} as {modality}", modality, data, words)
        for name, (data, words) in contents.items()
        for modality in ("image", "audio")
    ]
    return [
        *cases,
        in_memory("wav as image", "image", wav(), "is WAV, not an image"),
        in_memory("png as sound", "audio", image_bytes("PNG"), "is PNG, not a sound"),
        in_memory("avif", "image", b"\0\0\0\x20ftypavif" + bytes(50), "an image format that is not read"),
        in_memory("m3u playlist", "audio", b"#EXTM3U\nhttp://example.com/a.ts\n", "is text, not a sound"),
        in_memory("concat script", "audio", b"ffconcat version 1.0\nfile /etc/passwd\n", "is text, not a sound"),
    ]


def damaged_images() -> list[Case]:
    plain_png, jpeg, webp = image_bytes("PNG"), image_bytes("JPEG"), image_bytes("WEBP")
    data_start = plain_png.find(b"IDAT") + 4
    data_end = data_start + struct.unpack(">I", plain_png[data_start - 8 : data_start - 4])[0]
    rng = random.Random(1)
    short_pixels = png(50, 50, pixels=bytes(51 * 20))
    palette = image_bytes("GIF")
    floats = image_bytes("TIFF", Image.fromarray(np.full((4, 4), 2.5, np.float32)))
    nans = image_bytes("TIFF", Image.fromarray(np.full((4, 4), np.nan, np.float32)))
    negative = image_bytes("TIFF", Image.fromarray(np.full((4, 4), -1, np.int32)))
    files = {
        "png with a wrong checksum": (flipped(plain_png, data_end), "checksum of its IDAT"),
        "png with corrupt data": (flipped(plain_png, data_start + 500), "checksum of its IDAT"),
        "png with a corrupt header": (flipped(plain_png, 18), "checksum of its IHDR"),
        "png with too few rows": (short_pixels, "PNG ends at 40 % of its rows"),
        "png of no width": (png(0, 5), "PNG|no pixels"),
        "png header alone": (plain_png[:8], "PNG"),
        "jpeg header and noise": (jpeg[:200] + rng.randbytes(3000), "JPEG"),
        "jpeg start alone": (b"\xff\xd8\xff", "JPEG"),
        "webp of noise": (webp[:30] + rng.randbytes(len(webp) - 30), "WebP"),
        "webp with a lying length": (webp[:4] + b"\xff\xff\xff\x7f" + webp[8:], "WebP ends at 0 %"),
        "gif of noise": (palette[:30] + rng.randbytes(2000), "GIF|pixels"),
        "gif without a picture": (palette[:13] + b";", "GIF"),
        "tiff of noise": (b"II*\0" + rng.randbytes(2000), "TIFF"),
        "tiff whose directory is itself": (b"II*\0\4\0\0\0" + bytes(50), "TIFF"),
        "tiff with pixels far away": (
            tiff_of(40, 40).replace(struct.pack("<I", 8), b"\xff\xff\xff\x7f", 2),
            "TIFF",
        ),
        "bmp of noise": (image_bytes("BMP")[:18] + rng.randbytes(3000), "BMP|pixels|one side"),
        "float pixels without a scale": (floats, "white level"),
        "float pixels that are NaN": (nans, "white level"),
        "negative pixels": (negative, "white level"),
    }
    return [in_memory(name, "image", data, words) for name, (data, words) in files.items()]


def image_bombs() -> list[Case]:
    zeros = bytes(70_000_000)
    text_bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(zeros, 9))
    profile_bomb = chunk(b"iCCP", b"a\0\0" + zlib.compress(zeros, 9))
    exif = b"Exif\0\0" + tiff(*((tag, 1, 60_000, 8) for tag in range(40_000, 40_400)))[:5000]
    gif = image_bytes("GIF")
    gif_start = 13 + (3 << (gif[10] & 7) + 1)
    comments = b"!\xfe" + b"\x01a" * 1_000_000 + b"\0"
    rle = bytearray(image_bytes("BMP", Image.new("P", (64, 64))))
    rle[30] = 1
    blocks = b"!\xf0" + b"\x01a" * 200_000 + b"\0"
    files = {
        "1 x 65535": (png(1, 65535), "one side is more than 200 times"),
        "65535 x 1": (png(65535, 1), "one side is more than 200 times"),
        "png bomb": (png(9000, 9000), "81,?000,?000|9000 x 9000 pixels"),
        "png bomb by header": (png(2**31 - 1, 2**31 - 1, pixels=b""), "more pixels|pixels, more than|PNG"),
        "png text bomb": (png(8, 8, text_bomb), "PNG cannot be decoded"),
        "png profile bomb": (png(8, 8, profile_bomb), "PNG"),
        "png of a million chunks": (png(8, 8, chunk(b"teSt", b"") * 500_000), "more chunks than any real file"),
        "gif bomb": (b"GIF89a\xff\xff\xff\xff\x00\x00\x00" + gif[gif_start:], "pixels, more than"),
        "gif of comments": (gif[:gif_start] + comments + gif[gif_start:], "more blocks before its picture"),
        "gif of tiny blocks": (gif[:gif_start] + blocks + gif[gif_start:], "more blocks before its picture"),
        "tiff bomb": (tiff_of(60_000, 60_000), "pixels"),
        "tiff of overlapping tags": (overlapping_tags(), "they overlap"),
        "webp bomb": (webp_of(16_384, 16_384), "16384 x 16384 pixels, more than"),
        "bmp bomb": (image_bytes("BMP")[:18] + struct.pack("<ii", 50_000, 50_000) + bytes(500), "more than|BMP"),
        "rle bmp": (bytes(rle) + bytes(2_000_000), "run-length BMP"),
        "jpeg of fill bytes": (jpeg_with(junk=b"\xff" * 5_000_000), "bytes of junk"),
        "jpeg of empty segments": (jpeg_with(*[(0xE5, b"")] * 500_000), "more segments than any real file"),
        "jpeg of a thousand scans": (many_scans(), "too many scans"),
        "jpeg with exif that overlaps": (jpeg_with((0xE1, exif + bytes(60_000))), "they overlap"),
    }
    return [in_memory(name, "image", data, words) for name, (data, words) in files.items()]


def damaged_sounds(folder: Path) -> list[Case]:
    spoiled = tone()
    spoiled[100] = np.nan
    endless = tone()
    endless[100] = np.inf
    vorbis = sound_bytes("OGG", tone(3))
    half = vorbis.find(b"OggS", len(vorbis) // 3)
    after = vorbis.find(b"OggS", half + 4)
    mp3 = container_bytes(folder / "d.mp3", "mp3", "libmp3lame", write_xing="0", id3v2_version="0")
    m4a = container_bytes(folder / "d.mp4", "mp4", "aac")
    long_wav = wav(rate=1000, size=0xFFFFFFFF) + bytes(16_000_000)
    short_aiff = sound_bytes("AIFF").replace(struct.pack(">I", 32_008), struct.pack(">I", 320_080))
    au_at_0_hz = sound_bytes("AU").replace(struct.pack(">I", RATE_HZ), bytes(4), 1)
    rng = random.Random(2)
    files = {
        "wav of NaN": (sound_bytes("WAV", spoiled, "FLOAT"), "NaN or infinite"),
        "wav of infinity": (sound_bytes("WAV", endless, "FLOAT"), "NaN or infinite"),
        "wav in another scale": (sound_bytes("WAV", tone() * 32768, "FLOAT"), "full scale is 1"),
        "wav at 0 Hz": (wav(rate=0), "sample rate of 0 Hz"),
        "wav at 1 Hz": (wav(rate=1), "the policy allows 1,000 to"),
        "wav at 4 GHz": (wav(rate=2**32 - 1), "WAV"),
        "wav of 0 channels": (wav(channels=0), "0 channels"),
        "wav of 65535 channels": (wav(channels=65_535), "WAV cannot be decoded"),
        "wav of 200 channels": (wav(channels=200), "200 channels; the policy allows 1 to 64"),
        "wav of 0 bits": (wav(bits=0), "WAV cannot be decoded"),
        "wav of an unknown codec": (wav(tag=0xABCD), "WAV cannot be decoded"),
        "wav of mp3": (wav(tag=0x55), "holds MPEG audio"),
        "wav ten times too short": (wav(size=320_000), "WAV ends at 10 %"),
        "wav without samples": (wav(size=0)[:44], "WAV without samples"),
        "wav without a data chunk": (wav()[:36], "WAV cannot be decoded"),
        "wav without anything": (wav()[:12], "WAV cannot be decoded"),
        "wav of two hours": (long_wav, "longer than the 1800 s"),
        "aiff ten times too short": (short_aiff, "AIFF ends at 10 %"),
        "au at 0 Hz": (au_at_0_hz, "AU header declares a sample rate of 0 Hz"),
        "flac at 0 Hz": (flac_declaring(rate=0), "FLAC cannot be decoded"),
        "flac twice too short": (flac_declaring(num_samples=32_000), "FLAC ends at 50 %"),
        "flac of years": (flac_declaring(num_samples=2**36 - 1), "longer than the 1800 s"),
        "flac bomb of unknown length": (flac_declaring(num_samples=0, seconds=3600), "longer than the 1800 s"),
        "flac with a flipped byte": (flipped(sound_bytes("FLAC"), 9000, 30), "FLAC is cut short or damaged"),
        "flac of noise": (sound_bytes("FLAC")[:60] + rng.randbytes(3000), "FLAC"),
        "vorbis with a flipped byte": (flipped(sound_bytes("OGG"), 5500, 5), "Ogg"),
        "vorbis without a page": (vorbis[:half] + vorbis[after:], "Ogg page . is missing"),
        "ogg of noise": (b"OggS" + rng.randbytes(3000), "Ogg"),
        "mp3 damaged in the middle": (flipped(mp3, len(mp3) // 2, 200), "MP3 is cut short or damaged"),
        "mp3 of noise": (b"ID3\4\0\0\0\0\0\0" + rng.randbytes(3000).replace(b"\xff", b"\0"), "MP3"),
        "mp4 without its index": (m4a[: m4a.find(b"moov") - 4], "MP4"),
        "mp4 of noise": (m4a[:40] + rng.randbytes(3000), "MP4"),
        "matroska of noise": (b"\x1aE\xdf\xa3" + rng.randbytes(3000), "Matroska"),
        "avi of noise": (b"RIFF\xb8\x0b\0\0AVI " + rng.randbytes(3000), "AVI"),
        "amr without samples": (b"#!AMR-WB\n", "AMR"),
    }  # fmt: skip
    return [in_memory(name, "audio", data, words) for name, (data, words) in files.items()]


def bad_paths(folder: Path) -> list[Case]:
    inside, outside = folder / "granted", folder / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(image_bytes("PNG"))
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "loop.png").symlink_to(inside / "loop.png")
    (inside / "page.jpg").write_bytes(b"<html><body>Not found</body></html>")
    (inside / "empty.wav").touch()
    (inside / "large.png").write_bytes(bytes(30_000_001))
    os.mkfifo(inside / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(inside)  # the name of a socket may have 107 bytes only
    listener.bind("socket")
    os.chdir(here)
    listener.close()
    granted = MediaPolicy(roots=(inside,))
    paths = {
        "html named .jpg": (inside / "page.jpg", "an HTML page, not an image"),
        "symlink out of the root": (inside / "link.png", "outside the granted folders"),
        "dots out of the root": (inside / ".." / "elsewhere" / "secret.png", "outside the granted folders"),
        "symlink to itself": (inside / "loop.png", "leads back to itself"),
        "fifo": (inside / "pipe", "named pipe"),
        "socket": (inside / "socket", "socket"),
        "folder": (inside, "is a folder"),
        "no such file": (inside / "nothing.png", "no such file"),
        "file below a file": (inside / "page.jpg" / "x.png", "no such file"),
        "name with NUL": (inside / "a\0b.png", "NUL"),
        "name too long": (inside / ("a" * 300), "name is too long"),
        "empty file": (inside / "empty.wav", "is empty"),
        "large file": (inside / "large.png", "more than the 2.,000,000"),
        "http url": (Path("https://example.com/a.jpg"), "remote address"),
        "s3 url": (Path("s3://bucket/a.jpg"), "remote address"),
        "file url": (Path("file:///etc/passwd"), "remote address"),
        "data url": (Path("data:image/png;base64,iVBORw0KGgo="), "remote address"),
    }
    cases = [Case(f"{name}, image", "image", Media(path=p), w, granted) for name, (p, w) in paths.items()]
    cases += [
        Case(f"{name}, audio", "audio", Media(path=p), w.removesuffix(", not an image"), granted)
        for name, (p, w) in paths.items()
    ]
    return [
        *cases,
        Case("endless device", "image", Media(path=Path("/dev/zero")), "is a device"),
        Case("null device", "audio", Media(path=Path("/dev/null")), "is a device"),
    ]


def build(folder: Path) -> list[Case]:
    parts = (
        truncated(folder),
        wrong_kinds(),
        damaged_images(),
        image_bombs(),
        damaged_sounds(folder),
        bad_paths(folder),
    )
    return [case for part in parts for case in part]


READERS = {"image": read_image, "audio": read_audio}


def peak_mib() -> float:
    # Not getrusage: its maximum is handed down by whoever started this process.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def current_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(case: Case) -> dict[str, object]:
    before = current_mib()
    start = time.process_time()
    try:
        READERS[case.modality](case.media, case.policy)
        what, text = "decoded", ""
    except MediaError as error:
        what, text = "MediaError", str(error)
    except BaseException:
        what, text = "escaped", traceback.format_exc()
    seconds = time.process_time() - start
    return {"name": case.name, "what": what, "text": text, "cpu_s": seconds, "mib": max(0.0, peak_mib() - before)}


if __name__ == "__main__":
    for name in ("image", "audio"):  # the first call of each imports its decoders
        READERS[name](Media(data=image_bytes("PNG") if name == "image" else wav()), MediaPolicy())
    for case in build(Path(sys.argv[1])):
        print(json.dumps(report(case)), flush=True)

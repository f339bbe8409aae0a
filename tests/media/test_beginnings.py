"""Sounds and clips that begin or end otherwise than by the book are read as FFmpeg reads them, or named truly."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from bad_media import RATE_HZ, container_bytes, sound_bytes, tone, wav
from filming import film

from sensorium.core.errors import MediaError
from sensorium.core.types import Media
from sensorium.media.audio import read_audio
from sensorium.media.content_type import CONTAINERS, FILMS, OTHER_SOUNDS, RAW_FILMS, SOUNDS, content_type
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video

POLICY = MediaPolicy()
ID3 = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
ID3_WITH_FOOTER = b"ID3\4\0\x10\0\0\0\x10" + bytes(16) + b"3DI\4\0\x10\0\0\0\x10"
LONG_ID3 = b"ID3\4\0\0\0\0\x7f\x7f" + bytes(0x3FFF)
APE = b"APETAGEX" + struct.pack("<III", 2000, 8, 0) + bytes(12)
JUNK = np.random.default_rng(0).integers(0, 255, 700, np.uint8).tobytes()
LIST = b"LIST\5\0\0\0INFOx\0"
EXTENSIBLE = "WAVEX"


def set_at(data: bytes, place: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, *values)
    return bytes(changed)


def page_checksum(page: bytes) -> int:
    """CRC-32 of an Ogg page (RFC 3533, 6): polynomial 0x04C11DB7, neither mirrored nor inverted."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc & 0x80000000 else crc << 1
    return crc


def without_end(data: bytes) -> bytes:
    """Take the mark of the end from the last page of an Ogg."""
    last = data.rfind(b"OggS")
    page = bytearray(data[last:])
    page[5] &= ~4
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", page_checksum(bytes(page)))
    return data[:last] + bytes(page)


def amr() -> bytes:
    return b"#!AMR\n" + (b"\x3c" + bytes(31)) * 50  # a second, 20 ms a frame


SOUND_FILES = {
    "FLAC behind ID3": lambda _: ID3 + sound_bytes("FLAC"),
    "FLAC behind a long ID3": lambda _: LONG_ID3 + sound_bytes("FLAC"),
    "WAV behind ID3": lambda _: ID3 + wav(),
    "Ogg behind ID3": lambda _: ID3 + sound_bytes("OGG"),
    "MP3 behind two ID3": lambda _: ID3 + ID3 + sound_bytes("MP3"),
    "MP3 behind ID3 with a footer": lambda _: ID3_WITH_FOOTER + sound_bytes("MP3"),
    "MP3 behind APE": lambda _: APE + bytes(2000) + sound_bytes("MP3"),
    "MP3 behind zeros": lambda _: bytes(9000) + sound_bytes("MP3"),
    "MP3 behind junk": lambda _: JUNK + sound_bytes("MP3"),
    "MP3 behind ID3 and zeros": lambda _: ID3 + bytes(500) + sound_bytes("MP3"),
    "AAC behind ID3": lambda folder: ID3 + container_bytes(folder / "a.aac", "adts", "aac"),
    "AAC behind junk": lambda folder: JUNK + container_bytes(folder / "a.aac", "adts", "aac"),
    "NIST SPHERE": lambda _: sound_bytes("NIST"),
    "NIST SPHERE, u-law": lambda _: sound_bytes("NIST", subtype="ULAW"),
    "W64": lambda _: sound_bytes("W64"),
    "RF64": lambda _: sound_bytes("RF64"),
    "AIFF": lambda _: sound_bytes("AIFF"),
    "AIFC": lambda _: sound_bytes("AIFF", subtype="FLOAT"),
    "AU": lambda _: sound_bytes("AU"),
    "CAF": lambda _: sound_bytes("CAF"),
    "Vorbis without end": lambda _: without_end(sound_bytes("OGG")),
    "Opus without end": lambda _: without_end(sound_bytes("OGG", subtype="OPUS")),
    "Opus": lambda _: sound_bytes("OGG", subtype="OPUS"),
    "AMR": lambda _: amr(),
    "WAV of size 0": lambda _: wav(size=0),
    "WAV of size 0 with a list behind": lambda _: wav(size=0) + LIST,
    "WAV of size 4294967295": lambda _: wav(size=0xFFFFFFFF),
    "WAV of size 2147483647": lambda _: wav(size=0x7FFFFFFF),
    "AU without a size": lambda _: set_at(sound_bytes("AU"), 8, ">I", 0xFFFFFFFF),
    "AU of size 0": lambda _: set_at(sound_bytes("AU"), 8, ">I", 0),
    "CAF without a size": lambda _: set_at(sound_bytes("CAF"), sound_bytes("CAF").find(b"data") + 4, ">q", -1),
    "RF64 of size 0": lambda _: set_at(sound_bytes("RF64"), sound_bytes("RF64").find(b"ds64") + 16, "<Q", 0),
    "AIFF through a pipe": lambda _: set_at(
        sound_bytes("AIFF"), sound_bytes("AIFF").find(b"SSND") + 4, ">I", 0x7F000008
    ),
    "WAV with chunks before": lambda _: wav()[:12] + LIST + b"JUNK\x1c\0\0\0" + bytes(28) + wav()[12:],
    "WAV of an extensible format": lambda _: sound_bytes(EXTENSIBLE),
    "Matroska": lambda folder: container_bytes(folder / "a.mka", "matroska", "aac"),
    "live WebM": lambda folder: container_bytes(folder / "a.webm", "webm", "libopus", 48_000, live="1"),
    "fragmented MP4": lambda folder: container_bytes(
        folder / "a.mp4", "mp4", "aac", movflags="frag_keyframe+empty_moov"
    ),
}
UNREAD_BY_FFMPEG = {"AU of size 0", "RF64 of size 0", "WAV of size 0 with a list behind"}
UNREAD_BY_FFMPEG |= {"MP3 behind APE", "MP3 behind zeros", "WAV behind ID3"}
UNTRIMMED_BY_FFMPEG = {"MP3 behind junk", "MP3 behind ID3 and zeros"}


def seconds_by_ffmpeg(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as file:
        return sum(frame.samples for frame in file.decode(audio=0)) / file.streams.audio[0].rate


@pytest.mark.parametrize("name", SOUND_FILES)
def test_sounds_last_as_long_as_ffmpeg_says(name, tmp_path):
    data = SOUND_FILES[name](tmp_path)
    right = 1.0 if name in UNREAD_BY_FFMPEG | UNTRIMMED_BY_FFMPEG else seconds_by_ffmpeg(data)
    found = len(read_audio(Media(data=data), POLICY, RATE_HZ)) / RATE_HZ
    assert found == pytest.approx(right, abs=0.1 if "MP3" in name or "AAC" in name else 0.01)
    assert right == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", SOUND_FILES)
def test_caps_hold_for_every_sound(name, tmp_path):
    data = SOUND_FILES[name](tmp_path)
    for policy, words in (
        (MediaPolicy(max_audio_seconds=0.5), r"lasts longer than the 0\.5 s"),
        (MediaPolicy(min_rate_hz=100_000), "sample rate of"),
        (MediaPolicy(max_audio_bytes=len(data) - 1, max_video_bytes=len(data) - 1), "bytes, more than"),
    ):
        with pytest.raises(MediaError, match=words):
            read_audio(Media(data=data), policy)


def test_what_stands_in_an_unsized_wav_is_read_as_it_is():
    sized, unsized = (read_audio(Media(data=wav(size=size)), POLICY) for size in (None, 0))
    np.testing.assert_array_equal(sized, unsized)


def test_a_wav_of_nothing_but_chunks_has_no_samples():
    with pytest.raises(MediaError, match="WAV without samples"):
        read_audio(Media(data=wav(size=0)[:44] + LIST), POLICY)


def test_an_ogg_that_ends_inside_a_page_is_cut_short():
    data = without_end(sound_bytes("OGG", tone(3)))
    with pytest.raises(MediaError, match="its last page is not whole"):
        read_audio(Media(data=data[:-7]), POLICY)


def test_shortened_nist_sphere_is_named():
    data = sound_bytes("NIST").replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00").replace(b"\0" * 24, b"", 1)
    with pytest.raises(MediaError, match=r"embedded-shorten-v2\.00', which is not read here \(turn it into a WAV"):
        read_audio(Media(data=data), POLICY)


def transport(packet_bytes: int, data: bytes) -> bytes:
    """Give each packet of 188 bytes 16 bytes of parity."""
    return b"".join(data[i : i + 188] + bytes(packet_bytes - 188) for i in range(0, len(data), 188))


def in_ogg(path) -> bytes:
    with av.open(str(path), "w", format="ogg") as file:
        stream = file.add_stream("libvpx", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = file.add_stream("libopus", rate=48_000, layout="mono")
        for i in range(24):
            picture = np.full((48, 64, 3), 20 + 8 * i, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(1.0, 48_000)[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        file.mux([*sound.encode(frame), *sound.encode(None)])
    return path.read_bytes()


def muxed(path, kind: str, codec: str = "libx264", **options: str) -> bytes:
    with av.open(str(path), "w", format=kind, options=options) as file:
        stream = file.add_stream(codec, rate=25, options={"g": "6"})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 8 * i, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path.read_bytes()


def without_ftyp(data: bytes) -> bytes:
    """A QuickTime file of before 2001; the places of its samples stay right behind a free box of equal size."""
    size = int.from_bytes(data[:4])
    return struct.pack(">I4s", size, b"free") + data[8:]


CLIP_FILES = {
    "MP4 with a tail": lambda folder: muxed(folder / "a", "mp4") + b"made by a camera, 2024",
    "MP4 with a short tail": lambda folder: muxed(folder / "a", "mp4") + b"\r\n",
    "MP4, index first, with a tail": lambda folder: muxed(folder / "a", "mp4", movflags="faststart") + JUNK,
    "fragmented MP4": lambda folder: muxed(folder / "a", "mp4", movflags="frag_keyframe+empty_moov"),
    "MOV": lambda folder: muxed(folder / "a", "mov"),
    "MOV without ftyp": lambda folder: without_ftyp(muxed(folder / "a", "mov")),
    "3GP": lambda folder: muxed(folder / "a", "3gp", "mpeg4"),
    "transport of 192 bytes": lambda folder: muxed(folder / "a", "mpegts", mpegts_m2ts_mode="1"),
    "transport of 204 bytes": lambda folder: transport(204, muxed(folder / "a", "mpegts", "mpeg2video")),
    "transport behind junk": lambda folder: JUNK[:100] + muxed(folder / "a", "mpegts"),
    "MPEG-PS": lambda folder: muxed(folder / "a", "mpeg", "mpeg1video"),
    "MJPEG AVI": lambda folder: muxed(folder / "a", "avi", "mjpeg"),
    "live WebM": lambda folder: muxed(folder / "a", "webm", "libvpx", live="1"),
    "live Matroska": lambda folder: muxed(folder / "a", "matroska", live="1"),
    "HEVC": lambda folder: muxed(folder / "a", "mp4", "libx265"),
    "Ogg video": lambda folder: in_ogg(folder / "a"),
}


@pytest.mark.parametrize("name", CLIP_FILES)
def test_clips_have_the_pictures_that_ffmpeg_finds(name, tmp_path):
    data = CLIP_FILES[name](tmp_path)
    with av.open(io.BytesIO(data)) as file:
        right = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    found = read_video(Media(data=data), POLICY)
    assert len(right) == len(found.time_N) == 24
    assert np.abs(found.frame_NHW3.astype(int) - right).max() <= 2


@pytest.mark.parametrize("name", CLIP_FILES)
def test_caps_hold_for_every_clip_before_it_is_decoded(name, tmp_path, monkeypatch):
    data = CLIP_FILES[name](tmp_path)
    monkeypatch.setattr("sensorium.media.video_track.Track.decode", lambda *_: pytest.fail("was decoded"))
    for policy, words in (
        (MediaPolicy(max_pixels=3000), "64 x 48 pixels, more than the 3,000"),
        (MediaPolicy(max_video_frames=23), "more than the 23 pictures"),
        (MediaPolicy(max_video_seconds=0.5), r"longer than the 0\.5 s"),
        (MediaPolicy(max_video_bytes=len(data) - 1), "bytes, more than"),
    ):
        with pytest.raises(MediaError, match=words):
            read_video(Media(data=data), policy)


@pytest.mark.parametrize("name", CLIP_FILES)
def test_the_cap_on_kept_pictures_holds_for_every_clip(name, tmp_path):
    with pytest.raises(MediaError, match="more than the 100,000 that the policy allows"):
        read_video(Media(data=CLIP_FILES[name](tmp_path)), MediaPolicy(max_clip_bytes=100_000))


def test_the_sound_of_an_ogg_video_is_read(tmp_path):
    assert len(read_audio(Media(data=in_ogg(tmp_path / "a")), POLICY)) / RATE_HZ == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_mp4_is_not_taken_for_whole_because_of_its_index(share, tmp_path):
    data = muxed(tmp_path / "a", "mp4", movflags="faststart")
    with pytest.raises(MediaError, match="MP4 ends at"):
        read_video(Media(data=data[: int(share * len(data))]), POLICY)


RAW = {
    "raw H.264 video": ("h264", "libx264"),
    "raw HEVC video": ("hevc", "libx265"),
    "raw MPEG-1 or MPEG-2 video": ("mpeg2video", "mpeg2video"),
    "raw MPEG-4 video": ("m4v", "mpeg4"),
    "an IVF file": ("ivf", "libvpx"),
}


@pytest.mark.parametrize("kind", RAW)
def test_streams_that_state_no_times_are_named(kind, tmp_path):
    data = muxed(tmp_path / "a", *RAW[kind])
    with pytest.raises(MediaError, match=f"is {kind}, which is not read here .put it into a container"):
        read_video(Media(data=data), POLICY)


@pytest.mark.parametrize(
    ("container", "kind"),
    [
        ("VOC", "Creative Voice"),
        ("IRCAM", "IRCAM sound"),
        ("PAF", "PARIS sound"),
        ("SVX", "8SVX"),
        ("AVR", "AVR sound"),
    ],
)
def test_other_sounds_are_named(container, kind):
    with pytest.raises(MediaError, match=f"is {kind}, which is not read here .turn it into a WAV"):
        read_audio(Media(data=sound_bytes(container)), POLICY)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"MAC addresses are six bytes long", "text"),
        (b"GGG is no transport stream " * 100, "text"),
        (b"Get free stuff, and skip the moov", "text"),
        (b"P5 is a letter and a digit", "text"),
        (b"P5\n# made by a camera\n4 3\n255\n" + bytes(12), "a Netpbm picture"),
        (b"P6 4 3 65535\n" + bytes(72), "a Netpbm picture"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_what_looks_like_a_medium_is_not_one(text, kind):
    assert content_type(text) == kind


def test_kinds_are_of_one_sort():
    assert not (SOUNDS | CONTAINERS) & (OTHER_SOUNDS | RAW_FILMS)
    assert FILMS <= CONTAINERS


def test_a_film_of_a_helper_is_still_a_film(tmp_path):
    assert content_type(film(tmp_path / "a.mp4", num=2).read_bytes()) == "MP4"

"""Golden samples for each declared sound policy, and lengths against what was written."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from bad_media import RATE_HZ, container_bytes, flac_declaring, sound_bytes, tone, wav

from sensorium.core.errors import MediaError
from sensorium.core.types import Media
from sensorium.media.audio import read_audio
from sensorium.media.policy import MediaPolicy

POLICY = MediaPolicy()


def read(data: bytes, rate_hz: int = RATE_HZ) -> np.ndarray:
    samples = read_audio(Media(data=data), POLICY, rate_hz)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    return samples


def test_16_bit_full_scale_is_one() -> None:
    values = np.array([0, 16384, -16384, 32767, -32768], np.int16)
    expected = np.array([0, 0.5, -0.5, 32767 / 32768, -1], np.float32)
    for kind in ("WAV", "AIFF", "AU", "CAF", "FLAC"):
        np.testing.assert_array_equal(read(sound_bytes(kind, values)), expected)


def test_8_and_24_bit_full_scale_is_one() -> None:
    np.testing.assert_allclose(read(sound_bytes("WAV", np.array([0.5, -0.5]), "PCM_U8")), [0.5, -0.5], atol=1 / 127)
    np.testing.assert_allclose(read(sound_bytes("WAV", np.array([0.5, -0.5]), "PCM_24")), [0.5, -0.5], atol=1e-6)


def test_channels_are_averaged() -> None:
    values = np.array([[0.5, 0.25], [-1.0, 1.0], [0.0, 0.5]], np.float32)
    np.testing.assert_array_equal(read(sound_bytes("WAV", values, "FLOAT")), np.float32([0.375, 0, 0.25]))


def test_overshoot_is_clipped_and_another_scale_refused() -> None:
    overshoot = np.array([0.5, 1.5, -2.0], np.float32)
    np.testing.assert_array_equal(read(sound_bytes("WAV", overshoot, "FLOAT")), np.float32([0.5, 1, -1]))


def test_blocks_join_to_the_whole() -> None:
    samples = tone(10.0)[:150_001]
    np.testing.assert_array_equal(read(sound_bytes("WAV", samples, "FLOAT")), samples)


def test_rate_is_changed_without_changing_the_tone() -> None:
    times = np.arange(8000) / 8000
    data = sound_bytes("WAV", np.sin(2 * np.pi * 440 * times).astype(np.float32) / 2, "FLOAT")
    data = data.replace(struct.pack("<I", RATE_HZ), struct.pack("<I", 8000), 1)
    result = read(data)
    assert len(result) == 16_000
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000) / 2
    np.testing.assert_allclose(result[200:-200], expected[200:-200], atol=1e-4)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_streamed_wav_of_unknown_length_is_read_to_its_end(size: int) -> None:
    assert len(read(wav(size=size))) == RATE_HZ


def test_streamed_flac_of_unknown_length_is_read_to_its_end() -> None:
    assert len(read(flac_declaring(num_samples=0))) == RATE_HZ


@pytest.mark.parametrize(
    ("kind", "subtype"), [("OGG", None), ("OGG", "OPUS"), ("FLAC", None), ("MP3", None), ("RF64", None)]
)
def test_length_and_waveform_survive_each_codec(kind: str, subtype: str | None) -> None:
    samples = tone()
    result = read(sound_bytes(kind, samples, subtype))
    assert len(result) == len(samples)
    assert np.corrcoef(result, samples)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("kind", "codec", "rate_hz"),
    [
        ("mp4", "aac", 16_000),
        ("adts", "aac", 16_000),
        ("matroska", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("ogg", "libopus", 48_000),
        ("mp3", "libmp3lame", 16_000),
        ("avi", "mp3", 16_000),
        ("flv", "aac", 16_000),
        ("mpegts", "aac", 16_000),
        ("asf", "mp2", 16_000),
    ],
)
def test_containers_keep_length_and_pitch(kind: str, codec: str, rate_hz: int, tmp_path: Path) -> None:
    result = read(container_bytes(tmp_path / "x", kind, codec, rate_hz))
    assert RATE_HZ - 1 <= len(result) <= RATE_HZ * 1.15
    power = np.abs(np.fft.rfft(result))
    assert np.argmax(power) * RATE_HZ / len(result) == pytest.approx(440, abs=2)


def test_eight_channels_through_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE_HZ, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.repeat(tone(), 8)[None], format="flt", layout="7.1")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert len(read(path.read_bytes())) >= RATE_HZ


def test_junk_behind_an_mp3_is_no_fault(tmp_path: Path) -> None:
    data = container_bytes(tmp_path / "x", "mp3", "libmp3lame", write_xing="0", id3v2_version="0")
    np.testing.assert_array_equal(read(data + bytes(range(256)) * 10), read(data))


def test_ffmpeg_and_libsndfile_agree(tmp_path: Path) -> None:
    data = container_bytes(tmp_path / "x", "mp3", "libmp3lame")
    (tmp_path / "x.mp3").write_bytes(data)
    samples, _ = soundfile.read(tmp_path / "x.mp3", dtype="float32")
    np.testing.assert_allclose(read(data), samples, atol=2e-3)


def test_caps_hold() -> None:
    with pytest.raises(MediaError, match=r"longer than the 0\.5 s"):
        read_audio(Media(data=wav()), MediaPolicy(max_audio_seconds=0.5))
    with pytest.raises(MediaError, match="more than the 1,000 that"):
        read_audio(Media(data=wav()), MediaPolicy(max_audio_bytes=1000))


def test_ffmpeg_gets_no_playlist_and_opens_no_file(tmp_path: Path) -> None:
    """A content type never leads to a demuxer that could follow names inside the file."""
    from sensorium.media.ffmpeg import DEMUXERS

    assert not {"hls", "concat", "dash", "image2", "sdp", "rtsp", "lavfi"} & set(DEMUXERS.values())


def data_folder() -> Path:
    return Path(os.environ.get("SENSORIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_real_recordings() -> None:
    paths = sorted((data_folder() / "fsdd").glob("*.wav"))[:20]
    if not paths:
        pytest.skip("no spoken digits: set SENSORIUM_DATA")
    for path in paths:
        values, rate_hz = soundfile.read(path, dtype="float32")
        result = read_audio(Media(path=path), POLICY, rate_hz)
        np.testing.assert_array_equal(result, values)


def test_sound_of_a_real_video() -> None:
    paths = sorted((data_folder() / "grid").glob("*.mpg"))
    if not paths:
        pytest.skip("no talking faces: set SENSORIUM_DATA")
    assert len(read_audio(Media(path=paths[0]), POLICY)) == pytest.approx(3 * RATE_HZ, rel=0.02)

"""Clips: the right pictures, at the right times, and nothing untrusted believed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from filming import film, seen
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, MediaError
from sensorium.core.types import Media
from sensorium.media.audio import read_audio
from sensorium.media.bytes import digest
from sensorium.media.frame_choice import at_rate, evenly_spaced
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import clip_facts, read_video
from sensorium.media.video_track import Track

POLICY = MediaPolicy()


def media(path: Path, **changes: object) -> Media:
    return Media(path=path, **changes)


def all_frames(path: Path) -> tuple[np.ndarray, list[float]]:
    """Decode everything with PyAV alone: the oracle."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return np.stack([f.to_ndarray(format="rgb24") for f in frames]), [f.time for f in frames]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"codec": "libx264"}),
        ("a.mp4", {"codec": "libx264", "options": {"bf": "3", "b-adapt": "0"}}),
        ("a.mkv", {"codec": "libx264"}),
        ("a.webm", {"codec": "libvpx"}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.mpg", {"codec": "mpeg1video", "rate_hz": 25}),
        ("a.ts", {"codec": "libx264"}),
        ("a.flv", {"codec": "libx264"}),
    ],
)
def test_every_picture_of_every_container(tmp_path, name, options):
    path = film(tmp_path / name, **options)
    want, times = all_frames(path)
    clip = read_video(media(path), POLICY)
    assert len(clip.time_N) == 24
    assert np.abs(clip.frame_NHW3.astype(int) - want).max() <= 2
    # Some containers round times to a millisecond.
    np.testing.assert_allclose(clip.time_N, np.array(times) - times[0], atol=2e-3)
    assert clip.facts.num_frames == 24
    assert clip.facts.sound_start_s is None
    assert clip.facts.duration_s == pytest.approx(24 / options.get("rate_hz", 12), abs=0.01)


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts"])
@pytest.mark.parametrize("exact", [True, False])
def test_sought_pictures_are_those_that_decoding_everything_gives(tmp_path, name, exact):
    path = film(tmp_path / name, options={"bf": "2"}, keyint=6)
    clip = read_video(media(path), POLICY, num_frames=5, exact=exact)
    number = [round(t * 12) for t in clip.time_N]
    assert seen(clip.frame_NHW3) == number
    if exact:
        assert number == [2, 7, 12, 16, 21]  # the middles of five segments of 4.8 pictures
    else:
        assert set(number) & {6, 12, 18}, "a segment that has a keyframe gives it"
    assert all(4.8 * i <= n < 4.8 * (i + 1) for i, n in enumerate(number)), "one from each segment"


def test_only_what_is_wanted_is_decoded(tmp_path, monkeypatch):
    path = film(tmp_path / "c.mp4", num=24, keyint=4)
    counted = []
    original = Track._from_start
    monkeypatch.setattr(Track, "_from_start", lambda self, chosen: counted.append(1) or original(self, chosen))
    clip = read_video(media(path), POLICY, num_frames=6)
    assert seen(clip.frame_NHW3) == [0, 4, 8, 12, 16, 20]
    assert not counted, "it went by seeking"


def test_frames_at_a_rate_and_at_most_so_many(tmp_path):
    path = film(tmp_path / "d.mp4")
    clip = read_video(media(path), POLICY, rate_hz=4)
    assert seen(clip.frame_NHW3) == [0, 3, 6, 9, 12, 15, 18, 21]
    assert len(read_video(media(path), POLICY, rate_hz=1000).time_N) == 24, "no picture comes twice"
    assert len(read_video(media(path), POLICY, rate_hz=4, max_frames=3).time_N) == 3
    assert len(read_video(media(path), POLICY, num_frames=100).time_N) == 24


def test_variable_rate_goes_by_timestamps(tmp_path):
    ticks = [0, 10, 20, 30, 200, 210, 220, 230, 470]  # of 1/120 s: two long stills
    path = film(tmp_path / "e.mp4", num=len(ticks), ticks=ticks, keyint=3)
    clip = read_video(media(path), POLICY)
    np.testing.assert_allclose(clip.time_N, np.array(ticks) / 120, atol=1e-3)
    at_second = read_video(media(path), POLICY, rate_hz=1)
    assert seen(at_second.frame_NHW3) == [0, 3, 7]  # on screen at 0 s; at 1 s; at 2 and at 3 s


def test_scaled_turned_and_square_pixels(tmp_path):
    path = film(tmp_path / "f.mp4", size=(128, 96))
    assert read_video(media(path), POLICY, num_frames=2, fit=24).frame_NHW3.shape == (2, 24, 32, 3)
    assert read_video(media(path), POLICY, num_frames=2, fit=500).frame_NHW3.shape == (2, 96, 128, 3)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_pixels_that_are_not_square_become_squares(tmp_path, ending):
    path = film(tmp_path / f"wide.{ending}", size=(64, 48), aspect=Fraction(4, 3))
    assert read_video(media(path), POLICY, num_frames=2).frame_NHW3.shape[1:3] == (48, 85)
    assert read_video(media(path), POLICY, num_frames=2, fit=24).frame_NHW3.shape[1:3] == (24, 43)
    narrow = film(tmp_path / f"narrow.{ending}", size=(64, 48), aspect=Fraction(1, 2))
    assert read_video(media(narrow), POLICY, num_frames=2).frame_NHW3.shape[1:3] == (48, 32)
    absurd = film(tmp_path / f"absurd.{ending}", size=(64, 48), aspect=Fraction(100, 1))
    assert read_video(media(absurd), POLICY, num_frames=2).frame_NHW3.shape[1:3] == (48, 64)


def test_rotation_is_applied(tmp_path):
    """A picture dark on its left, noted as turned by 90 degrees: the display matrix in the MP4's track header."""
    path = tmp_path / "g.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 32:] = 255
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of header (ISO 14496-12, 8.3.2)
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    data[place : place + 36] = b"".join((x & 0xFFFFFFFF).to_bytes(4, "big") for x in matrix)
    clip = read_video(Media(data=bytes(data)), POLICY, num_frames=1)
    assert clip.frame_NHW3.shape == (1, 64, 48, 3)
    # A quarter turn clockwise brings the left side up.
    assert clip.frame_NHW3[0, :28].mean() < 20
    assert clip.frame_NHW3[0, 36:].mean() > 235


def test_a_span_is_a_clip_of_its_own(tmp_path):
    path = film(tmp_path / "h.mp4", sound_s=2.0)
    part = media(path, span_s=(0.5, 1.0))
    clip = read_video(part, POLICY)
    assert seen(clip.frame_NHW3) == [6, 7, 8, 9, 10, 11]
    np.testing.assert_allclose(clip.time_N, np.arange(6) / 12, atol=1e-3)
    assert seen(read_video(part, POLICY, num_frames=2, exact=True).frame_NHW3) == [7, 10]
    assert len(read_audio(part, POLICY, 16_000)) == 8_000
    assert digest(part) != digest(media(path))
    with pytest.raises(MediaError, match="has no pictures from 9 s on"):
        read_video(media(path, span_s=(9.0, 10.0)), POLICY)


@pytest.mark.parametrize("name", ["i.mp4", "i.mkv", "i.mpg"])
def test_sound_of_a_clip_and_clips_without_a_track(tmp_path, name):
    codec = {"codec": "mpeg1video", "rate_hz": 25} if name.endswith("mpg") else {}
    path = film(tmp_path / name, num=50, sound_s=2.0, **codec)
    sound_N = read_audio(media(path), POLICY, 16_000)
    assert len(sound_N) / 16_000 == pytest.approx(2.0, abs=0.15)
    spectrum = np.abs(np.fft.rfft(sound_N[4000:20000]))
    assert spectrum.argmax() == pytest.approx(440, abs=2)
    assert clip_facts(media(path), POLICY).sound_start_s == pytest.approx(0, abs=0.1)
    with pytest.raises(MediaError, match="without a sound track"):
        read_audio(media(film(tmp_path / f"silent{path.suffix}", **codec)), POLICY)
    if not codec:
        blind = film(tmp_path / f"blind{path.suffix}", pictures=False, sound_s=1.0)
        with pytest.raises(MediaError, match="without a picture track"):
            read_video(media(blind), POLICY)


@pytest.mark.parametrize(("name", "share"), [("j.mp4", 0.5), ("j.mkv", 0.9), ("j.avi", 0.6), ("j.mpg", 0.7)])
def test_truncated(tmp_path, name, share):
    codec = {"mpg": {"codec": "mpeg1video", "rate_hz": 25}, "avi": {"codec": "mpeg4"}}.get(name[2:], {})
    data = film(tmp_path / name, **codec).read_bytes()
    cut = Media(data=data[: int(len(data) * share)])
    with pytest.raises(MediaError, match="ends at|cut short|cannot be decoded|damaged"):
        read_video(cut, POLICY, num_frames=4)


def test_damaged_pictures_are_refused_or_whole(tmp_path):
    """Whatever bytes are flipped: a MediaError, or pictures of the right shape; never another exception."""
    data = film(tmp_path / "k.mp4", options={"bf": "2"}).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        bad = bytearray(data)
        for place in random.integers(40, len(data), 12):
            bad[place] ^= int(random.integers(1, 256))
        try:
            clip = read_video(Media(data=bytes(bad)), POLICY, num_frames=6, fit=16)
            assert clip.frame_NHW3.ndim == 4
        except MediaError:
            refused += 1
    assert refused > 5


def test_not_a_clip(tmp_path):
    with pytest.raises(MediaError, match="is text, not a clip"):
        read_video(Media(data=b"hello there"), POLICY)
    with pytest.raises(MediaError, match="no such file"):
        read_video(media(tmp_path / "none.mp4"), POLICY)
    with pytest.raises(ConfigError, match="not both"):
        read_video(Media(data=b"x"), POLICY, num_frames=2, rate_hz=2)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (MediaPolicy(max_pixels=1000), "64 x 48 pixels"),
        (MediaPolicy(max_video_seconds=1.5), "lasts longer than the 1.5 s"),
        (MediaPolicy(max_video_frames=20), "more than the 20 pictures"),
        (MediaPolicy(max_clip_bytes=10_000), "24 pictures of it take 221,184 bytes"),
        (MediaPolicy(max_video_bytes=1000), "bytes, more than the 1,000"),
    ],
)
def test_caps(tmp_path, policy, words):
    path = film(tmp_path / "l.mp4")
    with pytest.raises(MediaError, match=words) as caught:
        read_video(media(path), policy)
    assert "l.mp4" in str(caught.value)


def test_a_clip_s_sound_may_be_larger_than_a_sound_file(tmp_path):
    path = film(tmp_path / "m.mp4", sound_s=1.0)
    assert len(read_audio(media(path), MediaPolicy(max_audio_bytes=1000)))
    with pytest.raises(MediaError, match="bytes, more than"):
        read_audio(media(path), MediaPolicy(max_video_bytes=1000))


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=30), st.integers(1, 12), st.floats(0.1, 50), st.randoms())
def test_choice_by_brute_force(steps, num_frames, rate_hz, random):
    time_K = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    end_s = float(np.sum(steps))

    def shown(at_s: float) -> int:
        return max(k for k, t in enumerate(time_K) if t <= at_s or k == 0)

    want = {shown((i + 0.5) * end_s / num_frames + 5e-7) for i in range(num_frames)}
    assert set(evenly_spaced(time_K, end_s, num_frames).tolist()) == want
    is_key_K = np.array([True, *(random.random() < 0.3 for _ in steps[1:])])
    chosen = evenly_spaced(time_K, end_s, num_frames, is_key_K)
    assert list(chosen) == sorted(set(chosen))
    for k in set(chosen.tolist()) - want:
        assert is_key_K[k], "another picture than the middle one is a keyframe"
    found = at_rate(time_K, end_s, rate_hz)
    moments = [i / rate_hz + 5e-7 for i in range(len(time_K) * 300) if i / rate_hz < end_s - 1e-6 / rate_hz]
    if len(moments) < len(time_K) * 300:
        assert set(found.tolist()) == {shown(moment) for moment in moments}


def test_grid_clips_with_sound(reference_data):
    """Every picture of the GRID clips at its time, right to one frame, and as much sound as picture."""
    folder = reference_data / "grid"
    if not folder.is_dir():
        pytest.skip("no GRID clips in the reference data")
    for path in sorted(folder.glob("*.mpg")):
        want, times = all_frames(path)
        clip = read_video(media(path), POLICY)
        assert clip.frame_NHW3.shape == (75, 288, 360, 3)
        assert np.abs(clip.frame_NHW3.astype(int) - want).mean() < 1
        np.testing.assert_allclose(clip.time_N, np.arange(75) / 25, atol=1e-3)
        np.testing.assert_allclose(clip.time_N, np.array(times) - times[0], atol=1e-3)
        some = read_video(media(path), POLICY, num_frames=8)
        number = np.rint(some.time_N * 25).astype(int)
        assert np.array_equal(some.frame_NHW3, clip.frame_NHW3[number]), "sought pictures are the decoded ones"
        sound_s = len(read_audio(media(path), POLICY, 16_000)) / 16_000
        assert abs(sound_s - clip.facts.duration_s) <= 1 / 25
        assert abs(clip.facts.sound_start_s) <= 1 / 25

"""Parts of files: members of archives, ranges of bytes, seconds of sounds."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bad_media import container_bytes, image_bytes, sound_bytes, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import MediaError
from sensorium.core.types import Media
from sensorium.data.digests import DigestMemo
from sensorium.media.address import ending, media_at, range_of, with_range, with_span
from sensorium.media.archive import Member, find, members
from sensorium.media.audio import read_audio
from sensorium.media.bytes import digest, read_bytes
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy
from sensorium.media.resample import Resampler

RATE_HZ = 16_000
POLICY = MediaPolicy()
HERE = Path("here")


# ---- addresses


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a.jpg", Media(path=HERE / "a.jpg")),
        (" a.mp4#t=1.2,3.4 ", Media(path=HERE / "a.mp4", span_s=(1.2, 3.4))),
        ("a.mp4#t=1.2", Media(path=HERE / "a.mp4", span_s=(1.2, None))),
        ("a.mp4#t=,3", Media(path=HERE / "a.mp4", span_s=(0, 3))),
        ("a.mp4#t=npt:10,20", Media(path=HERE / "a.mp4", span_s=(10, 20))),
        ("a.tar::b/c.flac#t=1,2", Media(path=HERE / "a.tar", member="b/c.flac", span_s=(1, 2))),
        ("a.tar::b.jpg@512+20", Media(path=HERE / "a.tar", member="b.jpg@512+20")),
        ("/x/a#t=.mp4", Media(path=Path("/x/a#t=.mp4"))),
        ("a.mp4#t=", Media(path=HERE / "a.mp4#t=")),
    ],
)
def test_cells_name_media(cell, expected):
    assert media_at(cell, HERE) == expected


def test_a_file_that_is_called_so_comes_first(tmp_path):
    (tmp_path / "a::b#t=1,2").touch()
    assert media_at("a::b#t=1,2", tmp_path) == Media(path=tmp_path / "a::b#t=1,2")


def test_seconds_that_end_before_they_begin_are_refused():
    with pytest.raises(MediaError, match=r"'a\.wav#t=3,2': names the seconds 3 to 2"):
        media_at("a.wav#t=3,2", HERE)


@given(st.floats(0, 1e5), st.none() | st.floats(1e-3, 1e5))
def test_seconds_written_are_read_back(start_s, length_s):
    end_s = None if length_s is None else start_s + length_s
    found = media_at(with_span("a.wav", start_s, end_s), HERE).span_s or (0, None)
    assert found[0] == pytest.approx(start_s, abs=1e-6)
    assert (found[1] is None) == (end_s is None)
    assert end_s is None or found[1] == pytest.approx(end_s, abs=1e-6)


def test_ranges_and_endings():
    assert with_range("a.tar", "b.jpg", 512, 20) == "a.tar::b.jpg@512+20"
    assert range_of("b.jpg@512+20") == (512, 20)
    assert range_of("b@x.jpg") is None
    cells = ["a.JPG", "a.mp4#t=1.2,3.4", "a.tar::b.jpg@512+20", "a.tar::b.flac", "what is it?", "a.mp4#t=1.5"]
    assert [ending(cell) for cell in cells] == [".jpg", ".mp4", ".jpg", ".flac", "", ".mp4"]


# ---- archives


def tar(path: Path, files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_read_in_place(tmp_path, kind):
    long = "x" * (90 if kind == tarfile.USTAR_FORMAT else 300) + ".bin"
    files = {"a/photo.png": image_bytes("PNG"), long: os.urandom(700), "./é.bin": b"1"}
    path = tar(tmp_path / "a.tar", files, kind)
    with path.open("rb") as file:
        found = [member for member in members(file) if isinstance(member, Member)]
    assert [member.name for member in found] == list(files)
    for member in found:
        part = f"x@{member.offset}+{member.num_bytes}"
        for name in (part, member.name):
            assert read_bytes(Media(path=path, member=name), POLICY, 10**6) == files[member.name]
    assert read_bytes(Media(path=path, member="é.bin"), POLICY, 10) == b"1"
    assert read_image(Media(path=path, member="a/photo.png"), POLICY).shape == (97, 83, 3)
    expected = digest(Media(data=files["a/photo.png"]))
    assert digest(Media(path=path, member="a/photo.png")) == expected


def test_only_plain_members_with_safe_names_are_opened(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path, "folder", recursive=False)
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("dev", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("/etc/passwd", "../up.jpg", "good.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    with path.open("rb") as file:
        found = list(members(file))
        assert [str(one) for one in found if not isinstance(one, Member)] == [
            *(f"member '{n}' is a link, a device or sparse, not a plain file" for n in ("link", "hard", "dev")),
            *(f"member '{n}' has a name that leads out of the archive" for n in ("/etc/passwd", "../up.jpg")),
        ]
        assert [one.name for one in found if isinstance(one, Member)] == ["good.jpg"]
        for name in ("link", "../up.jpg", "none"):
            with pytest.raises(MediaError, match="has no member"):
                find(file, name)


def test_an_archive_cut_short_anywhere_is_said_to_be(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.bin": bytes(range(256)) * 3, "b.bin": b"b" * 100})
    data = path.read_bytes()[:2560]  # three blocks of a, two of b, and no end mark
    for size in range(0, len(data) + 1, 64):
        with pytest.raises(MediaError, match="cut short|damaged"):
            list(members(io.BytesIO(data[:size])))


def test_damaged_and_compressed_archives_are_named(tmp_path):
    data = bytearray(tar(tmp_path / "a.tar", {"a.bin": b"1" * 100, "b.bin": b"2"}).read_bytes())
    data[1024 + 10] ^= 0xFF  # in b's header
    with pytest.raises(MediaError, match=r"is damaged after member 'a\.bin', at byte 1,024"):
        list(members(io.BytesIO(bytes(data))))
    with pytest.raises(MediaError, match=r"compressed \(gzip\)"):
        list(members(io.BytesIO(b"\x1f\x8b" + bytes(600))))
    with pytest.raises(MediaError, match="damaged or cut short"):
        list(members(io.BytesIO(b"no archive" * 100)))


def test_a_header_that_states_gigabytes_is_not_believed(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.XHDTYPE, (8 << 30) - 1
    with pytest.raises(MediaError, match="a header states a length"):
        list(members(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096))))


def test_parts_obey_the_policy(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.bin": b"1" * 100})
    with pytest.raises(MediaError, match="has 100 bytes, more than the 99"):
        read_bytes(Media(path=path, member="a.bin"), POLICY, 99)
    with pytest.raises(MediaError, match="has 99,999 bytes, more than"):
        read_bytes(Media(path=path, member="a.bin@512+99999"), POLICY, 1000)
    with pytest.raises(MediaError, match=r"the file ends before 'a\.bin@10200\+999' does"):
        read_bytes(Media(path=path, member="a.bin@10200+999"), POLICY, 1000)
    with pytest.raises(MediaError, match="outside the granted folders"):
        digest(Media(path=path, member="a.bin"), MediaPolicy(roots=(tmp_path / "other",)))
    with pytest.raises(MediaError, match="names seconds"):
        read_image(Media(path=path, span_s=(0, 1)), POLICY)


def test_digests_of_parts_are_remembered_apart(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.bin": b"1", "b.bin": b"2"})
    os.utime(path, (1e9, 1e9))
    parts = [Media(path=path, member="a.bin"), Media(path=path, member="b.bin"), Media(path=path)]
    parts += [Media(path=path, span_s=(0, 1)), Media(path=path, span_s=(1, 2))]
    memo = DigestMemo(tmp_path / "memo.sqlite")
    first = list(memo.digests(parts))
    assert len(set(first)) == 5
    assert list(memo.digests(parts)) == first == [digest(part) for part in parts]


# ---- seconds of sounds


def resampled(samples_N: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    if from_hz == to_hz:
        return samples_N
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples_N), resampler.flush()])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "CAF", "OGG", "MP3"])
@pytest.mark.parametrize("span_s", [(0.0, 0.25), (0.3, 0.9), (0.75, None), (0.123456, 0.654321), (5.1, 6.9)])
def test_seconds_are_a_slice_of_all_samples(kind, span_s):
    data = sound_bytes(kind, tone(8.0))
    whole_N = read_audio(Media(data=data), POLICY, RATE_HZ)
    part_N = read_audio(Media(data=data, span_s=span_s), POLICY, RATE_HZ)
    start, end = (None if s is None else round(s * RATE_HZ) for s in span_s)
    np.testing.assert_array_equal(part_N, whole_N[start:end])
    at_8000_N = read_audio(Media(data=data, span_s=span_s), POLICY, 8000)
    np.testing.assert_allclose(at_8000_N, np.clip(resampled(whole_N[start:end], RATE_HZ, 8000), -1, 1), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.99), st.floats(0.001, 0.9))
def test_any_seconds(start_s, length_s):
    data = sound_bytes("WAV")
    whole_N = read_audio(Media(data=data), POLICY, RATE_HZ)
    part_N = read_audio(Media(data=data, span_s=(start_s, min(1.5, start_s + length_s))), POLICY, RATE_HZ)
    start = round(start_s * RATE_HZ)
    end = max(round(min(1.5, start_s + length_s) * RATE_HZ), start + 1)
    np.testing.assert_array_equal(part_N, whole_N[start:end])


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_seconds_of_the_sound_of_a_video(tmp_path, kind, codec):
    data = container_bytes(tmp_path / "a", kind, codec, 48_000)
    whole_N = read_audio(Media(data=data), POLICY, 48_000)
    part_N = read_audio(Media(data=data, span_s=(0.25, 0.5)), POLICY, 48_000)
    np.testing.assert_array_equal(part_N, whole_N[12_000:24_000])


def test_seconds_behind_the_end_are_a_fault():
    data = sound_bytes("WAV")
    for span_s in ((1.0, 2.0), (0.5, 1.6), (3.0, None)):
        with pytest.raises(MediaError, match=r"#t=.*: lasts 1\.00 s, and its seconds"):
            read_audio(Media(data=data, span_s=span_s), POLICY)
    assert len(read_audio(Media(data=data, span_s=(0.5, 1.4)), POLICY)) == 8000  # as Kaldi lets it overshoot
    unknown = sound_bytes("MP3")
    with pytest.raises(MediaError):
        read_audio(Media(data=unknown, span_s=(30.0, 31.0)), POLICY)


def test_a_sound_cut_short_within_the_seconds_is_refused():
    for kind in ("WAV", "FLAC"):
        data = sound_bytes(kind, tone(4.0))
        with pytest.raises(MediaError, match="cut short or damaged|ends at 49 %"):
            read_audio(Media(data=data[: len(data) // 2], span_s=(1.5, 3.0)), POLICY)


def test_the_cap_on_length_is_on_what_is_kept():
    data = sound_bytes("WAV", tone(3.0))
    policy = MediaPolicy(max_audio_seconds=1.0)
    assert len(read_audio(Media(data=data, span_s=(1.5, 2.5)), policy)) == RATE_HZ
    with pytest.raises(MediaError, match="lasts longer than the 1 s"):
        read_audio(Media(data=data, span_s=(1.0, 2.5)), policy)

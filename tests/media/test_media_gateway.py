"""Paths, roots, sizes, digests and content types."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_media import container_bytes, image_bytes, sound_bytes, wav
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, MediaError
from sensorium.core.types import Media
from sensorium.media.bytes import digest, read_bytes
from sensorium.media.content_type import CONTAINERS, HEAD, IMAGES, SOUNDS, content_type
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy


def test_path_and_memory_have_one_digest(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    expected = hashlib.sha256(b"hello").hexdigest()
    assert digest(Media(path=tmp_path / "a.png")) == digest(Media(data=b"hello")) == expected


def test_digest_obeys_the_policy(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(MediaError, match=r"a\.png': lies outside the granted folders"):
        digest(Media(path=tmp_path / "a.png"), MediaPolicy(roots=(tmp_path / "other",)))


def test_granted_folders_follow_links_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(image_bytes("PNG"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for root, path in (("link", "real/a.png"), ("real", "link/a.png")):
        policy = MediaPolicy(roots=(tmp_path / "none", tmp_path / root))
        assert read_image(Media(path=tmp_path / path), policy).shape == (97, 83, 3)


def test_relative_paths_are_taken_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert read_bytes(Media(path=Path("a.png")), MediaPolicy(roots=(Path(),)), 10) == b"x"


def test_sizes_are_held_on_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    for media in (Media(path=tmp_path / "a"), Media(data=bytes(10))):
        assert read_bytes(media, MediaPolicy(), 10) == bytes(10)
        with pytest.raises(MediaError, match="has 10 bytes, more than the 9"):
            read_bytes(media, MediaPolicy(), 9)


@pytest.mark.parametrize("roots", [(), (Path("/"),)])
def test_what_is_no_file_is_never_opened(
    roots: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda *args: opened.append(args))
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(MediaError, match="not a file"):
            read_bytes(Media(path=path), MediaPolicy(roots=roots), 10)
    assert not opened


def test_a_pipe_put_in_place_of_a_file_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    as_file = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: as_file)
    with pytest.raises(MediaError, match="named pipe"):
        read_bytes(Media(path=tmp_path / "pipe"), MediaPolicy(), 10)


def test_a_file_that_grows_behind_its_size_is_still_capped() -> None:
    # Files of /proc say 0 bytes and hold more.
    with pytest.raises(MediaError, match="is empty"):
        read_bytes(Media(path=Path("/proc/self/status")), MediaPolicy(), 10)


def test_content_not_name_decides(tmp_path: Path) -> None:
    (tmp_path / "photo.gif").write_bytes(image_bytes("PNG"))
    assert read_image(Media(path=tmp_path / "photo.gif"), MediaPolicy()).shape == (97, 83, 3)


def test_content_types_of_real_files(tmp_path: Path) -> None:
    files = {
        "JPEG": image_bytes("JPEG"),
        "PNG": image_bytes("PNG"),
        "WebP": image_bytes("WEBP"),
        "GIF": image_bytes("GIF"),
        "TIFF": image_bytes("TIFF"),
        "BMP": image_bytes("BMP"),
        "WAV": wav(),
        "FLAC": sound_bytes("FLAC"),
        "Ogg": sound_bytes("OGG"),
        "AIFF": sound_bytes("AIFF"),
        "AU": sound_bytes("AU"),
        "CAF": sound_bytes("CAF"),
        "MP3": sound_bytes("MP3"),
        "MP4": container_bytes(tmp_path / "1", "mp4", "aac"),
        "Matroska": container_bytes(tmp_path / "2", "webm", "libopus", 48_000),
        "AAC": container_bytes(tmp_path / "3", "adts", "aac"),
        "AVI": container_bytes(tmp_path / "4", "avi", "mp3"),
        "FLV": container_bytes(tmp_path / "5", "flv", "aac"),
        "MPEG-TS": container_bytes(tmp_path / "6", "mpegts", "aac"),
    }
    assert {kind: content_type(data) for kind, data in files.items()} == {kind: kind for kind in files}
    assert set(files) <= IMAGES | SOUNDS | CONTAINERS


@given(st.binary(max_size=600))
def test_content_type_takes_any_bytes(data: bytes) -> None:
    assert content_type(data)


def test_text_cut_inside_a_character_is_text() -> None:
    text = ("a" + "é" * HEAD).encode()
    assert content_type(text) == "text"


def test_policy_is_a_section() -> None:
    assert MediaPolicy().max_pixels == 40_000_000
    with pytest.raises(ConfigError, match=r"unknown key 'media\.max_pixel'.*did you mean 'max_pixels'"):
        MediaPolicy.parse({"max_pixel": 1}, prefix="media")
    with pytest.raises(ConfigError, match="max_pixels"):
        MediaPolicy.parse({"max_pixels": 10**12})


def test_readers_do_not_import_torch() -> None:
    code = (
        "import sys, sensorium.media.image, sensorium.media.audio, sensorium.media.sndfile, sensorium.media.ffmpeg;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

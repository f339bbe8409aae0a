"""Media of one content have one number, whatever they are called and however their cells name them."""

from __future__ import annotations

import io
import tarfile

import numpy as np

from sensorium.core.types import Media
from sensorium.media.address import media_at
from sensorium.media.content import contents
from sensorium.media.policy import MediaPolicy


def numbers(folder, *cells):
    return contents([media_at(cell, folder) for cell in cells]).content_M.tolist()


def test_copies_are_one_content_and_files_of_one_size_are_told_apart(tmp_path):
    noise = np.random.default_rng(0).bytes(50_000)
    other = bytearray(noise)
    other[10_000] ^= 1  # where no sample looks
    for name, data in {
        "a": noise,
        "copy": noise,
        "other": bytes(other),
        "short": noise[:7],
        "last": b"x" * 7,
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link").symlink_to("a")
    cells = ["a", "./a", "copy", "link", "other", "short", "last", "../" + tmp_path.name + "/a"]
    assert numbers(tmp_path, *cells) == [0, 0, 0, 0, 1, 2, 3, 0]
    found = contents([media_at(cell, tmp_path) for cell in cells])
    assert found.place_M.tolist() == [0, 0, 1, 0, 2, 3, 4, 0]


def test_some_seconds_and_members_are_their_recording(tmp_path):
    (tmp_path / "rec.wav").write_bytes(b"sound")
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for name, data in {"one.wav": b"sound", "two.wav": b"other"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    ranged = f"all.tar::x.wav@{512}+5"
    cells = ["rec.wav#t=0,1", "rec.wav#t=1", "rec.wav", "all.tar::one.wav", "all.tar::one.wav#t=2", ranged]
    assert numbers(tmp_path, *cells, "all.tar::two.wav", "all.tar::three.wav") == [0] * 6 + [1, 2]


def test_what_may_not_be_opened_is_known_by_its_address(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "in/a", "in/b"):
        (tmp_path / name).write_bytes(b"same")
    media = [media_at(cell, tmp_path) for cell in ("a", "b", "in/a", "in/b", "gone", "gone", "in")]
    policy = MediaPolicy(roots=(tmp_path / "in",))
    assert contents(media, policy).content_M.tolist() == [0, 1, 2, 2, 3, 3, 4]


def test_bytes_in_memory_count_too():
    media = [Media(data=b"one"), Media(data=b"two"), Media(data=b"one", span_s=(1.0, 2.0))]
    assert contents(media).content_M.tolist() == [0, 1, 0]

"""WebDataset shards: whole, cut short, damaged, with members that are not to be opened."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table


def jpeg(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def flac() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000, format="FLAC")
    return file.getvalue()


def write_shard(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards as img2dataset and the webdataset package write them."""
    for shard in range(2):
        members = []
        for i in range(3):
            number = 3 * shard + i
            key = f"{number:06d}"
            about = json.dumps({"caption": f"red {number}", "width": 16, "exif": None})
            members += [(f"{key}.png", jpeg(40 * number)), (f"{key}.txt", f"red {number}\n".encode())]
            members += [(f"{key}.json", about.encode()), (f"{key}.cls", str(number).encode())]
        write_shard(tmp_path / f"train-{shard:06d}.tar", members)
    return tmp_path


def opened(folder: Path, spec: str = "webdataset:train-{000000..000001}.tar") -> Table:
    return Table.open(spec, folder)


def bad_of(folder: Path, spec: str = "webdataset:a.tar") -> list[str]:
    return [bad.message for bad in Table.open(spec, folder, quarantine=Quarantine(1.0)).quarantine]


@pytest.mark.parametrize("spec", ["webdataset:train-{000000..000001}.tar", "webdataset:train-*.tar"])
def test_neighbours_of_one_basename_are_a_row(shards, spec):
    table = opened(shards, spec)
    assert table.columns == ("key", "png", "txt", "json.caption", "json.width", "json.exif", "cls")
    row = table.row(4)
    assert row["png"].startswith("train-000001.tar::000004.png@")
    del row["png"]
    told = {"key": "000004", "txt": "red 4", "cls": "4"}
    assert row == told | {"json.caption": "red 4", "json.width": "16", "json.exif": ""}


def test_media_are_read_in_place(shards):
    preparer = ImagePreparer(size=8)
    table = opened(shards)
    before = sorted(shards.iterdir())
    for i in range(6):
        pixels_3SS = preparer(preparer.item(table.row(i)["png"], table.folder))
        assert pixels_3SS[:, 0, 0].tolist() == [40 * i, 0, 0]
    by_name = preparer(preparer.item("train-000001.tar::000004.png", shards))
    assert by_name[0, 0, 0] == 160
    assert sorted(shards.iterdir()) == before


def test_folders_endings_and_holes(tmp_path, caplog):
    members = [("a/x.1.flac", flac()), ("a/x.1.npy", b"\x93NUMPY"), ("a/y.left.png", jpeg(9)), ("b/x.txt", b"two")]
    write_shard(tmp_path / "a.tar", members)
    with caplog.at_level(logging.WARNING):
        table = opened(tmp_path, "webdataset:a.tar")
    assert [table.row(i)["key"] for i in range(3)] == ["a/x", "a/y", "b/x"]
    assert table.columns == ("key", "1.flac", "left.png", "txt")
    assert table.row(2) == {"key": "b/x", "1.flac": "", "left.png": "", "txt": "two"}
    assert "1.npy: 1" in caplog.text
    preparer = LogMelPreparer(rate_hz=8000)
    assert len(preparer(preparer.item(table.row(0)["1.flac"], table.folder))) == pytest.approx(100, abs=3)


def test_a_member_called_key_is_left_out_and_counted(tmp_path, caplog):
    write_shard(tmp_path / "a.tar", [("1.key", b"k"), ("1.txt", b"one"), ("2.txt", b"two"), ("2.key", b"k")])
    table = Table.open("webdataset:a.tar", tmp_path)
    assert [table.row(i) for i in range(2)] == [{"key": "1", "txt": "one"}, {"key": "2", "txt": "two"}]
    assert "are left out (key: 2)" in caplog.text


def test_bad_rows_are_named(tmp_path):
    write_shard(
        tmp_path / "a.tar",
        [
            *[("1.txt", b"one"), ("1.txt", b"again"), ("2.txt", b"\xff"), ("3.json", b'{"a"'), ("../4.txt", b"up")],
            *[("5.json", b"[1, 2]"), ("6.txt", b"nul \0")],
        ],
    )
    assert bad_of(tmp_path) == [
        "has two members ending in '.txt' (row '1' of 'a.tar')",
        "its '.txt' is not UTF-8 at byte 0 (0xff, 'ÿ' in Windows-1252; save it as UTF-8) (row '2' of 'a.tar')",
        "its '.json' is not JSON: Expecting ':' delimiter: line 1 column 5 (char 4) (row '3' of 'a.tar')",
        "member '../4.txt' has a name that leads out of the archive (row '../4' of 'a.tar')",
        "its '.txt' holds a NUL character (row '6' of 'a.tar')",
    ]


def test_links_are_never_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("1.txt")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
        archive.addfile(tarfile.TarInfo("2.txt"))
    assert bad_of(tmp_path) == [
        "member '1.txt' is a link, a device or sparse, not a plain file (row '1' of 'a.tar')",
    ]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.6])
def test_a_shard_cut_short_is_named(shards, share):
    path = shards / "train-000001.tar"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"train-000001\.tar: is (cut short|damaged).*fetch the shard again"):
        opened(shards)


def test_a_damaged_or_compressed_shard_is_named(shards):
    path = shards / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[1024 + 5] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"train-000000\.tar: is damaged after member '000000\.png'"):
        opened(shards)
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(DataError, match="compressed .gzip"):
        opened(shards)


def test_missing_shards_and_wrong_braces(shards):
    with pytest.raises(DataError, match=r"train-000002\.tar: no such shard"):
        opened(shards, "webdataset:train-{000000..000002}.tar")
    with pytest.raises(DataError, match="names no shards"):
        opened(shards, "webdataset:test-*.tar")
    with pytest.raises(DataError, match=r"\{5\.\.1\}' counts 0 shards"):
        opened(shards, "webdataset:train-{5..1}.tar")

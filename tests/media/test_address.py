"""Cells that name media as other programs write them: read where such a file is there, else told with the cure."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from sensorium.core.errors import MediaError
from sensorium.media.address import ending, media_at
from sensorium.media.bytes import read_bytes
from sensorium.media.policy import MediaPolicy

NFC, NFD = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))


def put(folder: Path, name: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(name.encode())
    return folder / name


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("img\\a.jpg", "img/a.jpg"),
        (".\\img\\a b.jpg", "img/a b.jpg"),
        ("./img/a.jpg", "img/a.jpg"),
        ("  img/a.jpg\t", "img/a.jpg"),
        ('"img/a.jpg"', "img/a.jpg"),
        ("' img\\a.jpg '", "img/a.jpg"),
        ("img%2Fa.jpg", "img/a.jpg"),
        ("img/a%20b.jpg", "img/a b.jpg"),
        ("img/caf%C3%A9.jpg", f"img/{NFC}"),
        ("img/caf%C3%A9.jpg", f"img/{NFD}"),
        (NFC, NFD),
        (NFD, NFC),
        (f"img\\{NFC}", f"img/{NFD}"),
        ("file:FOLDER/a%20b.jpg", "a b.jpg"),
        ("file://FOLDER/a%20b.jpg", "a b.jpg"),
        ("file://localhostFOLDER/a.jpg", "a.jpg"),
        # a name that really is so comes first
        ("a%20b.jpg", "a%20b.jpg"),
        ('"a.jpg"', '"a.jpg"'),
        ("img\\a.jpg", "img\\a.jpg"),
        ("a::b#t=1.jpg", "a::b#t=1.jpg"),
    ],
)
def test_a_file_is_found_as_its_name_is_written(tmp_path, cell, name):
    put(tmp_path, name)
    media = media_at(cell.replace("FOLDER", str(tmp_path)), tmp_path)
    assert read_bytes(media, MediaPolicy(), 1000) == name.encode()


def test_the_very_name_comes_before_a_reading_of_it(tmp_path):
    for name in ("a b.jpg", "a%20b.jpg", NFC, NFD):
        put(tmp_path, name)
    for name in ("a%20b.jpg", NFC, NFD):
        assert read_bytes(media_at(name, tmp_path), MediaPolicy(), 1000) == name.encode()


def test_parts_of_a_file_are_read_alike(tmp_path):
    put(tmp_path, "img/talk one.wav")
    media = media_at("img\\talk%20one.wav#t=1,2", tmp_path)
    assert (media.path, media.span_s) == (tmp_path / "img/talk one.wav", (1, 2))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("https://example.com/0.jpg?w=3", "is a web address, and nothing is fetched"),
        ("HTTP://x/0.jpg", "is a web address"),
        ("s3://bucket/0.jpg", "is a web address"),
        ("data:image/png;base64,AAAA", "is a web address"),
        ("file:///x/0.jpg", "no such file .*write the path alone"),
        ("C:\\photos\\0.jpg", "no such file .*a Windows path: write / for"),
        ("C:/photos/0.jpg", "no such file .*a Windows path"),
        ("\\\\server\\photos\\0.jpg", "no such file .*a Windows path"),
        ("img\\0.jpg", "no such file .*a Windows path"),
        ("img%2F0.jpg", "no such file .*without %"),
    ],
)
def test_what_cannot_be_read_is_told_as_written_with_the_cure(tmp_path, cell, told):
    def read() -> None:
        media = media_at(cell, tmp_path)
        try:
            read_bytes(media, MediaPolicy(), 1000)
        except MediaError as error:
            raise error.at(str(media)) from None

    with pytest.raises(MediaError, match=told) as caught:
        read()
    assert cell in str(caught.value)


LONG = "x" * 300


@pytest.mark.parametrize("cell", [LONG, f"a::{LONG}", f"{LONG}::a", f"{LONG}#t=1", "x\\" * 3000, f"é{LONG}"])
def test_a_name_that_is_too_long_is_no_file(tmp_path, cell):
    with pytest.raises(MediaError, match=r"no such file"):
        read_bytes(media_at(cell, tmp_path), MediaPolicy(), 1000)


def test_granted_folders_hold_for_every_reading(tmp_path):
    put(tmp_path, "secret.jpg")
    (tmp_path / "granted").mkdir()
    for cell in ("..\\secret.jpg", "..%2Fsecret.jpg", f"file://{tmp_path}/secret.jpg"):
        media = media_at(cell, tmp_path / "granted")
        with pytest.raises(MediaError, match="lies outside the granted folders"):
            read_bytes(media, MediaPolicy(roots=(tmp_path / "granted",)), 1000)


@pytest.mark.parametrize("cell", ["a.JPG", '"a.jpg"', "https://x/a.jpg?w=3#f", "i\\a.jpg", "s.tar::a.jpg@1+2"])
def test_endings_are_seen_through_what_stands_around_them(cell):
    assert ending(cell) == ".jpg"

"""Where an input's files are sought when none of them is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.core.types import Media
from sensorium.data.missing_media import cure_of_missing


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def cure(folder: Path, *cells: str) -> str:
    return cure_of_missing("photo", [Media(path=folder / cell) for cell in cells], folder, folder)


@pytest.mark.parametrize(
    ("there", "cells", "told"),
    [
        (
            (),
            ("0.jpg", "1.jpg"),
            "none of the 2 files that 'photo' names is there: set folder in [data] to the folder",
        ),
        (("img/0.jpg",), ("0.jpg", "1.jpg"), 'set folder = "FOLDER/img" in [data]'),
        (("deep/img/no/0.jpg",), ("no/0.jpg",), 'set folder = "FOLDER/deep/img" in [data]'),
        (("other/0.jpg", "x/no/0.jpg"), ("no/0.jpg",), 'set folder = "FOLDER/x" in [data]'),
        (
            ("img/0.jpg",),
            ("no/0.jpg",),
            "a file of that name is 'FOLDER/img/0.jpg': write paths as seen from 'FOLDER'",
        ),
        (("img/0.jpg",), ("/home/me/img/0.jpg",), "a file of that name is 'FOLDER/img/0.jpg': write paths as seen"),
        ((".trash/0.jpg",), ("0.jpg",), "set folder in [data] to the folder"),
    ],
)
def test_the_cure_names_the_folder_where_the_files_are(tmp_path, there, cells, told):
    put(tmp_path, *there)
    assert told.replace("FOLDER", str(tmp_path)) in cure(tmp_path, *cells)


def test_one_file_that_is_there_wants_no_cure(tmp_path):
    put(tmp_path, "1.jpg")
    assert cure(tmp_path, "0.jpg", "1.jpg") == ""
    assert cure_of_missing("text", ["a text", "b"], tmp_path, tmp_path) == ""
    assert cure_of_missing("none", [], tmp_path, tmp_path) == ""
    assert "none of" in cure(tmp_path, "x" * 300)

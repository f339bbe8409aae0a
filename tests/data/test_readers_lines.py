"""Files of lines, one file a class."""

from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table


def write(folder: Path) -> None:
    (folder / "x.pos").write_text("good film\n\n  fine \n", encoding="utf-8")
    (folder / "x.neg").write_bytes("mauvais é\nbad\n".encode())
    (folder / "README").write_text("about", encoding="utf-8")


def test_the_star_is_the_label(tmp_path):
    write(tmp_path)
    table = Table.open("lines:x.*", tmp_path)
    assert [tuple(table.row(i).values()) for i in range(len(table))] == [
        ("mauvais é", "neg"),
        ("bad", "neg"),
        ("good film", "pos"),
        ("fine", "pos"),
    ]


def test_a_folder_of_text_files(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")
    (tmp_path / "c.md").write_text("three\n")
    table = Table.open(f"lines:{tmp_path}", Path())
    assert list(table.column("label")) == ["a", "b"]


def test_a_line_that_is_no_text_is_a_bad_row(tmp_path):
    (tmp_path / "x.pos").write_bytes(b"good\nb\xffd\nfine\n")
    quarantine = Quarantine(1.0)
    assert len(Table.open("lines:x.*", tmp_path, quarantine=quarantine)) == 2
    assert len(quarantine) == 1


@pytest.mark.parametrize(("spec", "message"), [("lines:y.*", "no files"), ("lines:*.*", "more than one star")])
def test_no_files(tmp_path, spec, message):
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        Table.open(spec, tmp_path)

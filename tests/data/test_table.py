"""Tables: the same rows in memory, in temporary files and in a kept row file; larger than memory."""

from __future__ import annotations

import csv
import logging
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data import row_file, table
from sensorium.data.quarantine import Quarantine
from sensorium.data.row_file import RowFile, RowFileWriter
from sensorium.data.table import Table

CELL = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=9)


@pytest.fixture
def tiny_limits(monkeypatch):
    """Send every table to disk, and its index there in small pieces."""
    monkeypatch.setattr(row_file, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(row_file, "_INDEX_CHUNK", 7)
    monkeypatch.setattr(table, "_KEPT_BYTES", 0)


def write_csv(path: Path, num_rows: int, seed: int = 0) -> list[dict[str, str]]:
    source = random.Random(seed)
    rows = [
        {"photo": f"{source.random()}.jpg", "text": "a,\n" * source.randrange(4), "n": str(i)}
        for i in range(num_rows)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["photo", "text", "n"])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def assert_holds(opened: Table, rows: list[dict[str, str]]) -> None:
    assert len(opened) == len(rows)
    assert [opened.row(i) for i in range(len(opened))] == rows
    assert list(opened.column("text")) == [row["text"] for row in rows]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**12), st.lists(CELL, max_size=4)), max_size=20), st.booleans())
def test_a_row_file_gives_back_what_was_written(tmp_path_factory, rows, on_disk):
    writer = RowFileWriter(tmp_path_factory.mktemp("rows") if on_disk else None)
    for line, cells in rows:
        writer.add(line, cells)
    file = writer.finish()
    expected = [[str(line), *cells] for line, cells in rows]
    assert list(file) == expected
    assert [file[i] for i in range(len(file))] == expected
    with pytest.raises(IndexError):
        file[len(rows)]


def test_in_memory_and_on_disk_hold_the_same(tmp_path, monkeypatch):
    rows = write_csv(tmp_path / "t.csv", 300)
    assert_holds(Table.open("t.csv", tmp_path), rows)
    monkeypatch.setattr(row_file, "_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(row_file, "_INDEX_CHUNK", 7)
    assert_holds(Table.open("t.csv", tmp_path), rows)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]  # the temporary files are unlinked


def test_a_row_file_is_kept_until_the_table_changes(tmp_path, tiny_limits, monkeypatch):
    cache = tmp_path / "cache"
    rows = write_csv(tmp_path / "t.csv", 50)
    assert_holds(Table.open("t.csv", tmp_path, cache), rows)
    monkeypatch.setattr(table, "open_rows", lambda spec: pytest.fail("the table was read again"))
    assert_holds(Table.open("t.csv", tmp_path, cache), rows)
    monkeypatch.undo()
    monkeypatch.setattr(table, "_KEPT_BYTES", 0)
    more = write_csv(tmp_path / "t.csv", 60, seed=1)
    assert_holds(Table.open("t.csv", tmp_path, cache), more)
    assert len([path for path in (cache / "tables").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("name", ["rows.bin", "starts.bin", "table.json", "manifest.json"])
def test_a_broken_row_file_is_noticed_and_made_again(tmp_path, tiny_limits, caplog, name):
    rows = write_csv(tmp_path / "t.csv", 50)
    Table.open("t.csv", tmp_path, tmp_path)
    (path,) = (tmp_path / "tables").glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert_holds(Table.open("t.csv", tmp_path, tmp_path), rows)
    assert "reading it again" in caplog.text
    caplog.clear()
    assert_holds(Table.open("t.csv", tmp_path, tmp_path), rows)
    assert "reading it again" not in caplog.text


def test_unreadable_rows_are_known_after_reopening_too(tmp_path, tiny_limits):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 300 + "3\n")
    for _ in range(2):
        opened = Table.open("t.csv", tmp_path, tmp_path / "cache")
        assert len(opened) == 300
        assert [str(bad) for bad in opened.quarantine] == ["t.csv:302: has 1 cells, the header has 2"]


def test_places_are_lines(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n"x\ny",2\n3,4\n')
    opened = Table.open("t.csv", tmp_path)
    assert [opened.where(0), opened.where(1)] == ["t.csv:2", "t.csv:4"]


def test_jsonl_columns_that_appear_late_are_empty_before(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
    opened = Table.open("t.jsonl", tmp_path)
    assert opened.columns == ("a", "b")
    assert [opened.row(0), opened.row(1)] == [{"a": "1", "b": ""}, {"a": "", "b": "2"}]
    assert list(opened.column("b")) == ["", "2"]


def test_an_unknown_column_suggests_the_near_one(tmp_path):
    opened = Table.of([{"question": "a"}], name="t")
    with pytest.raises(DataError, match="did you mean 'question'"):
        opened.column("questions")
    with pytest.raises(IndexError):
        opened.row(1)


def test_too_many_unreadable_rows_stop(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 97 + "1\n" * 3)
    with pytest.raises(DataError, match=r"3 of 100 rows quarantined.*t\.csv:99: has 1 cells"):
        Table.open("t.csv", tmp_path)
    assert len(Table.open("t.csv", tmp_path, quarantine=Quarantine(0.03))) == 97


def test_what_is_no_table_stops_before_it_fills_the_memory(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1\n" * 5000)
    with pytest.raises(DataError, match=r"t\.csv:2: 1,000 of its first 1,000 rows cannot be read"):
        Table.open("t.csv", tmp_path, quarantine=Quarantine(1.0))


def test_a_table_in_memory_refuses_what_a_file_could_not_hold():
    with pytest.raises(DataError, match="NUL"):
        Table.of([{"a": "\0"}])
    assert len(Table.of([])) == 0


MILLION = """
import sys
from pathlib import Path
from sensorium.data.table import Table
opened = Table.open("big.csv", Path(sys.argv[1]), Path(sys.argv[1]))
assert len(opened) == 1_000_000, len(opened)
assert sum(map(len, opened.column("question"))) > 30_000_000
assert opened.row(777_777)["n"] == "777777" and opened.where(777_777) == "big.csv:777779"
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_a_million_rows_fit_below_a_gibibyte(tmp_path):
    with (tmp_path / "big.csv").open("w", encoding="utf-8") as file:
        file.write("photo,question,answer,n\n")
        file.writelines(
            f'images/{i % 9999:06d}.jpg,"what is, in picture number {i}, to be seen?",a thing,{i}\n'
            for i in range(1_000_000)
        )
    command = [sys.executable, "-c", MILLION, str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(output) * 1024 < 1 << 30


def test_row_files_open_from_their_folder(tmp_path):
    writer = RowFileWriter(tmp_path)
    assert len(writer.finish()) == 0
    assert len(RowFile.open(tmp_path)) == 0

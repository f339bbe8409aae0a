"""What stands where a table belongs: a page, a pointer, a packed file, JSON as other programs write it."""

from __future__ import annotations

import gzip
import json

import pytest

from sensorium.core.errors import DataError
from sensorium.core.text_file import LFS_POINTER
from sensorium.data.table import Table
from sensorium.media.content_type import content_type

ROWS = [{"text": "un café", "label": "x"}, {"text": "tea, hot", "label": "y"}]
CSV = 'text,label\nun café,x\n"tea, hot",y\n'
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
POINTER = LFS_POINTER + b"v1\noid sha256:4d7a\nsize 12345\n"
PAGES = ["<!DOCTYPE html>\n<html>a,b</html>", "\n  <HTML lang=en>\n", "\ufeff<html><head>\n"]


def read(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    table = Table.open(name, folder)
    return [table.row(i) for i in range(len(table))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(CSV.encode())),
        ("T.CSV.GZ", gzip.compress(CSV.encode())),
        (
            "t.tsv.gz",
            gzip.compress(CSV.replace(",x", "\tx").replace(",y", "\ty").replace("text,", "text\t").encode()),
        ),
        ("t.jsonl.gz", gzip.compress(LINES.encode())),
        ("t.json.gz", gzip.compress(json.dumps(ROWS).encode())),
        ("t.jsonl", json.dumps(ROWS)),
        ("t.jsonl", "\ufeff\n" + json.dumps(ROWS, indent=2)),
        ("t.json", json.dumps(ROWS, indent=1)),
        ("t.json", LINES),
        ("t.ndjson", json.dumps(ROWS)),
    ],
)
def test_rows_are_the_same_however_they_are_written(tmp_path, name, content):
    assert read(tmp_path, name, content) == ROWS


@pytest.mark.parametrize("content", [json.dumps({"text": ["a", "b"]}), json.dumps({"text": {"0": "a"}}, indent=1)])
def test_one_object_is_no_table(tmp_path, content):
    with pytest.raises(DataError, match=r"t\.json: is one JSON object, not rows .*orient='records'"):
        read(tmp_path, "t.json", content)


def test_a_list_that_breaks_off_is_refused_as_a_whole(tmp_path):
    with pytest.raises(DataError, match=r"t\.jsonl: is no JSON list: .*write one object a line"):
        read(tmp_path, "t.jsonl", json.dumps(ROWS, indent=1)[:-5])


def test_what_is_no_object_in_a_list_is_a_bad_row(tmp_path):
    with pytest.raises(DataError, match=r"t\.json:2: is a JSON int, not an object"):
        read(tmp_path, "t.json", '[{"a": "x"}, 3]')


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json", "t.ndjson"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_no_table(tmp_path, name, page):
    with pytest.raises(DataError, match="is an HTML page, not a table .*fetch the file itself"):
        read(tmp_path, name, page)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json"])
def test_a_pointer_is_not_the_file(tmp_path, name):
    with pytest.raises(DataError, match="is a Git LFS pointer, its content was never fetched .*git lfs pull"):
        read(tmp_path, name, POINTER)


def test_a_pointer_is_named_where_a_medium_or_a_binary_table_belongs(tmp_path):
    assert content_type(POINTER) == "a Git LFS pointer, its content was never fetched"
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="is not Parquet but a Git LFS pointer"):
        read(tmp_path, "t.parquet", POINTER)

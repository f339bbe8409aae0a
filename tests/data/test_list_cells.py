"""Cells that hold lists: what each meaning makes of each kind of value, in every format that can say them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.data.cell_values import cell_of, fault_in
from sensorium.data.list_cells import texts_in
from sensorium.data.several import Several
from sensorium.data.table import Table

NESTED, OBJECT = "of something else than texts", "whose parts want columns of their own"
LONG = "where one text is meant"


@pytest.mark.parametrize(
    ("value", "items", "rows", "several", "one"),
    [
        ("a [b]", "a [b]", ["a [b]"], "a [b]", "a [b]"),
        ('["a", "b"]', '["a", "b"]', ['["a", "b"]'], '["a", "b"]', '["a", "b"]'),  # a text that looks like a list
        (["a", "b"], "a b", ["a", "b"], '["a", "b"]', LONG),
        (["one"], "one", ["one"], '["one"]', "one"),
        ([], "", [""], "", ""),
        (["a", None], "is empty", ["a"], '["a"]', "a"),
        (["a", " "], "a blank within", ["a"], '["a"]', "a"),
        ([None], "is empty", [""], "", ""),
        (["New York", "x"], "a blank within", ["New York", "x"], '["New York", "x"]', LONG),
        (["10\u00a0000", "x"], "10\u00a0000 x", ["10\u00a0000", "x"], '["10\u00a0000", "x"]', LONG),
        ([1, 2.5, True], "1 2.5 True", ["1", "2.5", "True"], '["1", "2.5", "True"]', LONG),
        ([["a"], ["b"]], NESTED, NESTED, NESTED, NESTED),
        ([{"a": 1}], NESTED, NESTED, NESTED, NESTED),
        ({"en": "dog"}, OBJECT, OBJECT, OBJECT, OBJECT),
        (True, "True", ["True"], "True", "True"),
        (None, "", [""], "", ""),
        (float("nan"), "", [""], "", ""),
    ],
)
def test_what_a_value_means(value, items, rows, several, one):
    for means, expected in (("items", items), ("rows", rows), ("several", several), ("one", one)):
        found = texts_in(cell_of(value), means)
        if fault_in(found[0]):
            assert str(expected) in fault_in(found[0]), means
        else:
            assert found == ([expected] if isinstance(expected, str) else expected), means


def written(folder: Path, kind: str, rows: list[dict]) -> str:
    """Write rows in a format that knows lists; returns the table's spec."""
    if kind == "jsonl":
        (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return "t.jsonl"
    if kind == "webdataset":
        with tarfile.open(folder / "t.tar", "w") as tar:
            for number, row in enumerate(rows):
                data = json.dumps(row).encode()
                member = tarfile.TarInfo(f"{number:04d}.json")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return "webdataset:t.tar"
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows)
    if kind == "parquet":
        parquet.write_table(table, folder / "t.parquet")
        return "t.parquet"
    (folder / "saved").mkdir()
    with pyarrow.ipc.new_stream(str(folder / "saved" / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    state = {"_data_files": [{"filename": "data.arrow"}], "_split": "train"}
    (folder / "saved" / "state.json").write_text(json.dumps(state))
    return "hf:saved"


FORMATS = ["jsonl", "webdataset", "parquet", "hf"]


@pytest.mark.parametrize("kind", FORMATS)
def test_each_text_is_a_row_that_keeps_its_place(tmp_path, kind):
    rows = [{"photo": f"{i}.png", "text": [f"a {i}", f"the {i}"][: i % 3]} for i in range(6)]
    table = Table.open(written(tmp_path, kind, rows), tmp_path)
    text, photo = next(c for c in table.columns if "text" in c), next(c for c in table.columns if "photo" in c)
    assert table.row(2)[text] == '["a 2", "the 2"]'  # shown as JSON until it is known what it means
    read = table.read_as({text: "rows"})
    assert list(read.column(text)) == ["", "a 1", "a 2", "the 2", "", "a 4", "a 5", "the 5"]
    assert [read.row(i)[photo] for i in range(8)] == [f"{i}.png" for i in (0, 1, 2, 2, 3, 4, 5, 5)]
    assert read.where(2) == read.where(3) == table.where(2)
    assert [read.origin(i) for i in range(8)] == [0, 1, 2, 2, 3, 4, 5, 5]
    assert "has a blank within" in fault_in(list(table.read_as({text: "items"}).column(text))[2])


def test_what_lists_mean_outlives_the_kept_row_file(tmp_path, monkeypatch):
    monkeypatch.setattr("sensorium.data.table._KEPT_BYTES", 0)
    spec = written(tmp_path, "jsonl", [{"text": ["a", "b"]}])
    for _ in range(2):
        table = Table.open(spec, tmp_path, tmp_path / "cache").read_as({"text": "rows"})
        assert list(table.column("text")) == ["a", "b"]


@pytest.mark.parametrize("cell", ["[1] front.jpg", "[1]", "[a](b).jpg", "[1, 2]", "[", '[{"a": 1}]'])
def test_a_cell_that_only_begins_like_a_list_is_a_name(cell):
    assert Several().split(cell) == [cell]
    assert Several().split(f"{cell}|b.jpg") == [cell, "b.jpg"]


def test_lists_of_media_are_read_as_before():
    assert Several().split('["a.jpg", " b.jpg", null, ""]') == ["a.jpg", "b.jpg"]
    with pytest.raises(DataError, match="is no JSON list"):
        Several().split('["a.jpg", "b.jpg"')


def test_labels_in_lists_are_their_names(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    spec = written(tmp_path, "hf", [{"tags": [0, 2, 1]}, {"tags": [1]}])
    feature = {"feature": {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}
    table = pyarrow.table({"tags": [[0, 2, 1], [1]]}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {"tags": feature}}})}
    )
    with pyarrow.ipc.new_stream(str(tmp_path / "saved" / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    read = Table.open(spec, tmp_path).read_as({"tags": "items"})
    assert list(read.column("tags")) == ["O I-PER B-PER", "B-PER"]


def csv_table(folder: Path, *rows: tuple[str, ...]) -> Table:
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return Table.open("t.csv", folder)


def test_a_single_bracket_within_a_cell_keeps_the_column_text(tmp_path):
    table = csv_table(tmp_path, ("text",), ("['a', 'b']",), ("[laughs] no",))
    assert list(table.read_as({"text": "rows"}).column("text")) == ["['a', 'b']", "[laughs] no"]
    assert list(csv_table(tmp_path, ("text",), ("[1]",), ("(2)",)).read_as({"text": "one"}).column("text")) == [
        "[1]",
        "(2)",
    ]


@pytest.mark.parametrize(
    "shown",
    [
        "['it', \"it's\", 'é']",
        '["it", "it\'s", "\\u00e9"]',
        "('it', \"it's\", 'é')",
        "['it' \"it's\"\n 'é']",
        "[np.str_('it'), np.str_(\"it's\"), np.str_('é')]",
    ],
    ids=["python", "json", "tuple", "numpy", "numpy values"],
)
def test_lists_that_a_csv_file_writes_are_lists(tmp_path, monkeypatch, shown):
    monkeypatch.setattr("sensorium.data.table._KEPT_BYTES", 0)
    csv_table(tmp_path, ("x", "y"), (shown, "a"), ("", "b"), ("[]", "c"), ("['z']", "d"))
    for _ in range(2):  # the second time from its kept row file
        table = Table.open("t.csv", tmp_path, tmp_path / "cache")
        assert list(table.read_as({"x": "items"}).column("x")) == ["it it's é", "", "", "z"]
        rows = table.read_as({"x": "rows"})
        assert list(zip(rows.column("x"), rows.column("y"), strict=True)) == [
            ("it", "a"), ("it's", "a"), ("é", "a"), ("", "b"), ("", "c"), ("z", "d")
        ]  # fmt: skip
        assert LONG in fault_in(next(iter(table.read_as({"x": "one"}).column("x"))))
    assert Several().split(shown.replace("(", "[").replace(")", "]") if shown[0] == "(" else shown) == [
        "it", "it's", "é"
    ]  # fmt: skip


def test_numbers_of_labels_in_brackets_are_tags(tmp_path):
    table = csv_table(tmp_path, ("tags",), ("[3, 0, 7]",), ("[0 1]",))
    assert list(table.read_as({"tags": "items"}).column("tags")) == ["3 0 7", "0 1"]

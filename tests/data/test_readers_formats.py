"""JSONL, Parquet, class folders, specs; and that every registered format is tested."""

from __future__ import annotations

import importlib.metadata
import json
import math
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import registry, text_file
from sensorium.core.errors import ConfigError, DataError, MissingExtraError, ModelError
from sensorium.data.cell_values import MARK, cell_of
from sensorium.data.readers import READERS, BadLine, Row, RowStream, TableSpec, absolute_spec, open_rows

ROWS = [{"photo": "a.jpg", "question": 'What, "is"\nit? é 我'}, {"photo": "", "question": "0"}]


def write_delimited(folder: Path, name: str, delimiter: str) -> str:
    import csv

    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["photo", "question"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return name


def write_json(folder: Path, name: str) -> str:
    lines = [json.dumps({key: cell or None for key, cell in row.items()}) for row in ROWS]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return name


def write_parquet(folder: Path, name: str) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.Table.from_pylist([{k: c or None for k, c in row.items()} for row in ROWS]), folder / name
    )
    return name


WRITERS = {
    ".csv": lambda folder: write_delimited(folder, "t.csv", ","),
    ".tsv": lambda folder: write_delimited(folder, "t.tsv", "\t"),
    ".jsonl": lambda folder: write_json(folder, "t.jsonl"),
    ".ndjson": lambda folder: write_json(folder, "t.ndjson"),
    ".json": lambda folder: write_json(folder, "t.json"),
    ".parquet": lambda folder: write_parquet(folder, "t.parquet"),
}
TESTED_ELSEWHERE = {
    "folder:": "below: it has columns of its own",
    "easy-vqa:": "with the demo",
    "spoken-easy-vqa:": "with the demo",
    "fsdd:": "with the demo",
    "conll:": "in test_readers_conll",
    "lines:": "in test_readers_lines",
    "windows:": "in test_readers_windows",
    "spoken-captions:": "in test_readers_spoken_captions.py",
    "av_digits:": "in test_readers_pairs",
    "nlvr:": "in test_readers_pairs",
    **dict.fromkeys(("coco:", "vqa:", "flickr:"), "in test_readers_photos"),
    **dict.fromkeys(("commonvoice:", "librispeech:", "kaldi:", "subtitles:"), "in test_readers_speech"),
    "webdataset:": "in test_readers_webdataset",
    "hf:": "in test_readers_hf",
}


def opened(folder: Path, spec: str) -> RowStream:
    return open_rows(TableSpec.parse(spec, folder))


def test_every_registered_reader_is_tested():
    assert set(READERS) == set(WRITERS) | set(TESTED_ELSEWHERE)


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_the_same_rows_from_every_format(tmp_path, kind):
    stream = opened(tmp_path, WRITERS[kind](tmp_path))
    assert [row.cells for row in stream.rows if isinstance(row, Row)] == ROWS
    assert stream.columns == ["photo", "question"]


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_an_absent_or_empty_file_is_named(tmp_path, kind):
    with pytest.raises(DataError, match="no such table"):
        opened(tmp_path, f"gone{kind}")
    (tmp_path / f"empty{kind}").touch()
    with pytest.raises(DataError, match=f"empty{kind}"):
        list(opened(tmp_path, f"empty{kind}").rows)


def test_unknown_formats_list_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"no reader for '\.xlsx'.*\.csv"):
        TableSpec.parse("a.xlsx", tmp_path)
    (tmp_path / "pets").mkdir()
    with pytest.raises(ConfigError, match=r"folder:pets"):
        TableSpec.parse("pets", tmp_path)


def read_xml(path: Path) -> RowStream:
    return RowStream(["text"], iter([Row(1, {"text": path.read_text()})]))


def test_another_package_adds_a_format(tmp_path, monkeypatch):
    mine = importlib.metadata.EntryPoint(".xml", f"{__name__}:read_xml", "sensorium.readers")
    broken = importlib.metadata.EntryPoint(".broken", "no_such_module:read", "sensorium.readers")
    monkeypatch.setattr(registry, "entry_points", lambda group: [mine, broken])
    (tmp_path / "a.xml").write_text("<a/>")
    assert [row.cells for row in opened(tmp_path, "a.xml").rows if isinstance(row, Row)] == [{"text": "<a/>"}]
    with pytest.raises(ModelError, match="no_such_module"):
        opened(tmp_path, "a.broken")


# ---- JSONL


def json_rows(folder: Path, data: bytes | str) -> tuple[list[str], list[Row | BadLine]]:
    (folder / "t.jsonl").write_bytes(data.encode() if isinstance(data, str) else data)
    stream = opened(folder, "t.jsonl")
    rows = list(stream.rows)
    return stream.columns, rows


SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_infinity=False), st.text(max_size=5))


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    )
)
def test_every_json_value_becomes_text_that_gives_it_back(value):
    cell = cell_of(value)
    if isinstance(value, str):
        assert cell == value
    elif value is None or (isinstance(value, float) and math.isnan(value)):
        assert cell == ""
    elif isinstance(value, bool):
        assert cell == str(value)
    else:
        again = json.loads(cell.removeprefix(MARK))
        assert again == value or "nan" in repr(value)


def test_columns_grow_as_keys_appear(tmp_path):
    columns, rows = json_rows(tmp_path, '\ufeff{"a": 1}\n\n{"b": [1, "é"], "a": null}\r\n')
    assert columns == ["a", "b"]
    assert rows == [Row(1, {"a": "1"}), Row(3, {"b": MARK + '[1, "é"]', "a": ""})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "is a JSON list, not an object"),
        (b'{"a": 1, "a": 2}', "has a key twice"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b'{"a": "\\ud800"}', "not valid UTF-8"),
        (b'{"a": "\\u0000"}', "holds a NUL"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": "' + b"x" * 5000 + b'"}', "is longer than"),
    ],
)
def test_a_bad_line_is_named_and_the_next_one_is_read(tmp_path, monkeypatch, line, told):
    if told == "is longer than":
        monkeypatch.setattr(text_file, "MAX_LINE_BYTES", 1000)
    _, rows = json_rows(tmp_path, b'{"a": 0}\n' + line + b'\n{"a": 2}\n')
    assert rows[0] == Row(1, {"a": "0"})
    assert isinstance(rows[1], BadLine)
    assert told in rows[1].message
    assert rows[2] == Row(3, {"a": "2"})


# ---- Parquet


def test_parquet_cells_are_text(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from datetime import date

    from pyarrow import parquet

    columns = {
        "n": [1, None],
        "x": [0.5, float("nan")],
        "yes": [True, False],
        "day": [date(2020, 1, 2), None],
        "price": [Decimal("1.50"), None],
        "many": [["a", None], []],
        "photo": [{"bytes": b"\xff\xd8", "path": "a.jpg"}, None],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    stream = opened(tmp_path, "t.parquet")
    assert stream.columns == ["n", "x", "yes", "day", "price", "many"]
    assert list(stream.rows) == [
        Row(
            1,
            {
                "n": "1",
                "x": "0.5",
                "yes": "True",
                "day": "2020-01-02",
                "price": "1.50",
                "many": MARK + '["a", null]',
            },
        ),
        Row(2, {"n": "", "x": "", "yes": "False", "day": "", "price": "", "many": MARK + "[]"}),
    ]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_parquet_is_named(tmp_path, share):
    name = write_parquet(tmp_path, "t.parquet")
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match="is not Parquet"):
        opened(tmp_path, name)


def test_a_damaged_parquet_page_is_named(tmp_path):
    name = write_parquet(tmp_path, "t.parquet")
    data = bytearray((tmp_path / name).read_bytes())
    data[4:60] = b"\xff" * 56
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=r"t\.parquet"):
        list(opened(tmp_path, name).rows)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    name = write_parquet(tmp_path, "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sensorium\[parquet\]'"):
        opened(tmp_path, name)


# ---- class folders


def test_class_folders_become_media_and_label(tmp_path):
    for name in ("cat/1.jpg", "cat/.hidden", "cat/Thumbs.db", "dog/deep/2.jpg", "dog/10.jpg", "stray.txt"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).touch()
    (tmp_path / "pets" / "dog" / "loop").symlink_to(tmp_path / "pets")
    spec = TableSpec.parse("folder:pets", tmp_path)
    stream = open_rows(spec)
    rows = list(stream.rows)
    assert stream.columns == ["media", "label"]
    assert [row.cells for row in rows if isinstance(row, Row)] == [
        {"media": "cat/1.jpg", "label": "cat"},
        {"media": "dog/10.jpg", "label": "dog"},
        {"media": "dog/deep/2.jpg", "label": "dog"},
    ]
    assert [row for row in rows if isinstance(row, BadLine)] == [BadLine(4, "'stray.txt' is in no class folder")]
    assert (spec.media_folder / "cat/1.jpg").is_file()


def test_classes_have_names_where_a_file_says_them(tmp_path):
    for name in ("train/n01440764/a.JPEG", "train/n01443537/b.JPEG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    mapping = tmp_path / "LOC_synset_mapping.txt"
    mapping.write_text("n01440764 tench, Tinca tinca\nn01443537\tgoldfish\n")
    stream = opened(tmp_path, "folder:train?names=../LOC_synset_mapping.txt")
    assert [row.cells["name"] for row in stream.rows if isinstance(row, Row)] == ["tench, Tinca tinca", "goldfish"]
    mapping.write_text("n01440764 tench\nn0144")
    with pytest.raises(DataError, match=r"mapping\.txt: does not name 1 of the classes, such as 'n01443537'"):
        opened(tmp_path, "folder:train?names=../LOC_synset_mapping.txt")
    mapping.write_bytes(b"n01440764 \xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        opened(tmp_path, "folder:train?names=../LOC_synset_mapping.txt")
    with pytest.raises(DataError, match="no such file of names"):
        opened(tmp_path, "folder:train?names=gone.txt")


# ---- options of specs


def test_options_stand_behind_the_path(tmp_path):
    (tmp_path / "a").mkdir()
    spec = TableSpec.parse("folder:a?names=x%26y.txt", tmp_path)
    assert (spec.path, spec.options) == (tmp_path / "a", {"names": "x&y.txt"})
    assert absolute_spec("folder:a?names=../b/x.txt", tmp_path) == f"folder:{tmp_path}/a?names=../b/x.txt"
    assert absolute_spec("a.csv", tmp_path) == f"{tmp_path}/a.csv"
    assert absolute_spec("hf:user/name?split=train", tmp_path) == "hf:user/name?split=train"
    assert absolute_spec("hf:a?split=train", tmp_path) == f"hf:{tmp_path}/a?split=train"
    assert spec.seen_from(tmp_path / "b") == "folder:../a?names=x%26y.txt"
    assert TableSpec.parse("hf:user/name", tmp_path).seen_from(tmp_path / "b") == "hf:user/name"


def test_unknown_options_suggest_the_near_one(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match=r"no option 'name' \(did you mean 'names'"):
        opened(tmp_path, "folder:a?name=x.txt")
    with pytest.raises(ConfigError, match=r"no option 'x' \(it has none\)"):
        opened(tmp_path, "conll:a?x=y")
    with pytest.raises(ConfigError, match="cannot be told apart"):
        opened(tmp_path, "folder:a?names=1&names=2")


def test_a_folder_without_classes_is_refused(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.jpg").touch()
    with pytest.raises(DataError, match="no class folders"):
        opened(tmp_path, "folder:flat")
    with pytest.raises(DataError, match="no such table"):
        opened(tmp_path, "folder:gone")
    with pytest.raises(DataError, match="is not a folder"):
        opened(tmp_path, "folder:flat/a.jpg")

"""CSV and TSV: against csv.writer as the peer, and against files as they are found in the wild."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import text_file
from sensorium.core.errors import DataError
from sensorium.data import readers, readers_delimited
from sensorium.data.readers import BadLine, Row, TableSpec, open_rows

CELL = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


def read(path: Path) -> tuple[list[str], list[Row], list[BadLine]]:
    stream = open_rows(TableSpec.parse(path.name, path.parent))
    rows = list(stream.rows)
    return stream.columns, [r for r in rows if isinstance(r, Row)], [r for r in rows if isinstance(r, BadLine)]


def saved(folder: Path, data: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    name=st.sampled_from(["t.csv", "t.tsv"]),
    bom=st.booleans(),
)
def test_what_csv_writes_is_what_is_read(tmp_path_factory, rows, end, name, bom):
    text = io.StringIO()
    delimiter = "," if name == "t.csv" else "\t"
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL, delimiter=delimiter)
    writer.writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("csv") / name
    path.write_text(text.getvalue(), encoding="utf-8-sig" if bom else "utf-8", newline="")
    columns, good, bad = read(path)
    assert columns == ["a", "b"]
    assert bad == []
    assert [list(row.cells.values()) for row in good] == rows
    # The line of a row is where its first character stands.
    lines = 2
    for row, cells in zip(good, rows, strict=True):
        assert row.line == lines
        lines += len(io.StringIO(csv_row(cells, delimiter, end), newline="").readlines())


def csv_row(cells: list[str], delimiter: str, end: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL, delimiter=delimiter).writerow(cells)
    return text.getvalue()


def test_quoted_newlines_and_blank_lines_keep_line_numbers_true(tmp_path):
    path = saved(tmp_path, 'a,b\r\n1,"x\r\ny"\r\n\r\n2,z\r\n')
    assert [tuple(row) for row in read(path)[1]] == [(2, {"a": "1", "b": "x\r\ny"}), (5, {"a": "2", "b": "z"})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"1", "has 1 cells, the header has 2"),
        (b"1,2,3", "has 3 cells"),
        (b"1,\xff\xfe", "'b' is not valid UTF-8"),
        (b"1,a\0b", "'b' holds a NUL"),
        (b'"1"x,2', "quoting is broken"),
    ],
)
def test_a_bad_row_is_named_and_the_next_one_is_read(tmp_path, line, told):
    path = saved(tmp_path, b"a,b\n0,0\n" + line + b"\n5,6\n")
    _, good, bad = read(path)
    assert [row.cells["a"] for row in good] == ["0", "5"]
    assert [row.line for row in good] == [2, 4]
    assert len(bad) == 1
    assert bad[0].line == 3
    assert told in bad[0].message


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,a\n1,2\n", "two columns are called 'a'"),
        (b"a, a\n1,2\n", "two columns are called 'a'"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0", "not valid UTF-8"),
        (b"PK\3\4\0\0\0\0[Content_Types].xml", "a spreadsheet's .xlsx"),
        (b'"a"x,b\n', "header cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, data, told):
    with pytest.raises(DataError, match=told):
        read(saved(tmp_path, data))


def test_a_quote_that_never_closes_names_its_row(tmp_path):
    path = saved(tmp_path, 'a,b\n1,2\n3,"4\n5,6\n7,8\n')
    with pytest.raises(DataError, match=r"t\.csv:3: .*never ends"):
        read(path)


def test_a_header_alone_has_no_rows(tmp_path):
    assert read(saved(tmp_path, "a,b\n")) == (["a", "b"], [], [])


def test_unnamed_columns_are_numbered(tmp_path):
    assert read(saved(tmp_path, ",b\n0,x\n"))[0] == ["column_1", "b"]


def test_semicolons_separate_where_the_header_has_no_comma(tmp_path):
    assert read(saved(tmp_path, 'a;b\n"1,5";2\n'))[1][0].cells == {"a": "1,5", "b": "2"}
    assert read(saved(tmp_path, "a;b,c\n1;2,3\n"))[0] == ["a;b", "c"]


@pytest.mark.parametrize("cell", ["x" * 200, f'"{"x" * 60}\n{"x" * 60}"', "日" * 50, "x" * 5000])
def test_a_cell_or_line_beyond_its_cap_is_one_bad_row(tmp_path, monkeypatch, cell):
    monkeypatch.setattr(readers, "MAX_CELL_BYTES", 100)
    monkeypatch.setattr(text_file, "MAX_LINE_BYTES", 1000)
    path = saved(tmp_path, f"a,b\n0,0\n1,{cell}\n5,6\n")
    _, good, bad = read(path)
    assert [(row.line, row.cells["a"]) for row in good] == [(2, "0"), (5 if "\n" in cell else 4, "5")]
    assert [row.line for row in bad] == [3]
    assert "is larger than" in bad[0].message or "is longer than" in bad[0].message


def test_a_quoted_cell_of_many_lines_beyond_the_cap_of_lines_is_a_quote_left_open(tmp_path, monkeypatch):
    monkeypatch.setattr(readers_delimited, "MAX_LINE_BYTES", 64)
    path = saved(tmp_path, 'a,b\n1,"' + "x\n" * 60)
    with pytest.raises(DataError, match=r"t\.csv:2: a quoted cell that begins in this row is longer"):
        read(path)


def test_the_cap_holds_inside_this_module_only(tmp_path):
    before = csv.field_size_limit()
    _, good, _ = read(saved(tmp_path, f"a,b\n1,{'x' * (before + 1)}\n"))
    assert len(good[0].cells["b"]) == before + 1
    assert csv.field_size_limit() == before


def test_a_tsv_with_loose_quotes_keeps_them(tmp_path):
    path = saved(tmp_path, 'text\tlabel\n"Hello there\t1\nhe said "no"\t0\n', "t.tsv")
    assert [row.cells["text"] for row in read(path)[1]] == ['"Hello there', 'he said "no"']


def test_a_tsv_with_quoted_cells_is_unquoted(tmp_path):
    path = saved(tmp_path, 'text\tlabel\n"a\tb\nc"\t1\n"say ""no"""\t0\n', "t.tsv")
    assert [row.cells["text"] for row in read(path)[1]] == ["a\tb\nc", 'say "no"']


def test_a_long_tsv_is_judged_by_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(readers_delimited, "_SNIFF_CHARACTERS", 20)
    quoted = saved(tmp_path, 'text\tlabel\n"a\nbbbbbbbbbbbbbbbbbbbbbb"\t1\n', "q.tsv")
    assert read(quoted)[1][0].cells["text"].startswith("a\nb")
    loose = saved(tmp_path, 'text\tlabel\n"a" b\t0\nbbbbbbbbbbbbbbbbbbbbbb\t1\n', "l.tsv")
    assert read(loose)[1][0].cells["text"] == '"a" b'


def test_the_reference_captions_are_read_whole(reference_data):
    columns, good, bad = read(reference_data / "flickr8k" / "captions.tsv")
    assert columns == ["image", "split", "n", "caption"]
    assert bad == []
    lines = (reference_data / "flickr8k" / "captions.tsv").read_text(encoding="utf-8").splitlines()
    assert [row.cells["caption"] for row in good] == [line.split("\t")[3] for line in lines[1:]]


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\u2029"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_sign_that_other_programs_take_for_a_line_end_is_part_of_its_cell(tmp_path, sign, name):
    part = "," if name == "t.csv" else "\t"
    text = f'text{part}label\none{sign}two{part}x\n"say ""no""{part} {sign}"{part}y\n'
    rows = read(saved(tmp_path, text, name))[1]
    assert [row.cells["text"] for row in rows] == [f"one{sign}two", f'say "no"{part} {sign}']
    assert [row.line for row in rows] == [2, 3]


TABLE = "text;label\n" + "".join(f"hello {i};x{i % 2}\n" for i in range(20))


@pytest.mark.parametrize(
    "data",
    [
        "sep=;\n" + TABLE,
        "\ufeffsep=;\r\n" + TABLE,
        "SEP=,\n" + TABLE.replace(";", ","),
        '"sep=;"\n' + TABLE,
        "sep=|\n" + TABLE.replace(";", "|"),
        "sep=\t\n" + TABLE.replace(";", "\t"),
        "\nsep=;\n" + TABLE,
        TABLE.replace("text", '"text"'),
    ],
)
def test_what_parts_the_cells_may_stand_before_the_header(tmp_path, data):
    columns, good, bad = read(saved(tmp_path, data))
    assert (columns, len(good), bad) == (["text", "label"], 20, [])
    assert good[0].cells == {"text": "hello 0", "label": "x0"}
    assert good[0].line == data[: data.index("hello 0")].count("\n") + 1


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ('"a,b";c', ["a,b", "c"]),
        ("name, first;age;label", ["name, first", "age", "label"]),
        ("tags (a;b),text,label", ["tags (a;b)", "text", "label"]),
        ("a|b,c", ["a|b", "c"]),
        ('"one\ttwo"', ["one\ttwo"]),
        ("text", ["text"]),
    ],
)
def test_the_sign_that_parts_the_header_most_parts_the_table(tmp_path, header, columns):
    assert read(saved(tmp_path, header + "\n"))[0] == columns


@pytest.mark.parametrize(
    ("name", "header", "told"),
    [
        (
            "t.csv",
            "text\tlabel",
            r"t\.csv:1: one column, 'text\\tlabel': is it parted by tabs\? \(save it as \.tsv\)",
        ),
        ("t.csv", "raw, text\tlabel", r"a column with tabs in its name.*save it as \.tsv"),
        ("t.csv", "text|label", r"is it parted by bars\? \(write the line 'sep=\|' before it\)"),
        ("t.tsv", "text,label", r"is it parted by commas\? \(save it as \.csv\)"),
        ("t.tsv", "text;label", r"is it parted by semicolons\? \(save it as \.csv\)"),
    ],
)
def test_a_table_parted_by_another_sign_is_refused_with_the_cure(tmp_path, name, header, told):
    with pytest.raises(DataError, match=told):
        read(saved(tmp_path, f"{header}\nx\ty\n", name))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-32-be"])
def test_the_encodings_of_spreadsheets_are_told_apart(tmp_path, encoding):
    with pytest.raises(DataError, match=f"is {encoding[:6].upper()} text"):
        read(saved(tmp_path, TABLE.encode(encoding)))

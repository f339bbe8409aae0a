"""One table in several formats: Parquet and Arrow give the cells that pandas writes into a CSV file.

What is expected was written by pandas 3.1.1: `DataFrame({"x": ...}).to_csv(index=False)`.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import pytest

from sensorium.data.table import Table

pyarrow = pytest.importorskip("pyarrow")

DAY, LATER = dt.datetime(2024, 1, 31), dt.datetime(2024, 1, 31, 13, 0, 5)
UTC = dt.UTC


def moments(unit, *values, tz=None):
    return pyarrow.array([*values, None], pyarrow.timestamp(unit, tz))


COLUMNS = {
    "float64": (
        pyarrow.array([0.1, 2.5, 1.0, None, float("nan"), float("inf"), -float("inf"), 1e16, 1e15, 1e-5, -0.0]),
        ["0.1", "2.5", "1.0", "", "", "inf", "-inf", "1e+16", "1000000000000000.0", "1e-05", "-0.0"],
    ),
    "float32": (
        pyarrow.array([0.1, 2.5, 1.0, None, float("inf"), 16777216, 1e-5, 3e38, 1 / 3], pyarrow.float32()),
        ["0.1", "2.5", "1.0", "", "inf", "1.6777216e+07", "1e-05", "3e+38", "0.33333334"],
    ),
    "float16": (pyarrow.array([0.1, 2.5, None, 1 / 3], pyarrow.float16()), ["0.1", "2.5", "", "0.3333"]),
    "int8": (pyarrow.array([1, -2, None], pyarrow.int8()), ["1", "-2", ""]),
    "uint64": (pyarrow.array([2**64 - 1], pyarrow.uint64()), ["18446744073709551615"]),
    "bool": (pyarrow.array([True, False, None]), ["True", "False", ""]),
    "date": (pyarrow.array([dt.date(2024, 1, 31), None]), ["2024-01-31", ""]),
    "days": (moments("ns", DAY), ["2024-01-31", ""]),
    "seconds": (moments("us", DAY, LATER), ["2024-01-31 00:00:00", "2024-01-31 13:00:05", ""]),
    "ms": (
        moments("ms", DAY.replace(microsecond=500_000), LATER),
        ["2024-01-31 00:00:00.500", "2024-01-31 13:00:05.000", ""],
    ),
    "us": (
        moments("us", DAY.replace(microsecond=5), LATER),
        ["2024-01-31 00:00:00.000005", "2024-01-31 13:00:05.000000", ""],
    ),
    "ns": (
        pyarrow.array([1706659200000000005, 1706706005000000000, -1], pyarrow.timestamp("ns")),
        ["2024-01-31 00:00:00.000000005", "2024-01-31 13:00:05.000000000", "1969-12-31 23:59:59.999999999"],
    ),
    "zone": (
        moments("us", DAY.replace(tzinfo=UTC), tz="UTC"),
        ["2024-01-31 00:00:00+00:00", ""],
    ),
    "durations": (pyarrow.array([dt.timedelta(1), dt.timedelta(2), None]), ["1 days", "2 days", ""]),
    "clock": (
        pyarrow.array([dt.timedelta(1, 7200), dt.timedelta(-1, 7200, 500_000)]),
        ["1 days 02:00:00.000000", "-1 days +02:00:00.500000"],
    ),
    "time": (pyarrow.array([dt.time(13), dt.time(1, 2, 3, 500)]), ["13:00:00", "01:02:03.000500"]),
    "decimal": (pyarrow.array([Decimal("1.50"), Decimal("-0.01"), None]), ["1.50", "-0.01", ""]),
    "text": (pyarrow.array(["a", "1.50", " b ", "", None]), ["a", "1.50", " b ", "", ""]),
    "large text": (pyarrow.array(["a", None], pyarrow.large_string()), ["a", ""]),
    "category": (pyarrow.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", "", "a"]),
    "category of numbers": (pyarrow.array([1, 2, None]).dictionary_encode(), ["1", "2", ""]),
    "category of booleans": (pyarrow.array([True, False]).dictionary_encode(), ["True", "False"]),
    "nothing": (pyarrow.nulls(2), ["", ""]),
}


def spec_of(folder: Path, kind: str, table) -> str:
    if kind == "parquet":
        pyarrow.parquet.write_table(table, folder / "t.parquet", row_group_size=1)
        return "t.parquet"
    with pyarrow.ipc.new_stream(str(folder / "data.arrow"), table.schema) as writer:
        for batch in table.to_batches(max_chunksize=1):
            writer.write_batch(batch)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return "hf:."


@pytest.mark.parametrize("kind", ["parquet", "hf"])
@pytest.mark.parametrize("name", COLUMNS)
def test_cells_are_what_pandas_writes(tmp_path, kind, name):
    import pyarrow.parquet

    array, expected = COLUMNS[name]
    table = pyarrow.table({"x": array, "n": list(range(len(array)))})
    assert list(Table.open(spec_of(tmp_path, kind, table), tmp_path).column("x")) == expected


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_floats_in_lists_have_the_digits_of_their_precision(tmp_path, kind):
    import pyarrow.parquet

    array = pyarrow.array([[0.1, 2.5], [], None], pyarrow.list_(pyarrow.float32()))
    table = Table.open(spec_of(tmp_path, kind, pyarrow.table({"x": array})), tmp_path)
    assert list(table.read_as({"x": "items"}).column("x")) == ["0.1 2.5", "", ""]


def test_json_lines_say_the_same(tmp_path):
    rows = [{"x": 0.1, "yes": True, "n": 3}, {"x": float("inf"), "yes": False, "n": None}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = Table.open("t.jsonl", tmp_path)
    assert [table.row(i) for i in range(2)] == [
        {"x": "0.1", "yes": "True", "n": "3"},
        {"x": "inf", "yes": "False", "n": ""},
    ]


def test_bytes_are_no_cells(tmp_path, caplog):
    import pyarrow.parquet

    columns = {"raw": [b"a"], "category": pyarrow.array([b"a"]).dictionary_encode(), "x": ["text"]}
    columns["view"] = pyarrow.array([b"a"], pyarrow.binary_view())
    columns["inside"] = [[{"raw": b"a"}]]
    assert Table.open(spec_of(tmp_path, "parquet", pyarrow.table(columns)), tmp_path).columns == ("x",)
    assert "columns of raw bytes are left out (raw, category, view, inside)" in caplog.text

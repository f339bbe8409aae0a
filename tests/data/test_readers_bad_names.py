"""Whatever is named as a table: an error that says what it is, from every reader, and never a traceback."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from sensorium.core.errors import SensoriumError
from sensorium.data.readers import READERS, absolute_spec
from sensorium.data.table import Table

THERE = ["folder", "empty", "binary", "text", "object", "loop", "dangling"]
NAMES = [*THERE, "none", "text/inside", "x" * 300, "x" * 5000, "nul\0", "~nobody-is-called-so/x", "\udcff", ""]


@pytest.fixture
def things(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "text").write_text("hello\nthere\n")
    (tmp_path / "object").write_text('{"images": [3], "annotations": {"x": [null]}, "questions": 5}')
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    return tmp_path


@pytest.mark.parametrize("kind", READERS)
def test_bad_input_is_named_by_every_reader(things, kind, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("sensorium.data.readers_hf._from_hub", lambda *_: {})
    for name in NAMES:
        spec = kind + name if kind.endswith(":") else name + kind
        if name in THERE and not kind.endswith(":"):
            (things / spec).symlink_to(things / name)
        for cache in (None, things / "cache"):
            with contextlib.suppress(SensoriumError):  # 'text' is a table to some; anything else is an error
                absolute_spec(spec, things)
                assert Table.open(spec, things, cache).columns


def test_a_folder_where_a_file_is_meant_is_told_while_rows_are_read(things):
    (things / "folder" / "images").mkdir()
    with pytest.raises(SensoriumError, match=r"folder: (cannot be read: Is a directory|.*is not there)"):
        Table.open("coco:folder", things)
    with pytest.raises(SensoriumError, match="cannot be read: Is a directory"):
        Table.open("coco:folder?images=folder/images", things)


def test_a_file_that_vanishes_while_rows_are_read_is_named(tmp_path):
    from sensorium.data.readers import TableSpec, open_rows

    (tmp_path / "captions.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "images").mkdir()
    stream = open_rows(TableSpec.parse("coco:captions.json", tmp_path))
    Path(tmp_path / "captions.json").unlink()
    with pytest.raises(SensoriumError, match="no such table"):
        list(stream.rows)


@pytest.mark.parametrize("spec", ["head.csv:2", "head.csv:1"])
def test_a_row_of_a_table_without_rows_is_refused(tmp_path, monkeypatch, spec):
    from types import SimpleNamespace
    from typing import Any, cast

    from sensorium.workflow.explaining import table_row

    monkeypatch.chdir(tmp_path)
    (tmp_path / "head.csv").write_text("text,label\n")
    predictor = cast(Any, SimpleNamespace(read_from=lambda table: table))
    with pytest.raises(SensoriumError, match=r"head\.csv: has no rows"):
        table_row(predictor, spec)

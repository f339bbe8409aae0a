"""What `sensorium init` makes of a table: a config that can be read, on the sides that the table names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sensorium.data.cell_values import cell_of
from sensorium.data.quarantine import Quarantine
from sensorium.data.splits import SIDES
from sensorium.data.table import Table
from sensorium.workflow.config import config_from_text
from sensorium.workflow.inspect import config_for, look_at
from sensorium.workflow.prepare import open_parts

HEADERS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    min_size=2,
    max_size=8,
    unique=True,
)


@settings(max_examples=150)
@given(HEADERS, st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=8))
@example(["评论", "描述", "类别"], "t.csv")
@example(["a b", "a-b", "a.b", "a_b", "A B", "label"], "t.csv")
@example(['"', "'", "\\", "\n", "\x7f", "\x85", "]", "#", "="], "t\n.csv")
@example(["_", "__", "_2", "1", "input_1", "-"], "t.csv")
@example(["été", "ete", "ÉTÉ", "e_te", "label"], "t.csv")
@example(["__2", "_", "é", "__", "__3", "___3"], "t.csv")
def test_every_header_gives_a_config_that_reads_its_columns(headers, name):
    rows = [{header: f"word{i} {k}" for k, header in enumerate(headers)} for i in range(4)]
    table = Table.of(rows, name=name)
    columns = look_at(table)
    config = config_from_text(config_for(table, name, columns), folder=Path())
    known = {"id", "split", "n", "index", "row"}
    read = {choice.column for choice in config.model.inputs.values()} | {config.model.target.column}
    assert {header for header in headers if header.lower() not in known} <= read | {config.data.split_column}
    assert len(config.model.inputs) == len(read) - 1


SPELLINGS = [(side, value) for side, values in SIDES.items() if side != "train" for value in values]


@pytest.mark.parametrize("column", ["split", "Split", " SPLIT", "set", "subset", "Partition"])
@pytest.mark.parametrize(("side", "value"), SPELLINGS)
def test_init_and_training_read_one_and_the_same_split_column(tmp_path, column, side, value):
    """Rows that stand aside are never trained on, however their side is spelled."""
    lines = [f"word{i % 5},{'ab'[i % 2]},{value.title() if i >= 40 else 'Training'}" for i in range(50)]
    (tmp_path / "t.csv").write_text("\n".join([f"text,label,{column}", *reversed(lines)]) + "\n")
    table = Table.open("t.csv", tmp_path)
    config = config_from_text(config_for(table, "t.csv", look_at(table)), tmp_path)
    assert config.data.split_column == table.columns[2]
    assert (config.model.target.column, list(config.model.inputs)) == ("label", ["text"])
    parts = open_parts(config, Quarantine())
    assert parts[side].row_N.tolist() == list(range(10))
    assert set(parts["train"].row_N.tolist()).isdisjoint(range(10))


def test_rows_of_an_unknown_side_are_not_trained_on(tmp_path, caplog):
    lines = [f"word{i % 5},{'ab'[i % 2]},{['train', 'test', 'holdout'][i % 3]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label,split", *lines]) + "\n")
    table = Table.open("t.csv", tmp_path)
    config = config_from_text(config_for(table, "t.csv", look_at(table)), tmp_path)
    with caplog.at_level(logging.WARNING):
        parts = open_parts(config, Quarantine())
    assert {number % 3 for part in ("train", "validation") for number in parts[part].row_N.tolist()} == {0}
    assert "'holdout': 20" in caplog.text


@pytest.mark.parametrize("values", [["train"], ["red", "train"], ["1", "2"], [""]])
def test_a_column_that_parts_nothing_is_no_split(tmp_path, values):
    lines = [f"word{i % 5},{'ab'[i % 2]},{values[i % len(values)]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label,set", *lines]) + "\n")
    table = Table.open("t.csv", tmp_path)
    assert config_from_text(config_for(table, "t.csv", look_at(table)), tmp_path).data.split_column is None


def test_columns_of_lists_are_read_as_lists():
    rows = [
        {"photos": cell_of([f"{i}.jpg", "b.jpg"]), "caption": cell_of(["a red ball lies here", f"so {i}"])}
        for i in range(9)
    ]
    table = Table.of(rows)
    config = config_from_text(config_for(table, "t.jsonl", look_at(table)), Path())
    photos = config.model.inputs["photos"].section
    assert (photos.modality, photos.several, config.model.target.task) == ("image", True, "caption")

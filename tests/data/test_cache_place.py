"""A data folder that cannot be written: the cache goes to the user's own, loudly, or there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from sensorium.core.errors import DiskError
from sensorium.data import cache_place as place
from sensorium.data.arrow_media import as_arrow
from sensorium.workflow.config import config_from_text
from sensorium.workflow.prepare import cache_folder, prepare


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """Give a folder that a user other than root could not write into."""
    data, may = tmp_path / "data", os.access
    data.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: may(path, mode) and not str(path).startswith(str(data)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    place._elsewhere.cache_clear()
    return data


def test_what_is_prepared_is_kept_in_the_users_cache_and_said_once(read_only, caplog):
    for i in range(40):
        Image.new("RGB", (8, 8), (6 * i, 0, 0)).save(read_only / f"{i}.png")
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(40))
    (read_only / "t.csv").write_text("photo,label\n" + rows)
    text = '[data]\ntrain = "t.csv"\n[inputs.photo]\nmodality = "image"\nencoder = "cnn"\nsize = 8\n'
    config = config_from_text(text + '[target]\ncolumn = "label"\ntask = "classify"\n', read_only)
    folder = cache_folder(config)
    assert folder is not None
    assert folder.parent == read_only.parent / "home" / "sensorium"
    prepare(config)
    assert list(folder.glob("prepared/*/000001"))
    assert not (read_only / ".sensorium_cache").exists()
    assert sum("cannot be written" in record.message for record in caplog.records) == 1


def test_two_data_folders_have_two_caches(read_only):
    assert place.cache_place(read_only / "a") != place.cache_place(read_only / "b")


def test_where_nothing_can_be_written_nothing_is_kept(read_only, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only / "home"))
    assert place.cache_place(read_only / ".sensorium_cache") is None
    assert "nothing that is prepared is kept" in caplog.text


def test_parquet_with_media_is_written_as_arrow_elsewhere(read_only, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"x": ["a"]}), read_only / "t.parquet")
    assert as_arrow(read_only / "t.parquet").is_relative_to(Path(read_only.parent / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only / "home"))
    place._elsewhere.cache_clear()
    with pytest.raises(DiskError, match="XDG_CACHE_HOME"):
        as_arrow(read_only / "t.parquet")


def test_a_folder_that_can_be_written_is_taken(tmp_path):
    assert place.cache_place(tmp_path / "deep" / "cache") == tmp_path / "deep" / "cache"

from __future__ import annotations

import json
import logging

import pytest

from sensorium.core.errors import ConfigError, DataError, DiskError
from sensorium.data.quarantine import Quarantine


def test_more_than_the_tolerated_share_stops():
    quarantine = Quarantine(0.01)
    quarantine.saw(200)
    quarantine.add("t.csv:2", "photo", "is empty")
    quarantine.add("t.csv:3", "photo", "is empty")
    quarantine.check()
    quarantine.add("t.csv:9", "", "has 1 cells")
    with pytest.raises(DataError) as caught:
        quarantine.check()
    told = str(caught.value)
    assert "3 of 200 rows quarantined (unreadable: 1, photo: 2), more than the 1 % that are tolerated" in told
    assert "t.csv:2 photo: is empty" in told
    assert "max_bad_fraction" in told
    quarantine.saw(100)
    quarantine.check()  # shares are of all rows seen


def test_a_row_is_counted_once():
    quarantine = Quarantine()
    for name in ("photo", "photo", "speech"):
        quarantine.add("t.csv:2", name, "is empty")
    assert len(quarantine) == quarantine.count == 1
    assert quarantine.counts == {"photo": 1, "speech": 1}
    assert quarantine


def test_the_list_on_disk_grows_as_rows_are_found(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("from an earlier run\n")
    quarantine = Quarantine(path=path)
    quarantine.add("t.csv:2", "photo", "名 is no file")
    quarantine.add("t.csv:3", "", "has 1 cells")
    quarantine.add("t.csv:2", "photo", "名 is no file")  # in the next epoch: known already
    expected = [
        {"where": "t.csv:2", "input": "photo", "message": "名 is no file"},
        {"where": "t.csv:3", "input": "", "message": "has 1 cells"},
    ]
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == expected
    quarantine.write(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()
    with pytest.raises(DiskError):
        Quarantine(path=tmp_path / "no" / "folder.jsonl").add("t.csv:2", "", "")


def test_the_log_names_the_first_ones_and_then_only_counts(caplog):
    quarantine = Quarantine()
    with caplog.at_level(logging.WARNING):
        for line in range(100):
            quarantine.add(f"t.csv:{line}", "photo", "is empty")
    assert len(caplog.records) == 11
    assert "t.csv:0 photo: is empty" in caplog.text
    assert len(quarantine) == 100


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(ConfigError):
        Quarantine(share)

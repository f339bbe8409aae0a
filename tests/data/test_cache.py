"""The cache of prepared media: hits, generations, damage, two processes, crashing decoders."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from crashing import FilePreparer

from sensorium.core.errors import DataError, LockedError, MediaError
from sensorium.core.types import Media
from sensorium.data import cache as cache_module
from sensorium.data import digests as digests_module
from sensorium.data import preparing
from sensorium.data.cache import PreparedCache
from sensorium.data.digests import DigestMemo
from sensorium.data.locking import exclusive
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.preparing import prepare_all

pytestmark = pytest.mark.timeout(60)


def media(folder: Path, *contents: bytes) -> list[Media]:
    folder.mkdir(exist_ok=True)
    for i, content in enumerate(contents):
        (folder / f"{i}.bin").write_bytes(content)
        settled = time.time_ns() - 10**11
        os.utime(folder / f"{i}.bin", ns=(settled, settled))
    return [Media(path=folder / f"{i}.bin") for i in range(len(contents))]


def refuse(*arguments, **settings):
    raise AssertionError("something was prepared that the cache holds")


def test_what_is_kept_is_not_prepared_again(tmp_path, monkeypatch):
    items = media(tmp_path / "m", b"abc", b"defg", b"abc")
    cache = PreparedCache(tmp_path / "cache")
    first = cache.warm(items, FilePreparer(ragged=True))
    assert first.num_prepared == 2  # equal contents are prepared once
    assert [first.tensors[i].tolist() for i in range(3)] == [list(b"abc"), list(b"defg"), list(b"abc")]
    monkeypatch.setattr(FilePreparer, "__call__", refuse)
    again = PreparedCache(tmp_path / "cache").warm(list(reversed(items)), FilePreparer(ragged=True))
    assert again.num_prepared == 0
    assert [again.tensors[i].tolist() for i in range(3)] == [list(b"abc"), list(b"defg"), list(b"abc")]


def test_another_preparation_is_kept_apart(tmp_path):
    items = media(tmp_path / "m", b"abcd")
    cache = PreparedCache(tmp_path / "cache")
    assert cache.warm(items, FilePreparer()).tensors[0].tolist() == list(b"abc")
    assert cache.warm(items, FilePreparer(ragged=True)).tensors[0].tolist() == list(b"abcd")


def test_new_media_are_appended(tmp_path):
    cache = PreparedCache(tmp_path / "cache")
    cache.warm(media(tmp_path / "m", b"abc"), FilePreparer())
    more = cache.warm(media(tmp_path / "m", b"abc", b"def", b"ghi"), FilePreparer())
    assert more.num_prepared == 2
    assert more.tensors.padded(torch.arange(3).numpy())[0].tolist() == [list(b"abc"), list(b"def"), list(b"ghi")]
    assert generations(tmp_path) == ["000001", "000002"]


def generations(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("cache/prepared/*/*") if path.is_dir())


def test_long_work_is_kept_in_several_generations(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_GENERATION_BYTES", 6)
    items = media(tmp_path / "m", *(bytes([i] * 3) for i in range(5)))
    warmed = PreparedCache(tmp_path / "cache").warm(items, FilePreparer())
    assert generations(tmp_path) == ["000001", "000002", "000003"]
    assert [warmed.tensors[i].tolist() for i in range(5)] == [[i] * 3 for i in range(5)]


def test_a_changed_file_is_another_medium(tmp_path):
    cache = PreparedCache(tmp_path / "cache")
    cache.warm(media(tmp_path / "m", b"abc"), FilePreparer())
    (tmp_path / "m" / "0.bin").write_bytes(b"xyz")
    assert cache.warm([Media(path=tmp_path / "m" / "0.bin")], FilePreparer()).tensors[0].tolist() == list(b"xyz")


def test_bytes_in_memory_are_kept_too(tmp_path):
    cache = PreparedCache(tmp_path / "cache")
    cache.warm(media(tmp_path / "m", b"abc"), FilePreparer())
    assert cache.warm([Media(data=b"abc")], FilePreparer()).num_prepared == 0


def test_bad_media_are_told_by_their_number(tmp_path):
    items = [*media(tmp_path / "m", b"abc", b"bad", b"def", b"bad"), Media(path=tmp_path / "gone.bin")]
    warmed = PreparedCache(tmp_path / "cache").warm(items, FilePreparer())
    assert list(warmed.failures) == [1, 3, 4]
    assert "is bad" in warmed.failures[3]
    assert "no such file" in warmed.failures[4]
    assert warmed.num_prepared == 2
    assert len(warmed.tensors) == 2


@pytest.mark.parametrize("name", ["values.bin", "lengths.npy", "layout.json", "digests.txt", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_generation_is_told_and_made_again(tmp_path, caplog, name, damage):
    items = media(tmp_path / "m", b"abc", b"def")
    cache = PreparedCache(tmp_path / "cache")
    cache.warm(items, FilePreparer())
    (path,) = (tmp_path / "cache").glob(f"prepared/*/*/{name}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data if damage == "flip" else data[:-1])
    if damage == "remove":
        path.unlink()
    with caplog.at_level(logging.WARNING):
        warmed = cache.warm(items, FilePreparer())
    assert "cache generation ignored" in caplog.text
    assert warmed.num_prepared == 2
    assert [warmed.tensors[i].tolist() for i in range(2)] == [list(b"abc"), list(b"def")]
    caplog.clear()
    assert cache.warm(items, FilePreparer()).num_prepared == 0
    assert caplog.text == ""


def test_drafts_of_a_killed_process_are_cleared_away(tmp_path):
    cache = PreparedCache(tmp_path / "cache")
    cache.warm(media(tmp_path / "m", b"abc"), FilePreparer())
    (shelf,) = (tmp_path / "cache" / "prepared").iterdir()
    (shelf / ".000002.dead").mkdir()
    cache.warm(media(tmp_path / "m", b"abc", b"def"), FilePreparer())
    assert not list(shelf.glob(".0*"))


def test_an_interrupted_preparation_keeps_whole_generations_only(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_GENERATION_BYTES", 3)
    items = media(tmp_path / "m", b"abc", b"def", b"ghi")

    def interrupted(self, item):
        if item.path.name == "2.bin":
            raise KeyboardInterrupt
        return torch.tensor(list(item.path.read_bytes()), dtype=torch.uint8)

    monkeypatch.setattr(FilePreparer, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PreparedCache(tmp_path / "cache").warm(items, FilePreparer())
    monkeypatch.undo()
    assert PreparedCache(tmp_path / "cache").warm(items, FilePreparer()).num_prepared == 2
    assert not list((tmp_path / "cache").glob("prepared/*/.0*"))


def test_a_second_process_waits_or_is_told(tmp_path):
    items = media(tmp_path / "m", b"abc")
    cache = PreparedCache(tmp_path / "cache")
    shelf = cache.shelf(FilePreparer().fingerprint)
    with exclusive(shelf.folder / ".lock"), pytest.raises(LockedError, match="another process"):
        cache.warm(items, FilePreparer(), wait_s=0.2)
    assert cache.warm(items, FilePreparer(), wait_s=0.2).num_prepared == 1


TWO = """
import sys
from pathlib import Path
from crashing import FilePreparer
from sensorium.core.types import Media
from sensorium.data.cache import PreparedCache
folder = Path(sys.argv[1])
items = [Media(path=path) for path in sorted((folder / "m").iterdir())]
warmed = PreparedCache(folder / "cache").warm(items, FilePreparer())
assert [bytes(warmed.tensors[i].tolist()) for i in range(len(items))] == [i.path.read_bytes() for i in items]
print(warmed.num_prepared)
"""


def test_two_processes_at_once_prepare_each_medium_once(tmp_path):
    media(tmp_path / "m", *(b"%03d" % i for i in range(300)))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    counts = [int(process.communicate(timeout=50)[0]) for process in processes]
    assert sorted(counts) == [0, 300]


def test_workers_prepare_the_same(tmp_path):
    items = media(tmp_path / "m", *(b"%03d" % i for i in range(20)), b"bad")
    here = PreparedCache(tmp_path / "a").warm(items, FilePreparer())
    told: list[tuple[int, int]] = []
    there = PreparedCache(tmp_path / "b").warm(
        items, FilePreparer(), workers=2, progress=lambda done, total: told.append((done, total))
    )
    assert [there.tensors[i].tolist() for i in range(20)] == [here.tensors[i].tolist() for i in range(20)]
    assert there.failures == here.failures
    assert told == [(i, 21) for i in range(1, 22)]


def test_a_medium_that_kills_its_process_is_quarantined(tmp_path, monkeypatch):
    items = media(tmp_path / "m", b"abc", b"kill")
    warmed = PreparedCache(tmp_path / "cache").warm(items, FilePreparer(), workers=1)
    assert list(warmed.failures) == [1]
    assert "SIGKILL" in warmed.failures[1]
    assert warmed.tensors[0].tolist() == list(b"abc")
    monkeypatch.setattr(preparing, "_MOST_DEATHS", 0)
    with pytest.raises(DataError, match="1 media ended their loader process"):
        list(prepare_all(items[1:], FilePreparer(), workers=1))


def test_features_of_a_frozen_part_are_kept_too(tmp_path, reference_data):
    files = sorted((reference_data / "fsdd").glob("0_*.wav"))[:3]
    items = [Media(path=path) for path in files]
    preparer = LogMelPreparer(rate_hz=8000)
    warmed = PreparedCache(tmp_path).warm(items, preparer)
    for i, item in enumerate(items):
        assert torch.equal(warmed.tensors[i], preparer(item))


# ---- digests


def test_digests_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(digests_module, "_UNSETTLED_NS", -1)  # as if the files were of yesterday
    items = media(tmp_path / "m", b"abc", b"def")
    memo = DigestMemo(tmp_path / "memo")
    first = list(memo.digests(items))
    assert len(set(first)) == 2
    with monkeypatch.context() as context:
        context.setattr(digests_module, "span_digests", refuse)
        assert list(memo.digests(items)) == first
    media(tmp_path / "m", b"abd", b"def")  # same size; another inode or time
    os.utime(tmp_path / "m" / "0.bin", ns=(1, 1))
    assert next(memo.digests(items)) != first[0]


def test_a_file_changed_just_now_is_not_trusted(tmp_path, monkeypatch):
    items = media(tmp_path / "m", b"abc")
    memo = DigestMemo(tmp_path / "memo")
    os.utime(tmp_path / "m" / "0.bin")
    first = list(memo.digests(items))
    state = (tmp_path / "m" / "0.bin").stat()
    (tmp_path / "m" / "0.bin").write_bytes(b"xyz")
    os.utime(tmp_path / "m" / "0.bin", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert list(memo.digests(items)) != first


def test_a_broken_memo_costs_time_only(tmp_path, caplog):
    items = media(tmp_path / "m", b"abc", b"def")
    expected = list(DigestMemo(tmp_path / "memo").digests(items))
    (tmp_path / "memo").write_bytes(b"not a database" * 100)
    with caplog.at_level(logging.WARNING):
        assert list(DigestMemo(tmp_path / "memo").digests(items)) == expected
    assert "digested anew" in caplog.text
    caplog.clear()
    assert list(DigestMemo(tmp_path / "memo").digests(items)) == expected
    assert caplog.text == ""


def test_a_medium_that_cannot_be_read_is_its_error(tmp_path):
    good, gone = media(tmp_path / "m", b"abc")[0], Media(path=tmp_path / "gone")
    answers = list(DigestMemo(tmp_path / "memo").digests([gone, good, gone]))
    assert isinstance(answers[0], MediaError)
    assert isinstance(answers[1], str)

"""Batch order and the loader: the same batches for any number of workers, and clean ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from crashing import FilePreparer
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.core.types import Batch
from sensorium.data.bare import BareBatch
from sensorium.data.corpus import Corpus, InputSpec, TargetSpec
from sensorium.data.loader import BatchOrder, Loader
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table
from sensorium.data.tokenizers import build
from sensorium.data.workers import WorkerDied

pytestmark = pytest.mark.timeout(90)

GROUPS = st.lists(st.integers(-1, 5), max_size=40).map(lambda groups: np.array(groups, np.int32))


@given(GROUPS, st.integers(1, 9), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_an_epoch_has_every_row_once_and_groups_together(group_N, batch_rows, seed, epoch, shuffle):
    order = BatchOrder(len(group_N), batch_rows, seed, group_N, shuffle)
    batches = list(order.batches(epoch))
    assert len(batches) == order.num_batches
    assert all(len(batch) == batch_rows for batch in batches[:-1])
    rows = np.concatenate([*batches, np.array([], np.int64)])
    assert sorted(rows.tolist()) == list(range(len(group_N)))
    if not shuffle:
        assert rows.tolist() == list(range(len(group_N)))
        return
    # Each group is one run of rows, so that it is cut by the ends of batches alone.
    groups = group_N[rows.astype(np.int64)]
    starts = [group for i, group in enumerate(groups) if i == 0 or groups[i - 1] != group]
    grouped = [group for group in starts if group >= 0]
    assert len(grouped) == len(set(grouped))


@given(st.integers(0, 50), st.integers(0, 5), st.integers(0, 5), st.integers(0, 12))
def test_the_order_is_a_function_of_seed_and_epoch(num_rows, seed, epoch, start):
    order = BatchOrder(num_rows, 5, seed)
    whole = [batch.tolist() for batch in order.batches(epoch)]
    list(order.batches(epoch + 1))
    assert [batch.tolist() for batch in BatchOrder(num_rows, 5, seed).batches(epoch, start)] == whole[start:]


def test_epochs_seeds_and_rows_within_groups_differ():
    group_N = np.arange(100) // 10
    orders = [BatchOrder(100, 10, seed, group_N).rows(epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert [row // 10 for row in orders[0]] != sorted(row // 10 for row in orders[0])
    assert any(np.diff(np.array(orders[0]).reshape(10, 10), axis=1).ravel() != 1)


def test_an_order_is_the_same_in_every_version():
    """Golden: a change here would break exact resume."""
    assert BatchOrder(8, 3, 5).rows(2).tolist() == GOLDEN
    assert BatchOrder(8, 3, 5, np.array([0, 0, 1, 1, -1, -1, 2, 2])).rows(2).tolist() == GOLDEN_GROUPED


GOLDEN = [7, 5, 2, 6, 0, 3, 4, 1]
GOLDEN_GROUPED = [5, 2, 3, 0, 1, 4, 7, 6]


def test_orders_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        BatchOrder(3, 0, 0)
    with pytest.raises(ValueError, match="2 groups for 3 rows"):
        BatchOrder(3, 1, 0, np.array([0, 1]))


def corpus_of(
    folder: Path, num_rows: int = 23, *, store: str = "none", bad: tuple[int, ...] = (), **settings
) -> Corpus:
    for i in range(num_rows):
        (folder / f"{i}.bin").write_bytes(
            b"bad" if i in bad else b"kill" if i == settings.get("kill") else bytes([i] * (1 + i % 4))
        )
    table = Table.of(
        [{"f": f"{i // 2}.bin" if i % 5 else "", "a": "x" * (i % 3 + 1)} for i in range(num_rows)], folder, "t.csv"
    )
    tokenizer = build("word").fit(["x", "xx", "xxx"])
    inputs = {"f": InputSpec("f", FilePreparer(ragged=True, dtype=torch.bfloat16))}
    quarantine = Quarantine(settings.get("tolerated", 1.0))
    return Corpus.build(
        table, range(num_rows), inputs, TargetSpec("a", tokenizer), store=store, quarantine=quarantine
    )


def assert_equal(left: Batch, right: Batch) -> None:
    assert torch.equal(left.row_id_B, right.row_id_B)
    assert torch.equal(left.token_BT, right.token_BT)
    assert torch.equal(left.mask_BT, right.mask_BT)
    for name in left.inputs:
        assert left.inputs[name].values.dtype == right.inputs[name].values.dtype
        assert torch.equal(left.inputs[name].values, right.inputs[name].values)
        assert torch.equal(left.inputs[name].mask_UT, right.inputs[name].mask_UT)
        assert torch.equal(left.inputs[name].row_B, right.inputs[name].row_B)


def test_any_number_of_workers_gives_the_same_batches(tmp_path):
    corpora = [corpus_of(tmp_path, bad=(3, 7)) for _ in range(2)]
    order = BatchOrder(23, 4, 1, corpora[0].group_N("f"))
    with Loader(corpora[0], order) as here, Loader(corpora[1], order, workers=2) as there:
        for epoch, start in ((0, 0), (1, 3)):
            expected, found = list(here.epoch(epoch, start)), list(there.epoch(epoch, start))
            assert len(expected) == len(found) == here.num_batches - start
            for left, right in zip(expected, found, strict=True):
                assert_equal(left, right)
        assert len(active_children()) == 2
        assert [str(bad) for bad in corpora[0].quarantine] == [str(bad) for bad in corpora[1].quarantine]
        assert len(corpora[0].quarantine) == 3
    assert active_children() == []


def test_a_prepared_corpus_is_loaded_here(tmp_path):
    with Loader(corpus_of(tmp_path, store="memory"), BatchOrder(23, 4, 0), workers=2) as loader:
        assert sum(batch.num_rows for batch in loader.epoch(0)) == 23
        assert active_children() == []


def test_too_many_bad_rows_stop_the_epoch(tmp_path):
    corpus = corpus_of(tmp_path, bad=(3,), tolerated=0.01)
    with Loader(corpus, BatchOrder(23, 4, 0)) as loader, pytest.raises(DataError, match="of 23 rows quarantined"):
        list(loader.epoch(0))


def test_a_batch_that_loses_all_its_rows_comes_empty(tmp_path, caplog):
    corpus = corpus_of(tmp_path, bad=(3,))
    loader = Loader(corpus, BatchOrder(23, 1, 0, shuffle=False))
    rows = [batch.row_id_B.tolist() for batch in loader.epoch(0)]
    assert rows == [[] if i in (6, 7) else [i] for i in range(23)]
    assert "a batch is empty" in caplog.text


def test_a_dead_worker_is_a_named_error_and_the_loader_goes_on(tmp_path):
    corpus = corpus_of(tmp_path, kill=2)
    started = time.monotonic()
    with Loader(corpus, BatchOrder(23, 4, 0, shuffle=False), workers=1) as loader:
        with pytest.raises(WorkerDied, match=r"a batch of 4 rows that begins with t\.csv:5: .*SIGKILL"):
            list(loader.epoch(0))
        assert time.monotonic() - started < 60
        (tmp_path / "2.bin").write_bytes(b"well")
        assert sum(batch.num_rows for batch in loader.epoch(0)) == 23
    assert active_children() == []


def test_an_epoch_left_early_and_an_exception_leave_nothing_behind(tmp_path):
    corpus = corpus_of(tmp_path)

    def fails() -> None:
        with Loader(corpus, BatchOrder(23, 2, 0), workers=1) as loader:
            for _ in loader.epoch(0):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert active_children() == []


SCRIPT = """
if __name__ == "__main__":
    import sys, time
    from multiprocessing import active_children
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_loader import corpus_of
    from sensorium.data.loader import BatchOrder, Loader
    folder = Path(sys.argv[1])
    with Loader(corpus_of(folder), BatchOrder(23, 2, 0), workers=2) as loader:
        for batch in loader.epoch(0):
            (folder / "pids").write_text(" ".join(str(p.pid) for p in active_children()) + " end")
            time.sleep(60)
"""


def test_ctrl_c_ends_everything(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not ((tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("end")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()[:-1]]
    assert len(pids) == 2
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.count("Traceback") == 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_batch_survives_the_pipe(tmp_path):
    batch = corpus_of(tmp_path).batch(np.arange(5))
    assert_equal(BareBatch.of(batch).batch(), batch)
    bare = BareBatch.of(Batch(batch.row_id_B, {}))
    assert bare.batch().token_BT is None

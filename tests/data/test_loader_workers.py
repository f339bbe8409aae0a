"""Worker processes: order, deaths, defects, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
from worker_tasks import Arithmetic, Unloadable

from sensorium.core.errors import DataError, MediaError
from sensorium.data.workers import WorkerDied, WorkerPool

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = set(active_children())
    yield
    assert set(active_children()) <= before


def ends_soon(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_outcomes_come_in_the_order_of_tasks():
    with WorkerPool(Arithmetic(0.001), 3) as pool:
        assert [outcome.value for outcome in pool.run(range(50))] == [2 * i for i in range(50)]
        assert list(pool.run([])) == []
        assert [outcome.value for outcome in pool.run(iter("ab"))] == ["a", "b"]


def test_errors_and_deaths_are_outcomes_and_the_rest_goes_on():
    with WorkerPool(Arithmetic(), 2) as pool:
        outcomes = list(pool.run([1, "kill", 2, "error", "exit", 3]))
    assert [outcome.value for outcome in outcomes] == [2, None, 4, None, None, 6]
    assert [outcome.task for outcome in outcomes] == [1, "kill", 2, "error", "exit", 3]
    killed, failed, ended = outcomes[1].error, outcomes[3].error, outcomes[4].error
    assert isinstance(killed, WorkerDied)
    assert "SIGKILL: out of memory?" in str(killed)
    assert isinstance(failed, MediaError)
    assert str(failed) == "'a.jpg': is empty"
    assert isinstance(ended, WorkerDied)
    assert "exit code 7" in str(ended)


def test_a_worker_killed_while_idle_costs_nothing():
    with WorkerPool(Arithmetic(), 1) as pool:
        list(pool.run([1]))
        (process,) = active_children()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert [outcome.value for outcome in pool.run([1, 2])] == [2, 4]


@pytest.mark.parametrize("task", ["defect", "unpicklable"])
def test_a_defect_is_told_with_its_traceback(task):
    with WorkerPool(Arithmetic(), 1) as pool, pytest.raises(RuntimeError, match=r"a defect|pickle"):
        list(pool.run([1, task, 2]))


def test_work_that_cannot_be_sent_is_told():
    with WorkerPool(Unloadable(), 1) as pool, pytest.raises(RuntimeError, match="no module of that name"):
        list(pool.run([1]))


def test_it_does_not_run_far_ahead():
    taken = []
    with WorkerPool(Arithmetic(), 2) as pool:
        outcomes = pool.run(i for i in range(100) if taken.append(i) is None)
        next(outcomes)
        assert len(taken) <= 1 + 2 * 2
        outcomes.close()  # a loop that is left early ends its workers


UNGUARDED = """
from worker_tasks import Arithmetic
from sensorium.data.workers import WorkerPool
print(list(WorkerPool(Arithmetic(), 1).run([1])))
"""

WAITING = """
import sys
from pathlib import Path
from worker_tasks import Arithmetic
from sensorium.data.workers import WorkerPool
if __name__ == "__main__":
    with WorkerPool(Arithmetic(), 2) as pool:
        list(pool.run([Path(sys.argv[1]), Path(sys.argv[2])]))
"""


def script(folder: Path, text: str, *arguments: Path) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(text)
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, str(folder / "script.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def test_a_script_without_a_guard_is_told_so(tmp_path):
    _, errors = script(tmp_path, UNGUARDED).communicate(timeout=50)
    assert "DataError: a loader process ended before it began" in errors
    assert "__name__" in errors


@pytest.mark.parametrize("how", ["ctrl-c", "terminate", "kill"])
def test_workers_end_with_their_parent(tmp_path, how):
    files = [tmp_path / "1", tmp_path / "2"]
    process = script(tmp_path, WAITING, *files)
    while not all(file.exists() and file.read_text() for file in files):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pids = [int(file.read_text()) for file in files]
    if how == "ctrl-c":  # a terminal sends it to the whole group, workers included
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert errors.count("KeyboardInterrupt") == 1
        assert all(map(ends_soon, pids))
        return
    os.kill(process.pid, signal.SIGTERM if how == "terminate" else signal.SIGKILL)
    process.communicate(timeout=20)
    assert all(map(ends_soon, pids))


def test_too_many_processes_are_an_error_of_ours(monkeypatch):
    def refuse(*arguments, **settings):
        raise BlockingIOError("resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.popen_spawn_posix.Popen", refuse)
    with WorkerPool(Arithmetic(), 1) as pool, pytest.raises(DataError, match="cannot start"):
        list(pool.run([1]))

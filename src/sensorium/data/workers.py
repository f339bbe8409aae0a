"""Worker processes that end: on success, error, Ctrl-C, and when they or their parent are killed.

Enters: a picklable function of one task, and a stream of tasks.
Leaves: one `Outcome` a task, in the order of the tasks.

Processes are spawned, not forked: a fork of a process with threads (torch, tokenizers, a progress bar) may
inherit a lock that nobody will ever release.  Each worker has its own pipe and at most one task, so the
parent knows which task a dead worker had, and neither side sends while the other does:

    worker: ready  ->  parent: work, task  ->  worker: outcome  ->  parent: task  ->  ...

Values travel by pipe, not by shared memory, which containers keep small (64 MB) and killed processes leak.
Pickle is used between these processes alone, never for anything that is kept.

A worker ignores Ctrl-C (the parent handles it) and ends with its parent, however that ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from sensorium.core.errors import DataError, SensoriumError

T = TypeVar("T")
R = TypeVar("R")

_END_S = 2.0  # how long a worker has to obey SIGTERM


class WorkerDied(DataError):
    """The process that worked on a task ended without an answer: killed, or crashed in a decoder."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """What became of one task: its value, or the error."""

    task: T
    value: R | None
    error: SensoriumError | None = None


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, work: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(child,), daemon=True)
        self.is_ready = False
        self.job: tuple[int, Any] | None = None
        self._work = work
        with _start_errors():
            self.process.start()
        child.close()  # so that the pipe ends with the worker

    def give(self, number: int, task: Any) -> None:
        """Hand over a task, as soon as the worker is ready for it."""
        self.job = (number, task)
        if self.is_ready:
            self._send(pickle.dumps(task, protocol=pickle.HIGHEST_PROTOCOL))

    def begin(self) -> None:
        """Send the work, and the task that has been waiting for it."""
        self.is_ready = True
        self._send(self._work)
        if self.job is not None:
            self.give(*self.job)

    def hear(self) -> tuple[str, Any]:
        """Receive a message; ('died', None) where there is none and never will be."""
        try:
            return cast(tuple[str, Any], self.pipe.recv()) if self.pipe.poll() else ("died", None)
        except (EOFError, OSError, pickle.UnpicklingError):
            return "died", None

    def end(self) -> None:
        """End the process now and wait until it has."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(_END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it has died; whoever waits for its outcome will see
            self.pipe.send_bytes(message)


class WorkerPool(Generic[T, R]):
    """Run `work` on tasks in `num_workers` processes.

    Args:
        work: a picklable callable; it is sent to each worker once.
        num_workers: at least 1.  Processes start with the first task.
    """

    def __init__(self, work: Callable[[T], R], num_workers: int) -> None:
        self._work = pickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL)
        self._num_workers = max(1, num_workers)
        self._workers: list[_Worker] = []

    def run(self, tasks: Iterable[T]) -> Iterator[Outcome[T, R]]:
        """Yield outcomes in the order of `tasks`, working ahead by twice the number of workers.

        A SensoriumError raised by `work`, and the death of a worker (`WorkerDied`), are outcomes; the dead
        worker is replaced.

        Raises:
            DataError: workers cannot start at all.
            RuntimeError: `work` raised something else, a defect; the worker's traceback is its text.
        """
        numbered = enumerate(tasks)
        done: dict[int, Outcome[T, R]] = {}
        next_out = num_taken = 0
        try:
            while True:
                room = next_out + 2 * self._num_workers - num_taken
                for number, task in islice(numbered, max(0, min(room, self._num_idle()))):
                    self._idle_worker().give(number, task)
                    num_taken += 1
                if next_out in done:
                    yield done.pop(next_out)
                    next_out += 1
                elif next_out < num_taken:
                    done.update(self._next_outcomes())
                else:
                    return
        finally:
            if any(worker.job for worker in self._workers):  # left early: what is still running is of no use
                self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        while self._workers:
            self._workers.pop().end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _num_idle(self) -> int:
        return self._num_workers - sum(worker.job is not None for worker in self._workers)

    def _idle_worker(self) -> _Worker:
        for worker in [worker for worker in self._workers if worker.job is None]:
            if worker.process.is_alive():
                return worker
            self._workers.remove(worker)
            worker.end()
        self._workers.append(_Worker(self._work))
        return self._workers[-1]

    def _next_outcomes(self) -> Iterator[tuple[int, Outcome[T, R]]]:
        """Wait until some worker answers or ends; may yield nothing."""
        busy = [worker for worker in self._workers if worker.job is not None]
        ready = wait([worker.pipe for worker in busy] + [worker.process.sentinel for worker in busy])
        for worker in busy:
            if worker.pipe not in ready and worker.process.sentinel not in ready:
                continue
            kind, content = worker.hear()
            if kind == "ready":
                worker.begin()
            elif kind == "defect":
                raise RuntimeError(f"in a loader process:\n{content}")
            else:
                yield self._outcome(worker, kind, content)

    def _outcome(self, worker: _Worker, kind: str, content: Any) -> tuple[int, Outcome[T, R]]:
        assert worker.job is not None
        number, task = worker.job
        worker.job = None
        if kind == "value":
            return number, Outcome(task, cast(R, content))
        error = self._bury(worker) if kind == "died" else cast(SensoriumError, content)
        return number, Outcome(task, None, error)

    def _bury(self, worker: _Worker) -> WorkerDied:
        """Forget a dead worker; its place is taken when the next task needs one."""
        worker.process.join(_END_S)
        code = worker.process.exitcode
        self._workers.remove(worker)
        worker.end()
        if not worker.is_ready:
            raise DataError(
                f"a loader process ended before it began ({_cause(code)})",
                advice="put a script's code under `if __name__ == '__main__':`, or set workers to 0",
            )
        return WorkerDied(
            f"its loader process ended ({_cause(code)})",
            advice="if memory is short use fewer workers or smaller batches",
        )


def _cause(exit_code: int | None) -> str:
    if exit_code is None:
        return "it closed its pipe"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "unknown"
    hint = ": out of memory?" if -exit_code == signal.SIGKILL else ""
    return f"signal {-exit_code}, {name}{hint}"


@contextlib.contextmanager
def _start_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"a loader process cannot start: {error}", advice="use fewer workers") from error


def _serve(pipe: Connection) -> None:
    """Work until the pipe ends; the worker's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(("ready", None))
        work: Callable[[Any], Any] | None = None
        while True:
            message = pipe.recv_bytes()
            try:
                if work is None:
                    work = pickle.loads(message)
                    _calm_torch()
                    continue
                answer = pickle.dumps(_answer(work, pickle.loads(message)), protocol=pickle.HIGHEST_PROTOCOL)
            except Exception:
                answer = pickle.dumps(("defect", traceback.format_exc()))
            pipe.send_bytes(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nobody is left to whom a result or an error could matter


def _answer(work: Callable[[Any], Any], task: Any) -> tuple[str, Any]:
    try:
        return "value", work(task)
    except SensoriumError as error:
        return "error", error


def _calm_torch() -> None:
    """Leave the cores to the other workers and to training."""
    if torch := sys.modules.get("torch"):  # which the work has brought along, or else does not need
        torch.set_num_threads(1)

"""One process a run folder.

Enters: the run folder.  Leaves: an exclusive lock for as long as the `with` lasts, or `LockedError`.
The kernel drops the lock when its holder ends, however it ends, so there are no stale ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sensorium.core.commit import disk_error
from sensorium.core.errors import LockedError

LOCK = ".lock"
_held: dict[Path, int] = {}  # run folder -> descriptor, in this process


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold `run` exclusively; within one process it may be nested.

    Raises:
        LockedError: another process holds it; the message has that process's id.
        DiskError: the lock file cannot be made.
    """
    key = run.resolve()
    if key in _held:
        yield
        return
    descriptor = _acquire(run)
    _held[key] = descriptor
    try:
        yield
    finally:
        del _held[key]
        os.close(descriptor)


def _acquire(run: Path) -> int:
    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise disk_error(error, run / LOCK) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise LockedError(
            f"another process (id {holder}) is using this run",
            where=str(run),
            advice="wait for it to end, or choose another --out",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _forget_in_child() -> None:
    # A forked loader process shares the lock's open file: were it to outlive a killed parent, the
    # run would stay locked.  Closing the copy leaves the parent's lock as it is.
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)

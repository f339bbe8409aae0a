"""A lock file: one process at a time may write a cache.

The kernel holds the lock (flock), so it ends with its process, however that ends; the file stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sensorium.core.commit import disk_error
from sensorium.core.errors import LockedError

logger = logging.getLogger(__name__)

_POLL_S = 0.1


@contextlib.contextmanager
def exclusive(path: Path, *, wait_s: float = 600.0) -> Iterator[None]:
    """Hold the lock file `path`, waiting for another holder for at most `wait_s` seconds.

    Raises:
        LockedError: the other one did not finish in time.
        DiskError: the lock file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        _acquire(descriptor, path, wait_s)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    waiting = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if time.monotonic() >= deadline:
            raise LockedError(
                "another process is writing here",
                where=str(path.parent),
                advice="wait for it, or use another cache",
            )
        if not waiting:
            logger.info("%s: waiting for another process that is writing here", path.parent)
            waiting = True
        time.sleep(_POLL_S)

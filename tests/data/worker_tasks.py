"""Work for loader processes under test; imports little, so that a process starts quickly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from sensorium.core.errors import MediaError


class Arithmetic:
    """Double numbers; obey a few words."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self, task: object) -> object:
        if isinstance(task, Path):  # say who works
            task.write_text(str(os.getpid()))
            time.sleep(60)
        if task == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "exit":
            os._exit(7)
        if task == "error":
            raise MediaError("is empty", where="'a.jpg'")
        if task == "defect":
            raise KeyError("a defect")
        if task == "unpicklable":
            return lambda: None
        time.sleep(self.seconds)
        return task * 2 if isinstance(task, int) else task


class Unloadable:
    """Cannot be unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return _fail, ()

    def __call__(self, task: object) -> object:
        return task


def _fail() -> None:
    raise ImportError("no module of that name")

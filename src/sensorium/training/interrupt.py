"""Ctrl-C and SIGTERM ask a run to stop after the step it is in; a second Ctrl-C stops at once.

Enters: the signals of this process.  Leaves: a flag the loop reads, and the error it ends with.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from sensorium.core.errors import SensoriumError


class InterruptedTrainingError(SensoriumError):
    """The run was asked to stop, and its state is saved."""

    exit_code = 130


class StopRequest:
    """While open, catch SIGINT and SIGTERM; `received` names the one that came.

    Signals can only be caught in the main thread; elsewhere this catches none.
    """

    def __init__(self, on_first: Callable[[str], None]) -> None:
        self.received: str | None = None
        self._on_first = on_first
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # From here on a second signal does what it did before: end the process.
        self._give_back()
        self.received = signal.Signals(number).name
        self._on_first(self.received)

    def _give_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

"""A run folder for a measurement that nobody goes on with: it is gone when the measurement ends, and says so."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sensorium.training.interrupt import InterruptedTrainingError


@contextmanager
def scratch_run(measured: str) -> Iterator[Path]:
    """Yield a folder to fit in, and remove it.

    Args:
        measured: what is measured there, for messages.

    Raises:
        InterruptedTrainingError: fitting was asked to stop; what it had is not kept.
    """
    with tempfile.TemporaryDirectory(prefix="sensorium-") as folder:
        try:
            yield Path(folder)
        except InterruptedTrainingError:
            what = f"stopped while measuring {measured}, which is lost; what was saved before it stays"
            raise InterruptedTrainingError(what) from None

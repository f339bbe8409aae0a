"""One name for whatever "out of memory" is called, with the key that helps.

Enters: a block that may need too much.  Leaves: `OutOfMemoryError`, which says what was tried and what to lower.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from sensorium.core.errors import OutOfMemoryError

WHILE_TRAINING = "halve training.batch_rows and double training.accumulate: the same loss from half the memory"
WHILE_JUDGING = "lower evaluation.batch_rows: the same figures from less memory"


@contextlib.contextmanager
def named_memory_errors(batch_rows: int, advice: str) -> Iterator[None]:
    """Turn whatever "out of memory" is called here into `OutOfMemoryError` with this advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        detail = (str(error).splitlines() or ["no details"])[0][:200]
        raise OutOfMemoryError(
            f"out of memory with batches of {batch_rows} rows: {detail}", advice=advice
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU allocator raises a plain RuntimeError; its text is all that tells.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)

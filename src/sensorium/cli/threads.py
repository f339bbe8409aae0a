"""How many threads a command computes with, settled before torch is imported.

Half of the machine's logical cores, one at least, and threads that sleep while they wait.  With a thread on
every core, a step waits for the slowest of them: on two cores with one other busy process, a step of
the easy-VQA model took 15 times as long with two spinning threads as with one
(`benchmarks/threads.py`).  OMP_NUM_THREADS and OMP_WAIT_POLICY, where they are set, decide instead.
"""

from __future__ import annotations

import os


def settle_threads() -> None:
    """Set the defaults for this process and those it starts."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""What a command settles before torch is imported: threads, and how much oneDNN remembers.

Threads: half of the machine's logical cores, one at least, and threads that sleep while they wait.  With a thread
on every core, a step waits for the slowest of them: on two cores beside one busy process, a step of the easy-VQA
model took 2.3 times as long with two spinning threads as with one; alone, 0.66 times (`benchmarks/threads.py`).

oneDNN keeps a compiled kernel for each shape it has met, 1,024 by default; batches of clips of ever new lengths
fill that with hundreds of megabytes which are hardly used again.

Where the variables are set already, they decide.
"""

from __future__ import annotations

import os

KEPT_KERNELS = 64


def settle_environment() -> None:
    """Set the defaults for this process and those it starts."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_KERNELS))

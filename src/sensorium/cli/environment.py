"""What a command settles before torch is imported: threads, and how much oneDNN remembers.

Threads: a step waits for the slowest of them, so one that shares its core with another process costs more than
it brings.  On two cores, a step of the easy-VQA model takes 0.66 times as long with two threads as with one, but
beside one busy process 2.3 times as long (`benchmarks/threads.py`).  So long commands look for a fifth of a
second which cores are idle, and take these; half of the cores at least.  Short ones take half.

oneDNN keeps a compiled kernel for each shape it has met, 1,024 by default; batches of clips of ever new lengths
fill that with hundreds of megabytes which are hardly used again.

Where the variables are set already, they decide.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

KEPT_KERNELS = 64
LONG_COMMANDS = ("demo", "train")
WATCHED_S = 0.2
IDLE_SHARE = 0.75
"""A core that was idle for this share of the time is free."""


def settle_environment() -> None:
    """Set the defaults for this process and those it starts."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_KERNELS))
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // 2)
    if sys.argv[1:2] and sys.argv[1] in LONG_COMMANDS:
        threads = max(threads, _num_free(cores))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if threads < cores:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _num_free(cores: int) -> int:
    """Count the free cores; two logical cores of one are counted as one.  0 where it cannot be known."""
    before = _idle_s()
    time.sleep(WATCHED_S)
    after = _idle_s()
    is_idle = [after[name] - idle >= IDLE_SHARE * WATCHED_S for name, idle in before.items() if name in after]
    return min(cores, sum(is_idle)) // _threads_a_core()


def _idle_s(stat: Path = Path("/proc/stat")) -> dict[str, float]:
    """Return for how long each logical core has been idle, in seconds."""
    try:
        lines = [line.split() for line in stat.read_text().splitlines()]
    except OSError:
        return {}
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    # cpuN user nice system idle iowait ...
    return {words[0]: int(words[4]) / ticks_a_second for words in lines if words[0][:3] == "cpu" and words[0][3:]}


def _threads_a_core(smt: Path = Path("/sys/devices/system/cpu/smt/active")) -> int:
    try:
        return 2 if smt.read_text().strip() == "1" else 1
    except OSError:
        return 1

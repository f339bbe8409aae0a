"""Kill -9 runs at random moments, resume them, and compare; a program, so that it has its own process.

It loads torch once, computes nothing itself, and forks: `python killed_runs.py FOLDER KILLS KILLS_A_RUN SEED`
prints one JSON object.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from small_run import run_once, weight_bytes

from sensorium.training.metrics_log import read_metrics

BUSY = {"epochs": 20, "accumulate": 3, "checkpoint_every": 5, "validate_every": 7}


def train_to_end(run: Path) -> None:
    net, _ = run_once(run, resume=True, **BUSY)
    digest = hashlib.sha256(repr(sorted(weight_bytes(net).items())).encode()).hexdigest()
    (run / "digest").write_text(digest)


def spawn(job: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    return child


def to_end(run: Path) -> None:
    _, status = os.waitpid(spawn(lambda: train_to_end(run)), 0)
    assert status == 0, f"the run in {run} failed"


def killed(run: Path, after_s: float) -> bool:
    """Run for `after_s`, then kill -9; False if the run was faster."""
    child = spawn(lambda: train_to_end(run))
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(folder: Path, num_kills: int, kills_a_run: int, seed: int) -> None:
    chance = random.Random(seed)
    begun = time.monotonic()
    to_end(folder / "whole")
    duration_s = time.monotonic() - begun
    expected = (folder / "whole/digest").read_text(), steps(folder / "whole")
    kills = num_runs = num_equal = 0
    while kills < num_kills:
        run = folder / f"run-{num_runs}"
        for _ in range(kills_a_run):
            kills += killed(run, chance.uniform(0, duration_s / kills_a_run))
        to_end(run)
        num_runs += 1
        num_equal += ((run / "digest").read_text(), steps(run)) == expected
    print(json.dumps({"kills": kills, "runs": num_runs, "equal": num_equal}))


def steps(run: Path) -> list[int]:
    return [record["step"] for record in read_metrics(run)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:5]))

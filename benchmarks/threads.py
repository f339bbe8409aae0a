"""A training step of the easy-VQA model with one thread and with two, alone and beside a busy process.

python benchmarks/threads.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import record

SETTINGS = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads, spinning (the default of torch)": {"OMP_NUM_THREADS": "2"},
    "2 threads, sleeping": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}


def steps() -> None:
    """Print the median milliseconds of a step, in this process."""
    import torch

    from sensorium.workflow.config import load_config
    from sensorium.workflow.fitting import make_loader
    from sensorium.workflow.prepare import prepare

    config = load_config(record.ROOT / "recipes" / "easy_vqa.toml")
    prepared = prepare(config)
    model = prepared.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    times = []
    for i, batch in enumerate(make_loader(config, prepared.train).epoch(0)):
        if i == 20:
            break
        started = time.perf_counter()
        nll_B, num_tokens_B = model.losses(batch)
        optimiser.zero_grad()
        (nll_B.sum() / num_tokens_B.sum()).backward()
        optimiser.step()
        times.append(time.perf_counter() - started)
    print(1e3 * statistics.median(times[3:]))


def measure(environment: dict[str, str]) -> float:
    """Run `steps` in a process of its own."""
    words = [sys.executable, str(Path(__file__).resolve()), "steps"]
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure every setting, alone and beside one busy process."""
    facts: dict[str, dict[str, float]] = {}
    for place in ("alone", "beside a busy process"):
        busy = None if place == "alone" else subprocess.Popen([sys.executable, "-c", "while True: pass"])
        facts[place] = {name: measure(setting) for name, setting in SETTINGS.items()}
        if busy is not None:
            busy.kill()
    record.write("threads", {"milliseconds_a_step": facts})


if __name__ == "__main__":
    steps() if sys.argv[1:] == ["steps"] else main()

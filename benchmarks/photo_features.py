"""What a frozen network costs: features of all photos once, from the cache again, and training on them.

python benchmarks/photo_features.py [--workers 2]      writes results/photo_features.json

`extract`: recipes/flickr8k.toml up to the first training step with an empty cache (read, decode, encode,
keep).  `again`: the same with the cache filled.  Then training steps of the same model and rows, on kept features
and end to end (the photos decoded and kept, the network run and changed in every step), in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import record
import torch

from sensorium.training.seeding import seed_everything
from sensorium.workflow.config import RunConfig, load_config
from sensorium.workflow.fitting import make_loader
from sensorium.workflow.prepare import Prepared, prepare

RECIPE = record.ROOT / "recipes" / "flickr8k.toml"
BATCH_ROWS = 64
STEPS, ROUNDS = 3, 3


def configured(cache: str, *changes: str) -> RunConfig:
    """Read the recipe with a cache of its own."""
    return load_config(RECIPE, [f'data.cache="{cache}"', f"training.batch_rows={BATCH_ROWS}", *changes])


def prepared(config: RunConfig) -> tuple[Prepared, dict[str, float]]:
    """Prepare the recipe, and say how long that took, and how much of a processor's time in this process."""
    began, began_cpu = time.perf_counter(), time.process_time()
    ready = prepare(config)
    return ready, {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}


class Training:
    """Steps of one model, in the order of its loader.

    Args:
        config: how it is trained.
    """

    def __init__(self, config: RunConfig) -> None:
        ready, _ = prepared(config)
        seed_everything(0)
        self.model = ready.model.train()
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(learned, lr=5e-4)
        self.batches = self._endless(make_loader(config, ready.train))

    def _endless(self, loader: Any) -> Any:
        epoch = 0
        while True:
            yield from loader.epoch(epoch)
            epoch += 1

    def rows_per_s(self, steps: int) -> float:
        """Make steps and return how many rows passed a second."""
        began = time.perf_counter()
        for _ in range(steps):
            batch = next(self.batches)
            loss_B, count_B = self.model.losses(batch)
            (loss_B.sum() / count_B.sum()).backward()
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return steps * BATCH_ROWS / (time.perf_counter() - began)


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        kept = configured(cache)
        _, extract = prepared(configured(cache, f"training.workers={args.workers}"))
        _, again = prepared(kept)
        whole = configured(cache, "inputs.photo.frozen=false")
        runs = {"on_features": Training(kept), "end_to_end": Training(whole)}
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run.rows_per_s(1)
        for _ in range(ROUNDS):
            for name, run in runs.items():
                rates[name].append(run.rows_per_s(STEPS))
    best = {name: max(values) for name, values in rates.items()}
    facts = {
        "workers": args.workers,
        "extract": extract,
        "again": again,
        "rows_per_s": best,
        "ratio": best["on_features"] / best["end_to_end"],
    }
    record.write("photo_features", facts)


if __name__ == "__main__":
    main()

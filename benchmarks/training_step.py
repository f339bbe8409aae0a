"""A training step through `sensorium.training.fit`, beside the same step in a bare loop, in turn.

    python benchmarks/training_step.py         # writes results/training_step.json

The loader times both: between two batches that it hands to `fit` it makes one step of the bare loop on
the same batch and model, with an optimiser of its own.  So the steps are interleaved in one run, and
ours is charged with everything it does from one batch to the next: checks, log, progress, clock.
`gpt` is the GPT-like shape of 5.3 M parameters on 32 x 128 tokens; `small` (about 10 ms a step) shows the
loop's own cost where it weighs most.  `autocast` compares the bare step in fp32 and in bf16, in turn: what
`precision = "auto"` goes by.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.core.types import Batch, Conditioning
from sensorium.core.vocabulary import BOS, Vocab
from sensorium.language.registry import ENTRY_POINTS, SCORERS
from sensorium.training.config import TrainingConfig
from sensorium.training.console import PlainLines
from sensorium.training.loop import fit
from sensorium.training.precision import autocast
from sensorium.training.seeding import seed_everything

RESULTS = Path(__file__).parent / "results"
RATE, CLIP_NORM = 1e-3, 1.0


@dataclass(frozen=True)
class Shape:
    """A decoder, its batch, and how many pairs of steps are timed after the untimed first ones."""

    layers: int
    width: int
    heads: int
    num_words: int
    num_rows: int
    num_tokens: int
    num_pairs: int
    num_untimed: int


SHAPES = {
    "gpt": Shape(6, 256, 8, 2048, 32, 128, num_pairs=30, num_untimed=2),
    "small": Shape(2, 64, 4, 256, 16, 16, num_pairs=600, num_untimed=50),
}
AUTOCAST_SHAPES = [
    Shape(2, 64, 4, 256, 16, 16, num_pairs=200, num_untimed=10),
    Shape(2, 128, 4, 256, 64, 8, num_pairs=100, num_untimed=10),
    Shape(2, 128, 4, 2000, 64, 16, num_pairs=50, num_untimed=5),
    Shape(2, 256, 8, 2048, 16, 32, num_pairs=30, num_untimed=3),
    Shape(6, 256, 8, 2048, 32, 128, num_pairs=8, num_untimed=1),
]


class LanguageModel(nn.Module):
    """The decoder alone, as the loop wants it: each row's loss and number of tokens."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        component = registry.load(SCORERS, ENTRY_POINTS, "transformer")
        config = component.Config(
            layers=shape.layers, width=shape.width, heads=shape.heads, mlp="gelu", conditioning="none", dropout=0.0
        )
        self.scorer = component(config, Vocab.of(f"w{i}" for i in range(shape.num_words - 4)), shape.width)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.token_BT is not None
        assert batch.mask_BT is not None
        log_p_BT = self.scorer.score(batch.token_BT, batch.mask_BT, Conditioning.empty(batch.num_rows))
        return -log_p_BT.sum(1), batch.mask_BT[:, 1:].sum(1)


class BareLoop:
    """The least that trains the same: forward, backward, clip, update."""

    def __init__(self, model: LanguageModel, dtype: torch.dtype | None) -> None:
        self.model, self.dtype = model, dtype
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)

    def step(self, batch: Batch) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(torch.device("cpu"), self.dtype):
            nll_B, num_tokens_B = self.model.losses(batch)
        loss = nll_B.sum() / num_tokens_B.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimiser.step()


def random_batch(shape: Shape) -> Batch:
    token_BT = torch.randint(4, shape.num_words, (shape.num_rows, shape.num_tokens + 1))
    token_BT[:, 0] = BOS
    return Batch(torch.arange(shape.num_rows), {}, token_BT, torch.ones_like(token_BT, dtype=torch.bool))


@dataclass(frozen=True)
class Moment:
    """The wall's clock, and this process's own on all its threads: the latter ignores other programs."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: Moment) -> Moment:
        return Moment(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


@dataclass
class TimingLoader:
    """Hand out batches, and make a step of the bare loop between them."""

    bare: BareLoop
    shape: Shape
    ours: list[Moment] = field(default_factory=list)
    theirs: list[Moment] = field(default_factory=list)

    @property
    def num_batches(self) -> int:
        return self.shape.num_untimed + self.shape.num_pairs + 1

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        for number in range(start_batch, self.num_batches):
            batch = random_batch(self.shape)
            if number % 2:  # who goes second finds other things in the caches: they take turns at it
                self._bare_step(batch)
            begun = Moment.now()
            yield batch
            self.ours.append(Moment.now() - begun)
            self._forget_gradients()
            if not number % 2:
                self._bare_step(batch)

    def _bare_step(self, batch: Batch) -> None:
        begun = Moment.now()
        self.bare.step(batch)
        self.theirs.append(Moment.now() - begun)
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        # They share one model: neither may add to, or have to free, what the other has left.
        self.bare.model.zero_grad(set_to_none=True)

    def pairs(self) -> list[tuple[Moment, Moment]]:
        """Return (ours, bare) of the timed pairs; the last step, which also saves, is left out."""
        chosen = slice(self.shape.num_untimed, self.shape.num_untimed + self.shape.num_pairs)
        return list(zip(self.ours[chosen], self.theirs[chosen], strict=True))


def compare(name: str, precision: str) -> dict[str, Any]:
    shape = SHAPES[name]
    seed_everything(0)
    dtype = torch.bfloat16 if precision == "bf16" else None
    model = LanguageModel(shape)  # one for both: two would differ by where their memory happens to lie
    loader = TimingLoader(BareLoop(model, dtype), shape)
    config = TrainingConfig(epochs=1, learning_rate=RATE, clip_norm=CLIP_NORM, precision=precision)
    with tempfile.TemporaryDirectory() as run:
        fit(model, loader, config, Path(run), progress=PlainLines(io.StringIO(), every_s=1.0))
    pairs = loader.pairs()
    return {
        "shape": name,
        "precision": precision,
        "parameters": sum(p.numel() for p in model.parameters()),
        "pairs": len(pairs),
        "wall": summary([(ours.wall_s, bare.wall_s) for ours, bare in pairs]),
        "cpu": summary([(ours.cpu_s, bare.cpu_s) for ours, bare in pairs]),
    }


def summary(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    ours_s, bare_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = sorted(ours / bare for ours, bare in pairs)
    tenth = len(ratios) // 10
    return {
        "median_ms": {"ours": round(1e3 * ours_s, 3), "bare": round(1e3 * bare_s, 3)},
        "ratio_of_medians": round(ours_s / bare_s, 4),
        "median_of_pair_ratios": round(statistics.median(ratios), 4),
        "pair_ratios_10_90_percent": [round(ratios[tenth], 4), round(ratios[-1 - tenth], 4)],
        "median_difference_us": round(1e6 * statistics.median(ours - bare for ours, bare in pairs), 1),
    }


def compare_autocast(shape: Shape) -> dict[str, Any]:
    seed_everything(0)
    batch, times_s = random_batch(shape), {"fp32": [], "bf16": []}  # type: tuple[Batch, dict[str, list[float]]]
    loops = {"fp32": BareLoop(LanguageModel(shape), None), "bf16": BareLoop(LanguageModel(shape), torch.bfloat16)}
    for _ in range(shape.num_untimed + shape.num_pairs):
        for name, loop in loops.items():
            begun = time.perf_counter()
            loop.step(batch)
            times_s[name].append(time.perf_counter() - begun)
    timed = {name: each[shape.num_untimed :] for name, each in times_s.items()}
    ratios = [fp32 / bf16 for fp32, bf16 in zip(timed["fp32"], timed["bf16"], strict=True)]
    return {
        "layers_width_words": [shape.layers, shape.width, shape.num_words],
        "rows_tokens": [shape.num_rows, shape.num_tokens],
        "parameters": sum(p.numel() for p in loops["fp32"].model.parameters()),
        "median_ms": {name: round(1e3 * statistics.median(each), 2) for name, each in timed.items()},
        "median_speedup_of_bf16": round(statistics.median(ratios), 3),
    }


def machine() -> dict[str, Any]:
    cpu = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "")
    return {
        "cpu": cpu.partition(": ")[2] or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--autocast", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "training_step.json")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.shapes:
        for precision in ("fp32", "bf16"):
            rows.append(compare(name, precision))
            print(rows[-1], file=sys.stderr)
    autocast_rows = []
    for shape in AUTOCAST_SHAPES if arguments.autocast else ():
        autocast_rows.append(compare_autocast(shape))
        print(autocast_rows[-1], file=sys.stderr)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=RESULTS, check=False)
    result = {
        "commit": commit.stdout.strip(),
        "command": " ".join(["python", "benchmarks/training_step.py", *sys.argv[1:]]),
        "machine": machine(),
        "results": rows,
        "autocast": autocast_rows,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What each fusion costs: parameters, milliseconds forward and backward, and memory, for three inputs.

    OMP_NUM_THREADS=1 python benchmarks/fusion_cost.py

A batch of 64 rows, width 128: a photo of 16 positions, a question of 12, a sound of 50; every row has all three,
and every other one is half as long and padded.  Defaults throughout, then three fusions in layouts.  Time is
processor time, the median over rounds in each of which every fusion has one forward and backward pass, so that a
busy moment meets all.  Memory is what a training step keeps for its backward pass, each tensor counted once,
parameters and inputs apart: it is exact, and the same on every machine.  `positions` is what the scorer then
attends to, a cost of its own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from typing import Any

import record
import torch
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.core.types import Encoded
from sensorium.fusion.layout import make_fusion
from sensorium.fusion.registry import ENTRY_POINTS, FUSIONS

ROWS, WIDTH = 64, 128
LENGTHS = {"photo": 16, "question": 12, "speech": 50}
LAYOUTS: Mapping[str, Any] = {
    "serial": [["photo"], ["question"], ["speech"]],
    "hybrid": [["photo", "question"], ["speech"]],
}
LAID_OUT = ("concat", "gated", "joint_transformer")


def encodings() -> dict[str, Encoded]:
    """Return the parts; every other row is half as long as it could be."""
    parts = {}
    for name, length in LENGTHS.items():
        real_B = torch.where(torch.arange(ROWS) % 2 == 0, length, length // 2)
        mask_BT = torch.arange(length) < real_B[:, None]
        x_BTD = torch.where(mask_BT[..., None], torch.randn(ROWS, length, WIDTH), 0).requires_grad_()
        parts[name] = Encoded(x_BTD, mask_BT, torch.ones(ROWS, dtype=torch.bool))
    return parts


def step(fusion: nn.Module, parts: Mapping[str, Encoded]) -> Tensor:
    """Run one forward and backward pass; returns the memory."""
    memory: Tensor = fusion(parts).memory.x_BTD
    memory.square().mean().backward()
    return memory


def kept_bytes(fusion: nn.Module, parts: Mapping[str, Encoded]) -> int:
    """Return the bytes that a forward pass keeps for the backward one, without parameters and inputs."""
    given = [*fusion.parameters(), *(part.x_BTD for part in parts.values()), *(p.mask_BT for p in parts.values())]
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        memory = fusion(parts).memory.x_BTD
    assert memory.grad_fn is not None, "alive until here, so that no address is used twice"
    return sum(kept.values())


def fusions() -> dict[str, nn.Module]:
    """Make every fusion with its defaults, and some of them in layouts."""
    names, made = list(LENGTHS), {}
    for name in FUSIONS:
        fusion = registry.load(FUSIONS, ENTRY_POINTS, name)
        made[name] = make_fusion(fusion, fusion.Config(), names, WIDTH, groups=None, given="film")
    for name in LAID_OUT:
        fusion = registry.load(FUSIONS, ENTRY_POINTS, name)
        for layout, groups in LAYOUTS.items():
            made[f"{name}, {layout}"] = make_fusion(
                fusion, fusion.Config(), names, WIDTH, groups=groups, given="film"
            )
    return made


def main() -> None:
    """Measure all, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dry", action="store_true", help="write no result file")
    args = parser.parse_args()
    torch.manual_seed(0)
    parts, made = encodings(), fusions()
    times: dict[str, list[float]] = {name: [] for name in made}
    for round_number in range(args.rounds + 2):  # two to warm up
        for name, fusion in made.items():
            started = time.process_time()
            step(fusion, parts)
            if round_number >= 2:
                times[name].append(time.process_time() - started)
    facts = {
        name: {
            "parameters": sum(p.numel() for p in fusion.parameters()),
            "cpu_ms": round(1000 * statistics.median(times[name]), 2),
            "kept_mib": round(kept_bytes(fusion, parts) / 2**20, 2),
            "positions": fusion(parts).memory.x_BTD.shape[1],
        }
        for name, fusion in made.items()
    }
    for name, fact in facts.items():
        print(f"{name:28} " + "  ".join(f"{key} {value:>9,}" for key, value in fact.items()))
    if not args.dry:
        setting = {"rows": ROWS, "width": WIDTH, "lengths": LENGTHS, "rounds": args.rounds}
        record.write("fusion_cost", {"setting": setting, "fusions": facts})


if __name__ == "__main__":
    main()

"""What rounding a model's weights costs and gives: size, speed at batch 1, quality.

    python benchmarks/optimise.py                       # decoders of several widths, random weights: ms a token
    python benchmarks/optimise.py --run RUN             # and a finished run, its own metrics before and after

Decoders write `--tokens` tokens greedily for one row, each before and after rounding, in turn; the median of each
pair's ratio is kept.  A run is measured by `sensorium optimise`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import record
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import Vocab
from sensorium.decoding.filters import MinLength
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy
from sensorium.language.transformer import Transformer
from sensorium.model.precision import fill, packed
from sensorium.workflow.optimising import optimise

SHAPES = ((2, 128, 2_000), (2, 256, 2_000), (4, 256, 10_000), (4, 512, 10_000), (8, 768, 10_000))
"""Layers, width and words."""


def write(scorer: Transformer, num_tokens: int) -> float:
    """Return milliseconds a token."""
    cond = Conditioning.empty(1, 8)
    started = time.perf_counter()
    with torch.inference_mode():
        found = generate(scorer, cond, search=Greedy(), filters=[MinLength(num_tokens)], max_tokens=num_tokens)
    assert found.token_BT.shape[1] == num_tokens
    return 1000 * (time.perf_counter() - started) / num_tokens


def decoder(layers: int, width: int, words: int, num_tokens: int, repeats: int) -> dict[str, Any]:
    """Time one decoder before and after."""
    torch.manual_seed(0)
    config = Transformer.Config(layers=layers, width=width, heads=width // 32, conditioning="none")
    whole = Transformer(config, Vocab.of(f"w{i}" for i in range(words)), 8).eval()
    small = copy.deepcopy(whole)
    kept = packed(small, small.state_dict(), "int8")
    fill(small, kept, "int8")
    times = [[write(scorer, num_tokens) for scorer in (whole, small)] for _ in range(repeats + 1)][1:]
    before = sum(t.numel() * t.element_size() for t in whole.state_dict().values())
    after = sum(t.numel() * t.element_size() for t in kept.values())
    return {
        "layers": layers,
        "width": width,
        "words": words,
        "megabytes": [before / 1e6, after / 1e6],
        "ms_a_token": [statistics.median(column) for column in zip(*times, strict=True)],
        "times_faster": statistics.median(one / other for one, other in times),
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--way", action="append")
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--dry", action="store_true", help="write no result file")
    args = parser.parse_args()
    facts: dict[str, Any] = {"decoders": [decoder(*shape, args.tokens, args.repeats) for shape in SHAPES]}
    if args.run is not None:
        found = optimise(args.run, args.way or ["int8", "bf16"], max_rows=args.max_rows, say=print)
        facts["run"] = {task: [one.facts() for one in rows] for task, rows in found.measured.items()}
        for rows in facts["run"].values():
            for one in rows:
                one["folder"] = Path(one["folder"]).name
    if args.dry:
        print(facts)
    else:
        record.write("optimise", facts)


if __name__ == "__main__":
    main()

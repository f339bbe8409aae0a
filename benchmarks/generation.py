"""Tokens a second of greedy and beam generation: ours beside transformers, the same size, in turn.

    python benchmarks/generation.py            # needs the `bench` extra; a quiet machine, or the ratios drift

Both sides are GPT-like decoders of 5.3 M parameters with random weights in fp32, and write exactly
`--tokens` tokens for each row from a begin token; ending is forbidden on both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record
import torch
import transformers

from sensorium.core import registry
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, PAD, Vocab
from sensorium.decoding.beam import Beam
from sensorium.decoding.filters import MinLength
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy
from sensorium.language.registry import ENTRY_POINTS, SCORERS

LAYERS, WIDTH, HEADS, NUM_TOKENS, LONGEST = 6, 256, 8, 2048, 256


def ours() -> Any:
    component = registry.load(SCORERS, ENTRY_POINTS, "transformer")
    vocab = Vocab.of(f"w{i}" for i in range(NUM_TOKENS - 4))
    config = component.Config(layers=LAYERS, width=WIDTH, heads=HEADS, mlp="gelu", conditioning="none")
    return component(config, vocab, WIDTH).eval()


def theirs() -> Any:
    shape = {"n_layer": LAYERS, "n_embd": WIDTH, "n_head": HEADS, "vocab_size": NUM_TOKENS, "n_positions": LONGEST}
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**shape, bos_token_id=BOS, eos_token_id=None, pad_token_id=PAD)
    ).eval()


def run_ours(scorer: Any, num_rows: int, width: int, num_tokens: int) -> None:
    search = Greedy() if width == 1 else Beam(width=width, length_penalty=0)
    cond = Conditioning.empty(num_rows, WIDTH)
    with torch.inference_mode():
        found = generate(scorer, cond, search=search, filters=[MinLength(num_tokens)], max_tokens=num_tokens)
    assert found.token_BT.shape == (num_rows, num_tokens)


def run_theirs(model: Any, num_rows: int, width: int, num_tokens: int) -> None:
    begin = torch.full((num_rows, 1), BOS)
    found = model.generate(
        begin,
        attention_mask=torch.ones_like(begin),
        max_new_tokens=num_tokens,
        min_new_tokens=num_tokens,
        do_sample=False,
        num_beams=width,
        pad_token_id=PAD,
    )
    assert found.shape == (num_rows, 1 + num_tokens)


def num_parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(scorer: Any, model: Any, num_rows: int, width: int, num_tokens: int, repeats: int) -> dict[str, Any]:
    """Time both in turn, after one untimed call of each."""
    calls = {
        "ours": lambda: run_ours(scorer, num_rows, width, num_tokens),
        "transformers": lambda: run_theirs(model, num_rows, width, num_tokens),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            elapsed = seconds(call)
            if repeat:
                times[name].append(elapsed)
    rate = {name: num_rows * num_tokens / statistics.median(each) for name, each in times.items()}
    pairs = [b / a for a, b in zip(times["ours"], times["transformers"], strict=True)]
    return {
        "batch": num_rows,
        "beam_width": width,
        "tokens_per_second": {name: round(each, 1) for name, each in rate.items()},
        # Of each pair, because a busy machine drifts between pairs more than within one.
        "ratio": round(statistics.median(pairs), 3),
        "ratio_min_max": [round(min(pairs), 3), round(max(pairs), 3)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=record.RESULTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    scorer, model = ours(), theirs()
    facts: dict[str, Any] = {"transformers": transformers.__version__, "load_average_before": os.getloadavg()[0]}
    facts["parameters"] = {"ours": num_parameters(scorer), "transformers": num_parameters(model)}
    facts["results"] = [
        compare(scorer, model, num_rows, width, arguments.tokens, arguments.repeats)
        for num_rows, width in ((1, 1), (16, 1), (1, 4), (16, 4))
    ]
    record.write("generation", facts, arguments.out)


if __name__ == "__main__":
    main()

"""Tokens a second of a linear-chain CRF, forward and backward: ours beside pytorch-crf, in turn.

    python benchmarks/crf_speed.py            # needs pytorch-crf (pip install pytorch-crf)

Both get the same random emissions and tags of sentences of unequal length, give the summed log-likelihood and its
gradient with respect to emissions and transitions.  Ours does so through `Crf.score`, one log-probability a tag,
as in training; both likelihoods and gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record
import torch
import torchcrf
from torch import Tensor

from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.crf import Crf

NUM_TAGS, LONGEST = 23, 50


def sentences(num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return emissions (B, T, S), tags (B, T) and the mask (B, T)."""
    generator = torch.Generator().manual_seed(num_rows)
    length_B = torch.randint(LONGEST // 2, LONGEST + 1, (num_rows,), generator=generator)
    length_B[0] = LONGEST
    emission_BTS = torch.randn(num_rows, LONGEST, NUM_TAGS, generator=generator)
    tag_BT = torch.randint(0, NUM_TAGS, (num_rows, LONGEST), generator=generator)
    return emission_BTS, tag_BT, torch.arange(LONGEST) < length_B[:, None]


def ours(scorer: Crf, emission_BTS: Tensor, tag_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood and the gradient of the emissions."""
    length_B1 = mask_BT.sum(1, keepdim=True)
    token_BT = torch.full((len(tag_BT), LONGEST + 2), PAD)
    token_BT[:, 0] = BOS
    token_BT[:, 1:-1] = torch.where(mask_BT, tag_BT + UNK, PAD)
    token_BT.scatter_(1, length_B1 + 1, EOS)
    token_mask_BT = torch.arange(LONGEST + 2) < length_B1 + 2
    x_BTS = emission_BTS.clone().requires_grad_()
    part = Encoded(x_BTS, mask_BT, torch.ones(len(tag_BT), dtype=torch.bool))
    total = scorer.score(token_BT, token_mask_BT, Conditioning(part, {"words": part})).sum()
    total.backward()
    assert x_BTS.grad is not None
    return total.detach(), x_BTS.grad


def theirs(layer: Any, emission_BTS: Tensor, tag_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood and the gradient of the emissions."""
    x_BTS = emission_BTS.clone().requires_grad_()
    total = layer(x_BTS, tag_BT, mask=mask_BT, reduction="sum")
    total.backward()
    assert x_BTS.grad is not None
    return total.detach(), x_BTS.grad


def both() -> tuple[Crf, Any]:
    """Make two layers of the same weights."""
    torch.manual_seed(0)
    layer = torchcrf.CRF(NUM_TAGS, batch_first=True)
    scorer = Crf(Crf.Config(project=False), Vocab.of(f"t{i}" for i in range(NUM_TAGS - 1)), NUM_TAGS)
    with torch.no_grad():
        scorer.first_S.copy_(layer.start_transitions)
        scorer.step_SS.copy_(layer.transitions)
        scorer.last_S.copy_(layer.end_transitions)
    return scorer, layer


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(num_rows: int, repeats: int) -> dict[str, Any]:
    """Check that both agree, then time them in turn."""
    scorer, layer = both()
    rows = sentences(num_rows)
    for a, b in zip(ours(scorer, *rows), theirs(layer, *rows), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scorer.step_SS.grad, layer.transitions.grad, rtol=1e-3, atol=1e-3)
    calls = {"ours": lambda: ours(scorer, *rows), "pytorch-crf": lambda: theirs(layer, *rows)}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    num_tokens = int(rows[2].sum())
    pairs = [b / a for a, b in zip(*times.values(), strict=True)]
    return {
        "batch": num_rows,
        "tokens": num_tokens,
        "tokens_per_second": {name: round(num_tokens / statistics.median(each)) for name, each in times.items()},
        "ratio": round(statistics.median(pairs), 2),
        "ratio_min_max": [round(min(pairs), 2), round(max(pairs), 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--out", type=Path, default=record.RESULTS)
    options = parser.parse_args()
    runs = [compare(num_rows, options.repeats) for num_rows in (16, 32, 64)]
    record.write("crf_speed", {"tags": NUM_TAGS, "longest": LONGEST, "runs": runs}, options.out)


if __name__ == "__main__":
    main()

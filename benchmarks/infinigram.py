"""Infinite-gram: building, next-token distributions one by one, and perplexity beside the n-gram alone; one thread.

python benchmarks/infinigram.py ../shared/data

DIR holds ngram/books_train_1m.txt, ngram/books_heldout.txt and text/tinyshakespeare.txt.  Distributions are over
the whole vocabulary after a step of one token, as in decoding, on held-out text; the longest contexts are in the
training text itself, so those are timed, too.  The infini-gram package's p99 on such a machine, in an earlier run
(85 ms), is not measured beside ours.
Where others use the machine, CPU time says more than wall time.  Held-out text is read once, after everything is
fitted.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.data import tokenizers
from sensorium.data.readers_windows import WINDOW
from sensorium.language.infinigram import Infinigram
from sensorium.language.ngram import Ngram
from sensorium.language.suffix_array import next_tokens
from sensorium.workflow.text_ngram import lines_of

Rows = list[list[int]]
TIMED_TOKENS = 3_000


def books(folder: Path) -> tuple[Vocab, Rows, Rows]:
    train, held_out = (folder / "ngram" / name for name in ("books_train_1m.txt", "books_heldout.txt"))
    tokenizer = tokenizers.build("whitespace", None).fit(lines_of(train))
    rows = [[[BOS, *tokenizer.encode(line), EOS] for line in lines_of(path)] for path in (train, held_out)]
    return tokenizer.vocab, rows[0], rows[1]


def shakespeare(folder: Path) -> tuple[Vocab, Rows, Rows]:
    text = (folder / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    vocab = Vocab.of(sorted(set(text)))
    cut = len(text) * 9 // 10
    parts = [vocab.ids(list(part)) for part in (text[:cut], text[cut:])]
    rows = [[[BOS, *ids[i : i + WINDOW], EOS] for i in range(0, len(ids), WINDOW)] for ids in parts]
    return vocab, rows[0], rows[1]


def nats(scorer: Any, rows: Rows) -> float:
    """Return the mean negative log-likelihood of a token, EOS included."""
    total, count = 0.0, 0
    for row in sorted(rows, key=len):
        token_1T = torch.tensor([row])
        mask_1T = torch.ones_like(token_1T, dtype=torch.bool)
        total -= float(scorer.score(token_1T, mask_1T, Conditioning.empty(1)).sum())
        count += len(row) - 1
    return total / count


def milliseconds(scorer: Any, rows: Rows) -> dict[str, float]:
    """Time single steps, each of which gives a whole distribution."""
    real_11, times, cpu_times = torch.ones(1, 1, dtype=torch.bool), [], []
    for row in rows:
        state = scorer.start(Conditioning.empty(1))
        for token in row[:-1]:
            token_11 = torch.tensor([[token]])
            started, started_cpu = time.perf_counter(), time.process_time()
            _, state = scorer.extend(state, token_11, real_11)
            times.append(1e3 * (time.perf_counter() - started))
            cpu_times.append(1e3 * (time.process_time() - started_cpu))
        if len(times) > TIMED_TOKENS:
            break
    found = {"wall": times, "cpu": cpu_times}
    return {
        f"{name}_{kind}": round(float(np.quantile(values, q)), 3)
        for kind, values in found.items()
        for name, q in (("median", 0.5), ("p99", 0.99), ("worst", 1.0))
    }


@torch.inference_mode()
def measure(vocab: Vocab, train: Rows, held_out: Rows, orders: tuple[int, ...]) -> dict[str, Any]:
    token_T = np.concatenate([np.array(row) for row in train])
    started = time.perf_counter()
    next_tokens(token_T, 64)
    facts: dict[str, Any] = {"tokens": len(token_T), "vocabulary": len(vocab)}
    facts["suffix_array_s"] = round(time.perf_counter() - started, 2)
    for order in orders:
        started = time.perf_counter()
        scorer = Infinigram(Infinigram.Config(order=order), vocab, 1).fit(train)
        fit_s = time.perf_counter() - started
        ngram = Ngram(Ngram.Config(order=order), vocab, 1).fit(train)
        facts[f"order {order}"] = {
            "fit_s": round(fit_s, 2),
            "held_out_nats": round(nats(scorer, held_out), 4),
            "held_out_nats_of_the_ngram_alone": round(nats(ngram, held_out), 4),
            "ms_a_distribution_on_held_out_text": milliseconds(scorer, held_out),
            "ms_a_distribution_on_training_text": milliseconds(scorer, train),
        }
    return facts


def main() -> None:
    folder = Path(sys.argv[1])
    facts = {
        "books, words": measure(*books(folder), orders=(2, 3, 5)),
        "tinyshakespeare, characters": measure(*shakespeare(folder), orders=(5, 7)),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "bars": {"ms_a_distribution_p99": 5},
    }
    record.write("infinigram", facts)


if __name__ == "__main__":
    main()

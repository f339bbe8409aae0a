"""What an n-gram mixed in costs in decoding: the same Transformer, with and without, in turn.

    python benchmarks/decoding_cost.py --text TEXT_FILE         # a quiet machine, or the ratios drift

A decoder of some 5 M parameters over the text's 10,000 commonest words, with random weights, writes exactly
`--tokens` words for each of 16 rows, greedily and by a beam of 4; ending is forbidden.  Mixed in is a trigram of
the text's first million words, linearly and by equal shares, so that the texts written are mostly the n-gram's and
its contexts are such as it has seen: the dear case for it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import record
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.decoding.beam import Beam
from sensorium.decoding.filters import MinLength
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.language.transformer import Transformer

LAYERS, WIDTH, HEADS, NUM_WORDS, ROWS, MOST_READ = 4, 256, 8, 10_000, 16, 1_000_000


def read(text: Path) -> tuple[Vocab, list[list[int]]]:
    """Return the vocabulary, and the lines as ids from BOS to EOS."""
    lines = [line.split() for line in text.read_text(encoding="utf-8").splitlines()]
    ends = itertools.accumulate(len(line) for line in lines)
    lines = [line for line, end in zip(lines, ends, strict=True) if end <= MOST_READ]
    counts = Counter(word for line in lines for word in line)
    vocab = Vocab.of(word for word, _ in counts.most_common(NUM_WORDS))
    return vocab, [[BOS, *vocab.ids(line), EOS] for line in lines]


def write(scorer: Any, width: int, num_tokens: int) -> float:
    """Return the seconds of one call."""
    search = Greedy() if width == 1 else Beam(width=width, length_penalty=0)
    cond = Conditioning.empty(ROWS, WIDTH)
    started = time.perf_counter()
    with torch.inference_mode():
        found = generate(scorer, cond, search=search, filters=[MinLength(num_tokens)], max_tokens=num_tokens)
    elapsed = time.perf_counter() - started
    assert found.token_BT.shape == (ROWS, num_tokens)
    return elapsed


def main() -> None:
    """Time both in turn, print and keep the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = record.ROOT / ".." / "shared" / "data" / "ngram" / "books_train_1m.txt"
    parser.add_argument("--text", type=Path, default=default)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="write no result file")
    args = parser.parse_args()
    vocab, sequences = read(args.text)
    torch.manual_seed(0)
    config = Transformer.Config(layers=LAYERS, width=WIDTH, heads=HEADS, conditioning="none")
    alone = Transformer(config, vocab, WIDTH).eval()
    ngram = Ngram(Ngram.Config(order=args.order), vocab, WIDTH).fit(sequences)
    scorers = {"alone": alone, "mixed": Mixture([alone, ngram])}
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in alone.parameters()),
        "words": len(vocab),
        "ngrams": len(ngram.log_p_),
        "order": args.order,
    }
    for name, width in (("greedy", 1), ("beam 4", 4)):
        times: dict[str, list[float]] = {kind: [] for kind in scorers}
        for repeat in range(args.repeats + 1):
            for kind, scorer in scorers.items():
                elapsed = write(scorer, width, args.tokens)
                if repeat:
                    times[kind].append(elapsed)
        ratios = [mixed / one for mixed, one in zip(times["mixed"], times["alone"], strict=True)]
        facts[name] = {
            "ms_a_step": {kind: 1000 * statistics.median(t) / args.tokens for kind, t in times.items()},
            "cost": statistics.median(ratios) - 1,
        }
    if args.dry:
        print(facts)
    else:
        record.write("decoding_cost", facts)


if __name__ == "__main__":
    main()

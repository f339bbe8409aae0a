"""Teach a model 1,000 words and make it forget them: seconds, and whether anything remains.

    python benchmarks/teaching.py ../shared/data/ngram

DIR holds books_train_1m.txt and books_heldout.txt.  The model is an order-5 n-gram of byte-pair tokens, counted on
the former; it is taught 1,000 words of the latter, and judged on the rest of it before, between and after.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import record

from sensorium import Sensorium

TAUGHT_WORDS, JUDGED_LINES, REPEATS = 1_000, 500, 5
CONFIG: dict[str, Any] = {
    "inputs": {},
    "target": {"column": "text", "task": "write", "tokenizer": "bpe", "vocabulary_size": 8_000, "max_tokens": 256},
    "language": {"scorers": ["ngram"], "ngram": {"order": 5}},
    "evaluation": {"baselines": False, "max_rows": 64},
}


def main() -> None:
    """Count, then teach and forget by turns; write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    lines = [line for line in (folder / "books_heldout.txt").read_text().splitlines() if line.strip()]
    words, taught = 0, []
    while words < TAUGHT_WORDS:
        words += len(lines[0].split())
        taught.append(lines.pop(0))
    judged = lines[:JUDGED_LINES]
    with tempfile.TemporaryDirectory() as scratch:
        config = {
            **CONFIG,
            "data": {"train": f"lines:{folder / 'books_train_1m.txt'}", "validation_fraction": 0.01},
        }
        model = Sensorium.from_config(config).fit(Path(scratch) / "run")
        opened = time.perf_counter()
        model = Sensorium.load(Path(scratch) / "run")
        load_s = time.perf_counter() - opened
    scorer = model.predictor.model.scorer

    def nats(texts: list[str]) -> list[float]:
        return model.predictor.score([{}] * len(texts), texts)

    before = nats(judged), nats(taught)
    teach_s, forget_s, between = [], [], before
    for _ in range(REPEATS):
        started = time.perf_counter()
        model.teach(*taught, source="lesson")
        teach_s.append(time.perf_counter() - started)
        between = nats(judged), nats(taught)
        started = time.perf_counter()
        model.forget("lesson")
        forget_s.append(time.perf_counter() - started)
    facts = {
        "words_taught": words,
        "ngrams": int(scorer.level_start_[-1]),
        "load_s": load_s,
        "teach_s": statistics.median(teach_s),
        "forget_s": statistics.median(forget_s),
        "nats_of_what_is_taught": {"before": sum(before[1]), "taught": sum(between[1])},
        "nats_of_other_text": {"before": sum(before[0]), "taught": sum(between[0])},
        "scores_bit_equal_after_forgetting": (nats(judged), nats(taught)) == before,
    }
    record.write("teaching", facts)


if __name__ == "__main__":
    main()

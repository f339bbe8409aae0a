"""How much memory judging takes where the vocabulary is large: 50,000 words, 512 rows of 60 words, every default.

python benchmarks/evaluation_memory.py [--mixes linear product gate]      writes results/evaluation_memory.json

A Transformer beside an n-gram is trained for two steps on text of so many words, then `sensorium evaluate` runs in
a process of its own, whose peak resident memory is written down.  The bar is 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import record

import sensorium

WORDS, ROWS, WORDS_A_ROW = 50_000, 512, 60
CONFIG = """[data]
train = "lines:train.txt"
validation = "lines:test.txt"
[inputs]
[target]
column = "text"
task = "write"
tokenizer = "word"
vocabulary_size = 60000
[language]
scorers = ["transformer", "ngram"]
mix = "{mix}"
[language.transformer]
layers = 1
width = 64
heads = 2
[language.ngram]
order = 2
[training]
max_steps = 2
batch_rows = 16
[evaluation]
baselines = false
report = false
"""


def _word(number: int) -> str:
    """Spell a number in letters: one token to any tokenizer of words."""
    return "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))


def texts(folder: Path) -> None:
    """Write every word three times into the training text, and rows of words drawn from it into the other."""
    g = random.Random(0)
    words = [_word(i) for i in range(WORDS)]
    g.shuffle(words)
    lines = [" ".join(words[i : i + WORDS_A_ROW]) for i in range(0, WORDS, WORDS_A_ROW)]
    (folder / "train.txt").write_text("\n".join(lines * 3) + "\n", encoding="utf-8")
    drawn = [" ".join(g.choices(words, k=WORDS_A_ROW)) for _ in range(ROWS)]
    (folder / "test.txt").write_text("\n".join(drawn) + "\n", encoding="utf-8")


def ran(*words: str, at: Path) -> tuple[str, float]:
    """Run `sensorium WORDS`; returns what it printed, and its peak resident memory in GiB."""
    command = [str(Path(sys.executable).parent / "sensorium"), *words]
    with subprocess.Popen(command, cwd=at, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {process.returncode}")
    return said, usage.ru_maxrss / 2**20


def measure(mix: str) -> dict[str, Any]:
    """Train for two steps, then judge in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        texts(folder)
        (folder / "c.toml").write_text(CONFIG.format(mix=mix), encoding="utf-8")
        _, training_gib = ran("train", "c.toml", "--out", "run", at=folder)
        said, evaluating_gib = ran("evaluate", "run", "--data", "lines:test.txt", "--json", at=folder)
        words = len(sensorium.load(folder / "run").predictor.model.vocab)
    found = json.loads(said)
    return {
        "rows": found.get("rows"),
        "vocabulary": words,
        "training, its judging included, GiB": round(training_gib, 2),
        "evaluating, GiB": round(evaluating_gib, 2),
    }


def main() -> None:
    """Measure each mix, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixes", nargs="+", default=["linear", "product", "gate"])
    parser.add_argument("--dev", action="store_true", help="write nothing")
    args = parser.parse_args()
    facts = {mix: measure(mix) for mix in args.mixes}
    if args.dev:
        print(json.dumps(facts, indent=1))
    else:
        record.write("evaluation_memory", facts)


if __name__ == "__main__":
    main()

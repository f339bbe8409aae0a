"""easy-VQA, typed and spoken: accuracy on the test part, rows a second, one-row latency, start-up.

    python benchmarks/vqa.py easy      trains recipes/easy_vqa.toml (120 s)
    python benchmarks/vqa.py spoken    trains recipes/spoken_vqa.toml, judged by voices never heard

The peer, from its own run on the same kind of machine: Ludwig 0.17.10, 8,000 rows an epoch in 32.2 s (248 rows/s),
52 ms a one-row predict, 20 s to import.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import record

import sensorium
from sensorium.training.console import console_progress
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

LUDWIG_ROWS_PER_S = 8000 / 32.2
QUESTION = "what color is the shape?"


def latency_ms(model: Any, rows: list[dict[str, Any]], repeats: int = 200) -> float:
    """Return the median of one-row predictions."""
    for row in rows[:20]:
        model.predict([row])
    times = []
    for i in range(repeats):
        started = time.perf_counter()
        model.predict([rows[i % len(rows)]])
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def start_to_answer_s(run: Path, photo: str, repeats: int = 5) -> float:
    """Return the median time of a whole `sensorium predict` process."""
    words = ["predict", str(run), "--input", f"photo={photo}", "--input", f"question={QUESTION}"]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sensorium", *words], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Train, judge, time, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["easy", "spoken"])
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--dev", action="store_true", help="judge on validation rows (for choosing), write nothing")
    args = parser.parse_args()
    config = load_config(record.ROOT / "recipes" / f"{args.which}_vqa.toml", args.changes)
    if args.dev:
        config = config.replace(data=config.data.model_copy(update={"test": None}))
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, out=Path(folder) / "run", progress=console_progress(), say=print)
        model = sensorium.load(result.run)
        corpus = result.prepared.test or result.prepared.validation
        rows = [dict(corpus.sample(i * 7).inputs) for i in range(40)]
        photo = str(rows[0]["photo"].path)
        report = result.fitted.report
        accuracy = {"all inputs": result.evaluation.metrics["accuracy"]}
        if args.which == "spoken" and not args.dev:
            for name, only in {"typed": ["photo", "question"], "spoken": ["photo", "speech"]}.items():
                accuracy[name] = model.evaluate(only=only).metrics["accuracy"]
        facts = {
            "accuracy": accuracy,
            "rows": result.evaluation.num_rows,
            "baselines": {b.name: b.metrics["accuracy"] for b in result.baselines},
            "training_s": report.elapsed_s,
            "training_rows_per_s": report.rows_per_s,
            "times_ludwig_rows_per_s": report.rows_per_s / LUDWIG_ROWS_PER_S,
            "one_row_predict_ms": latency_ms(model, rows),
            "process_start_to_answer_s": start_to_answer_s(result.run, photo),
        }
    if args.dev:
        print(facts)
    else:
        record.write(f"{args.which}_vqa", facts)


if __name__ == "__main__":
    main()

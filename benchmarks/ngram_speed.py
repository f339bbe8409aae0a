"""N-gram speed: text file to queryable model, next-token distributions, and scoring; one thread.

python benchmarks/ngram_speed.py ../shared/data/ngram

DIR holds books_train_1m.txt and books_heldout.txt.  The bars are KenLM's figures on such a machine (lmplz, and its
Python module's loops); it is not run beside ours.  Where the machine is shared, the least of several runs counts,
and CPU time stands beside wall time, with the load that the machine had.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import record

TRAIN, HELD_OUT = "books_train_1m.txt", "books_heldout.txt"
ORDER, REPEATS = 5, 4


def build(text: str, out: str, *options: str) -> None:
    """Train, save and open a model in this process; print what it took."""
    started = time.perf_counter()
    from sensorium.workflow import text_ngram

    imported, imported_cpu = time.perf_counter(), time.process_time()
    memory_mib = int(options[0]) if options else None
    model = text_ngram.train_text(Path(text), order=ORDER, memory_mib=memory_mib)
    trained = time.perf_counter()
    text_ngram.save(model, Path(out))
    del model
    text_ngram.load(Path(out))
    done = time.perf_counter()
    facts = {
        "text_to_queryable_cpu_s": time.process_time() - imported_cpu,
        "import_s": imported - started,
        "train_s": trained - imported,
        "save_and_open_s": done - trained,
        "text_to_queryable_s": done - imported,
        "with_import_s": done - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(facts))


def built(folder: Path, out: Path, *options: str) -> dict[str, float]:
    """Call `build` in processes of their own; returns the fastest run's facts."""
    words = [sys.executable, str(Path(__file__).resolve()), "build", str(folder / TRAIN), str(out), *options]
    runs = [json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(REPEATS)]
    best = min(runs, key=lambda run: run["text_to_queryable_s"])
    median_s = statistics.median(run["text_to_queryable_s"] for run in runs)
    return {name: round(value, 3) for name, value in (best | {"text_to_queryable_median_s": median_s}).items()}


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Return the least wall time, and the least CPU time, which other processes lengthen less."""
    times, cpu_times = [], []
    for _ in range(5 * REPEATS):
        started, started_cpu = time.perf_counter(), time.process_time()
        act()
        times.append(time.perf_counter() - started)
        cpu_times.append(time.process_time() - started_cpu)
    return min(times), min(cpu_times)


def distributions(folder: Path) -> dict[str, float]:
    """Time the whole next-token distribution of 64 states over 10,000 words."""
    import torch

    from sensorium.core.types import Conditioning
    from sensorium.core.vocabulary import BOS
    from sensorium.workflow import text_ngram

    model = text_ngram.train_text(folder / TRAIN, order=ORDER, options={"vocabulary_size": 10_000})
    lines = [line for line in text_ngram.lines_of(folder / HELD_OUT) if len(line.split()) > 12][:64]
    token_BT = torch.tensor([[BOS, *model.tokenizer.encode(line)][:12] for line in lines])
    mask_BT = torch.ones_like(token_BT, dtype=torch.bool)
    scorer = model.scorer
    _, state = scorer.extend(scorer.start(Conditioning.empty(64)), token_BT[:, :-1], mask_BT[:, :-1])
    wall, cpu = seconds(lambda: scorer.extend(state, token_BT[:, -1:], mask_BT[:, -1:]))
    return {"wall_ms_a_state": round(1e3 * wall / 64, 4), "cpu_ms_a_state": round(1e3 * cpu / 64, 4)}


def scoring(folder: Path, out: Path) -> dict[str, object]:
    """Time the scoring of held-out text that is ids already, and of the text file whole."""
    import torch

    from sensorium.core.vocabulary import BOS, EOS
    from sensorium.workflow import text_ngram

    model = text_ngram.load(out)
    lines = list(text_ngram.lines_of(folder / HELD_OUT))
    token_T = torch.tensor([i for line in lines for i in (BOS, *model.tokenizer.encode(line), EOS)])
    num_scored = int((token_T != BOS).sum())
    facts: dict[str, object] = {}
    for size in (token_T.numel(), 1 << 16, 1 << 14):
        parts = token_T.split(size)
        wall, cpu = seconds(lambda parts=parts: [model.scorer.score_joined(part) for part in parts])
        facts[f"batches of {size:,} ids"] = {
            "tokens_a_wall_second": round(num_scored / wall),
            "tokens_a_cpu_second": round(num_scored / cpu),
        }
    wall, cpu = seconds(lambda: text_ngram.score_text(model, folder / HELD_OUT))
    facts["from the text file"] = {
        "tokens_a_wall_second": round(num_scored / wall),
        "tokens_a_cpu_second": round(num_scored / cpu),
    }
    return facts


def main() -> None:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "model"
        facts = {
            "text_to_queryable_in_memory": built(folder, out),
            "text_to_queryable_16_mib_on_disk": built(folder, out, "16"),
            "distributions_64_states_10k_words": distributions(folder),
            "scoring": scoring(folder, out),
            "load_average": [round(load, 1) for load in os.getloadavg()],
            "bars": {
                "text_to_queryable_s": 2.8,
                "peak_mib": 600,
                "distribution_ms_a_state": 0.1,
                "tokens_a_second": 2_400_000,
            },
        }
    record.write("ngram_speed", facts)


if __name__ == "__main__":
    build(*sys.argv[2:]) if sys.argv[1] == "build" else main()

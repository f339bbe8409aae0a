"""kill -9 at random moments of `sensorium train`, then --resume: are the final weights bit-equal?

    python benchmarks/kill_resume.py --kills 20

Also cuts the newest checkpoint short and looks whether the run falls back one generation and says so.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record
from PIL import Image

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
CONFIG = """
[data]
train = "shapes.csv"
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 16
[inputs.question]
modality = "text"
encoder = "gru"
[target]
column = "answer"
[fusion]
input_dropout = 0.2
[language]
scorers = ["transformer", "ngram"]
[language.transformer]
dropout = 0.1
[training]
epochs = 30
batch_rows = 16
precision = "fp32"
checkpoint_every = 7
[evaluation]
baselines = false
"""


def make_table(folder: Path) -> None:
    """Write 240 rows about 60 pictures."""
    rows = []
    for i in range(60):
        name = list(COLORS)[i % 3]
        Image.new("RGB", (16, 16), COLORS[name]).save(folder / f"{i}.png")
        rows += [(f"{i}.png", f"is it {asked}?", "yes" if asked == name else "no") for asked in COLORS]
        rows.append((f"{i}.png", "", name))
    with (folder / "shapes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("photo", "question", "answer"), *rows])
    (folder / "shapes.toml").write_text(CONFIG)


def command(folder: Path, out: Path, *more: str) -> list[str]:
    """Return the training command."""
    return [sys.executable, "-m", "sensorium", "train", str(folder / "shapes.toml"), "--out", str(out), *more]


def weights(run: Path) -> str:
    """Return the digest of the final weights."""
    return hashlib.sha256((run / "model" / "weights.safetensors").read_bytes()).hexdigest()


def killed_run(folder: Path, out: Path, delays_s: list[float]) -> int:
    """Train, killing the process after each delay and resuming; returns how many kills hit a live process."""
    num_kills = 0
    for number, delay_s in enumerate(delays_s):
        more = ["--resume"] if number and out.exists() else []
        process = subprocess.Popen(
            command(folder, out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(delay_s)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            num_kills += 1
        process.wait()
    subprocess.run(command(folder, out, "--resume"), check=True, capture_output=True)
    return num_kills


def falls_back(folder: Path, out: Path) -> bool:
    """Cut the newest checkpoint of a killed run and resume it: is that said, and is the model made?"""
    process = subprocess.Popen(command(folder, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list((out / "checkpoints").glob("step-*"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    largest = max(newest.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    done = subprocess.run(command(folder, out, "--resume"), capture_output=True, text=True, check=True)
    return newest.name in done.stderr and "warning" in done.stderr


def main() -> None:
    """Run all of it and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_table(folder)
        started = time.perf_counter()
        subprocess.run(command(folder, folder / "whole"), check=True, capture_output=True)
        whole_s = time.perf_counter() - started
        expected = weights(folder / "whole")
        equal = kills = 0
        for i in range(args.kills):
            out = folder / f"killed-{i}"
            kills += killed_run(folder, out, [chance.uniform(0.2, 1.0) * whole_s])
            equal += weights(out) == expected
            shutil.rmtree(out)
        facts = {
            "uninterrupted_s": whole_s,
            "runs": args.kills,
            "kills_that_hit": kills,
            "bit_equal": equal,
            "truncated_checkpoint_falls_back_and_says_so": falls_back(folder, folder / "cut"),
        }
    record.write("kill_resume", facts)


if __name__ == "__main__":
    main()

"""What follows training where the answers are whole sentences: seconds by what they went to.

    python benchmarks/closed_answers.py [--seconds 20] [--scorers transformer ngram] [--kinds told random]

A table of 2,340 rows: a drawing of a shape, a question, a hint, and one of 780 sentences as the answer.  `told`:
the sentence follows from the three inputs; `random`: it follows from none, the worst case, since no answer is then
much likelier than the others.  A closed task is trained for --seconds with everything that is judged afterwards:
baselines, patterns of presence, Shapley values, the report.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import record
from PIL import Image, ImageDraw

from sensorium.training.console import PlainLines
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 40), "blue": (30, 60, 220), "black": (20, 20, 20)}
SHAPES = ("ball", "box", "bar")
PLACES = ("kitchen", "garden", "office", "cellar", "attic")
OWNERS = ("my sister", "a neighbour", "the teacher", "our doctor", "his uncle", "the baker", "her friend")
REASONS = ("is old", "was a gift", "is broken", "was cheap", "is heavy", "looks new")
WORDS = ["red", "green", "blue", "small", "large", "old", "new", "dark", "light", "wide", "tall", "thin"]


def draw(path: Path, colour: str, shape: str, seed: int) -> None:
    """Draw one shape at a random place."""
    g = random.Random(seed)
    image = Image.new("RGB", (48, 40), tuple(g.randrange(200, 256) for _ in range(3)))
    x, y = g.randrange(2, 24), g.randrange(2, 18)
    pen = ImageDraw.Draw(image)
    box = (x, y, x + 18, y + (6 if shape == "bar" else 18))
    (pen.ellipse if shape == "ball" else pen.rectangle)(box, fill=COLOURS[colour])
    image.save(path)


def table(folder: Path, kind: str, num_rows: int = 2340, num_answers: int = 780) -> None:
    """Write the rows and their drawings."""
    g = random.Random(6)
    facts = [*itertools.product(COLOURS, SHAPES, PLACES, OWNERS, REASONS)]
    chosen = g.sample(facts, num_answers)
    said = {fact: " ".join(g.choices(WORDS, k=g.randrange(8, 12))) for fact in chosen}
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "question", "hint", "answer"])
        for i in range(num_rows):
            colour, shape, place, owner, reason = fact = chosen[i % num_answers]
            draw(folder / f"{i % 400}.png", colour, shape, i) if i < 400 else None
            sentence = f"the {colour} {shape} in the {place} belongs to {owner} and {reason}"
            hint = f"something in the {place} {reason}" if kind == "told" else " ".join(g.choices(WORDS, k=5))
            seen = i if i < 400 else next(j for j in range(400) if chosen[j % num_answers][:2] == fact[:2])
            answer = sentence if kind == "told" else said[fact]
            writer.writerow([f"{seen}.png", f"what does {owner} have there", hint, answer])


def config(folder: Path, seconds: float, scorers: list[str]) -> Path:
    """Write the config: nothing but what has to be said."""
    path = folder / "c.toml"
    path.write_text(f"""[data]
train = "t.csv"
[inputs.picture]
modality = "image"
encoder = "cnn"
size = 32
[inputs.question]
modality = "text"
encoder = "gru"
[inputs.hint]
modality = "text"
encoder = "gru"
[target]
column = "answer"
task = "answer"
[language]
scorers = {scorers}
[training]
seconds = {seconds}
""")
    return path


def measure(kind: str, seconds: float, scorers: list[str]) -> dict[str, Any]:
    """Train and judge once."""
    with tempfile.TemporaryDirectory(prefix="closed-") as name:
        folder = Path(name)
        table(folder, kind)
        started = time.perf_counter()
        result = train(
            load_config(config(folder, seconds, scorers)), out=folder / "run", progress=PlainLines(), say=print
        )
        total = time.perf_counter() - started
    summary = result.summary()
    trained = sum(s for way, s in summary["seconds"].items() if way != "evaluation")
    return {
        "answers": len(result.prepared.answers or ()),
        "rows judged": summary["rows"],
        "accuracy": summary["metrics"]["accuracy"],
        "seconds of fitting": round(trained, 1),
        "seconds of the rest": round(total - trained, 1),
        "seconds": {**summary["seconds"], **{b["name"]: b["seconds"] for b in summary["baselines"]}},
    }


def main() -> None:
    """Measure each kind of table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--scorers", nargs="+", default=["transformer", "ngram"])
    parser.add_argument("--kinds", nargs="+", default=["told", "random"])
    parser.add_argument("--dev", action="store_true", help="write nothing")
    args = parser.parse_args()
    facts = {kind: measure(kind, args.seconds, args.scorers) for kind in args.kinds}
    if args.dev:
        print(facts)
    else:
        record.write("closed_answers", facts)


if __name__ == "__main__":
    main()

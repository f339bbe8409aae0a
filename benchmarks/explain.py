"""Explanations of easy-VQA: what Shapley values cost, and whether maps point at what the answer rests on.

    python benchmarks/explain.py [--run RUN] [--rows 200] [--dev]

Without --run, recipes/easy_vqa.toml is trained for 900 steps, with inputs hidden by chance, to know absence.
Cost: exact Shapley values of a row with four inputs over the time of one prediction, interleaved, medians.
Maps: on rows drawn from the test table (--dev: from the training table, to choose by) the areas of deletion and
insertion beside random orders, and where the shape lies in the map.  An easy-VQA picture holds one shape on a plain
ground: its pixels are those that differ from the corner's.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from PIL import Image

import sensorium
from sensorium import Sensorium
from sensorium.data.table import Table
from sensorium.explain.curves import check_map
from sensorium.explain.gradients import integrated_gradients
from sensorium.explain.occlusion import occlusion
from sensorium.explain.rollout import rollout
from sensorium.explain.scorers import answer_ids
from sensorium.explain.shapley import contributions
from sensorium.explain.variants import Variants
from sensorium.explain.windows import pooled
from sensorium.training.console import console_progress
from sensorium.training.progress import Silent
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

TRAINING = (
    "training.max_steps=900",
    "training.seconds=1000",
    "fusion.input_dropout=0.1",
    "evaluation.baselines=false",
)
METHODS = {"occlusion": occlusion, "integrated_gradients": integrated_gradients, "rollout": rollout}
TOP = 0.1


def four_inputs(folder: Path) -> Sensorium:
    """Train a small model with two photos and two questions for a few steps: its cost is that of any other."""
    for i in range(8):
        Image.fromarray(np.full((64, 64, 3), 30 * i, np.uint8)).save(folder / f"{i}.png")
    lines = [f"{i % 8}.png,{(i + 3) % 8}.png,what is it?,is it {i % 8}?,{i % 8}" for i in range(64)]
    (folder / "four.csv").write_text("\n".join(["front,back,asked,heard,answer", *lines]) + "\n")
    photo, text = {"modality": "image", "encoder": "cnn", "size": 64}, {"modality": "text", "encoder": "gru"}
    config = {
        "data": {"train": "four.csv"},
        "inputs": {"front": photo, "back": photo, "asked": text, "heard": text},
        "target": {"column": "answer", "task": "answer"},
        "fusion": {"features": "mlp", "pooling": "attention", "width": 128},
        "language": {"scorers": ["transformer"], "transformer": {"layers": 1, "width": 64}},
        "training": {"max_steps": 3, "batch_rows": 32},
        "evaluation": {"baselines": False},
    }
    return Sensorium.from_config(config, folder).fit(folder / "run", progress=Silent())


def shapley_cost(repeats: int = 100) -> dict[str, float]:
    """Return medians in ms of one prediction and of 2^4 patterns, taken in turn, both from a row's cells."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        predictor = four_inputs(folder).predictor
        row = {"front": str(folder / "1.png"), "back": str(folder / "2.png"), "asked": "what?", "heard": "is it 2?"}
        ids = [answer_ids(predictor.model, "2")]
        times: dict[str, list[float]] = {"predict": [], "shapley": []}
        for repeat in range(repeats + 10):
            for name, job in {
                "predict": lambda: predictor.predict([row]),
                "shapley": lambda: contributions(predictor.model, predictor.batch([row]), ids),
            }.items():
                started = time.perf_counter()
                job()
                if repeat >= 10:
                    times[name].append(time.perf_counter() - started)
    medians = {f"{name}_ms": 1e3 * statistics.median(taken) for name, taken in times.items()}
    return {**medians, "ratio": medians["shapley_ms"] / medians["predict_ms"]}


def shape_pixels(image_CHW: torch.Tensor) -> torch.Tensor:
    """Return where the picture differs from its upper left corner, (H, W) bool."""
    return (image_CHW - image_CHW[:, :1, :1]).abs().sum(0) > 30


def place_facts(map_P: torch.Tensor, tile: tuple[int, ...], shape_HW: torch.Tensor) -> dict[str, float]:
    """Say where the shape lies in the top tenth of a map's magnitude, pooled over a tile."""
    saliency = pooled(map_P.abs()[None], tile)[0].flatten()
    top = torch.zeros(len(saliency), dtype=torch.bool)
    top[saliency.topk(int(TOP * len(saliency))).indices] = True
    top_HW = top.view(shape_HW.shape)
    y, x = shape_HW.nonzero().double().mean(0).round().long().tolist()
    shared = int((top_HW & shape_HW).sum())
    covered = shared / int(shape_HW.sum())
    return {
        "centre of the shape in top 10 %": float(top_HW[y, x]),
        "half of the shape in top 10 %": float(covered >= 0.5),
        "half of the smaller of the two in both": float(2 * shared >= min(int(top.sum()), int(shape_HW.sum()))),
        "share of the shape in top 10 %": covered,
        "peak on the shape": float(shape_HW.flatten()[saliency.argmax()]),
    }


def maps(run: Path, spec: str, num_rows: int) -> dict[str, Any]:
    """Average over rows, and over those with open questions alone; every row's own answer is explained."""
    predictor = sensorium.load(run).predictor
    table = Table.open(spec, Path())
    found: dict[str, list[dict[str, float]]] = {}
    for i in random.Random(0).sample(range(len(table)), num_rows):
        cells = table.row(i)
        row = {"photo": str(table.folder / cells["photo"]), "question": cells["question"]}
        answer = predictor.predict([row])[0].text
        variants = Variants(predictor.model, predictor.batch([row]), answer_ids(predictor.model, answer), "photo")
        shape_HW = shape_pixels(variants.values[0])
        for name, method in METHODS.items():
            map_P = method(variants).sum(0)
            facts = {**check_map(variants, map_P).facts(), **place_facts(map_P, variants.tile, shape_HW)}
            facts["deletion below random"] = float(facts["deletion"] < facts["random_deletion"])
            facts["share of pixels that are the shape's"] = float(shape_HW.float().mean())
            found.setdefault(name, []).append(facts)
            if cells["question"].startswith("what"):
                found.setdefault(f"{name}, open questions", []).append(facts)
    return {
        name: {"rows": len(rows), **{key: statistics.fmean(row[key] for row in rows) for key in rows[0]}}
        for name, rows in found.items()
    }


def main() -> None:
    """Train or load, measure, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--dev", action="store_true", help="rows of the training table; writes nothing")
    args = parser.parse_args()
    cost = shapley_cost()
    with tempfile.TemporaryDirectory() as folder:
        run = args.run
        if run is None:
            config = load_config(record.ROOT / "recipes" / "easy_vqa.toml", TRAINING)
            run = train(config, out=Path(folder) / "run", progress=console_progress(), say=print).run
        facts = {
            "shapley, 4 inputs": cost,
            "maps": maps(run, "easy-vqa:train" if args.dev else "easy-vqa:test", args.rows),
        }
    if args.dev:
        print(facts)
    else:
        record.write("explain", facts)


if __name__ == "__main__":
    main()

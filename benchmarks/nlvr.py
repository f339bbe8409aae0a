"""NLVR: every fusion at one budget of steps, beside each input alone, late fusion and the majority.

    python benchmarks/nlvr.py [--fusions a,b] [--seeds 3] [--steps 300] [--pretraining-steps 600]

First `sensorium compare` of recipes/nlvr.toml.  Then the recipe after pretraining on generated scenes, whose
questions stand where NLVR has its sentences: by matching pictures with texts and by hidden words.  All are judged
on the development part, which nothing was chosen by.  What is measured is kept in runs/nlvr-compare, and a second
call goes on from there.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import record

from sensorium.cli.output import say
from sensorium.core.config import Source
from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes
from sensorium.training.progress import Silent
from sensorium.workflow.compare import compare
from sensorium.workflow.config import load_config, parse_pretraining
from sensorium.workflow.pretraining import pretrain
from sensorium.workflow.train import train

RECIPE = record.ROOT / "recipes" / "nlvr.toml"
OUT = record.ROOT / "runs" / "nlvr-compare"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "masked": {"objectives": {"masked": {"sentence": 0.3, "image": 0.5}}},
    "matching": {"objectives": {"matching": {"inputs": ["image", "sentence"]}}},
    "alignment": {"fusion": {"alignment": {"inputs": ["image", "sentence"]}}},
}


def pretrained(scenes: Path, arm: str, out: Path, args: argparse.Namespace, seed: int) -> None:
    """Pretrain the recipe's encoders and fusion on generated pictures and their captions."""
    dump = load_config(RECIPE).dump()
    inputs = {
        "image": {**dump["inputs"]["image"], "column": "photo"},
        "sentence": {**dump["inputs"]["sentence"], "column": "caption"},
    }
    fusion = {**dump["fusion"], **OBJECTIVES[arm].get("fusion", {})}
    values = {
        "data": {"train": "scenes.csv", "validation_fraction": 0.05},
        "inputs": inputs,
        "fusion": fusion,
        "training": {
            "max_steps": args.pretraining_steps,
            "seconds": 100_000,
            "batch_rows": 256,
            "learning_rate": 0.001,
            "seed": seed,
        },
    }
    if "objectives" in OBJECTIVES[arm]:
        values["objectives"] = OBJECTIVES[arm]["objectives"]
    config = parse_pretraining(values, Source(), folder=scenes, name=f"nlvr_{arm}")
    pretrain(config, out=out, progress=Silent(), say=say)


def after_pretraining(scenes: Path, arm: str, args: argparse.Namespace, seed: int) -> float:
    """Return the accuracy on the development part of the recipe begun with a pretrained run."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "pre"
        pretrained(scenes, arm, run, args, seed)
        changes = [
            f"training.max_steps={args.steps}",
            "training.seconds=100000",
            f"training.seed={seed}",
            "evaluation.baselines=false",
            f'inputs.image={{encoder="run:{run}#image"}}',
            f'inputs.sentence={{encoder="run:{run}#sentence"}}',
        ]
        result = train(load_config(RECIPE, changes), out=Path(scratch) / "run", progress=Silent(), say=say)
    return float(result.evaluation.metrics["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusions", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pretraining-steps", type=int, default=600)
    parser.add_argument("--pretraining-seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=0)
    args = parser.parse_args()
    config = load_config(RECIPE, [f"training.max_steps={args.steps}", "training.seconds=100000"])
    names = [name for name in args.fusions.split(",") if name]
    found = compare(config, names, num_seeds=args.seeds, jobs=args.jobs, out=OUT, say=say).facts()
    with tempfile.TemporaryDirectory() as scratch:
        scenes = Path(scratch)
        write_scenes(scenes, 4000, seed=0, options=SceneOptions(size=64))
        arms = {
            arm: [after_pretraining(scenes, arm, args, seed) for seed in range(args.pretraining_seeds)]
            for arm in OBJECTIVES
        }
    pretraining = {arm: {"accuracy": values, "mean": statistics.fmean(values)} for arm, values in arms.items()}
    print(found["verdict"], pretraining)
    record.write("nlvr", {"compare": {k: v for k, v in found.items() if k != "folder"}, "pretrained": pretraining})


if __name__ == "__main__":
    main()

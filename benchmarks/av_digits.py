"""Every fusion on digits seen and heard through noise, and a model for rows with holes.

    python benchmarks/av_digits.py [--fusions a,b] [--seeds 3] [--jobs 1]

First `sensorium compare` of recipes/av_digits.toml; then the recipe trained with one input or the other hidden in
half of its rows, under all presence patterns, beside the models of one input.  What is measured is kept in
runs/av_digits-compare, and a second call goes on from there.  All are judged on the held-out speaker.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import record

from sensorium.cli.output import say
from sensorium.evaluation.missing import evaluate_missing
from sensorium.training.progress import Silent
from sensorium.workflow.compare import compare
from sensorium.workflow.config import RunConfig, load_config
from sensorium.workflow.fitting import fit_model
from sensorium.workflow.prepare import prepare
from sensorium.workflow.run_folder import write_json
from sensorium.workflow.train import judged_corpus

RECIPE = record.ROOT / "recipes" / "av_digits.toml"
OUT = record.ROOT / "runs" / "av_digits-compare"
HOLES = ["fusion.input_patterns={image = 0.25, sound = 0.25}"]
"""A quarter of the rows shows the image alone, a quarter the sound alone."""


def with_holes(config: RunConfig, seed: int) -> dict[str, float]:
    """Train with holes, and return the accuracy under each presence pattern; known results are read."""
    config = config.replace(training=config.training.model_copy(update={"seed": seed}))
    key = hashlib.sha256(json.dumps(config.dump(), sort_keys=True).encode()).hexdigest()[:24]
    path = OUT / "holes" / f"{key}.json"
    if path.is_file():
        known: dict[str, float] = json.loads(path.read_text())
        return known
    prepared = prepare(config)
    with tempfile.TemporaryDirectory() as scratch:
        fit_model(config, prepared.model, prepared.train, prepared.validation, Path(scratch), progress=Silent())
    corpus, _ = judged_corpus(prepared)
    patterns = evaluate_missing(
        prepared.model, prepared.task, corpus, answers=prepared.answers, decoding=config.decoding
    )
    found = {pattern.name: pattern.evaluation.metrics["accuracy"] for pattern in patterns}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return found


def bars(holes: dict[str, float], alone: dict[str, float]) -> dict[str, Any]:
    """Say by how many points the model with holes differs from those of one input."""
    names = list(alone)
    return {
        **{f"{name} alone: points over the model of it": 100 * (holes[name] - alone[name]) for name in names},
        "both: points over the best of one input": 100 * (holes["+".join(names)] - max(alone.values())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fusions", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    args = parser.parse_args()
    config = load_config(RECIPE, args.changes)
    names = [name for name in args.fusions.split(",") if name]
    found = compare(config, names, num_seeds=args.seeds, jobs=args.jobs, out=OUT, say=say).facts()
    first = config.training.seed
    holes_config = load_config(RECIPE, [*args.changes, *HOLES])
    by_seed = [with_holes(holes_config, seed) for seed in range(first, first + args.seeds)]
    holes = {name: statistics.fmean(seed[name] for seed in by_seed) for name in by_seed[0]}
    means = {line["name"]: line["metrics"]["accuracy"]["mean"] for line in found["contenders"]}
    alone = {name: means[f"{name} only"] for name in config.model.inputs}
    facts = {
        "compare": {key: value for key, value in found.items() if key != "folder"},
        "trained_with_holes": {"accuracy": holes, "by_seed": by_seed, **bars(holes, alone)},
    }
    record.write("av_digits", facts)


if __name__ == "__main__":
    main()

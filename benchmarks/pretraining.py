"""Pretraining without labels, then a tenth of the labels: easy-VQA, against the same tenth alone.

    python benchmarks/pretraining.py                  all arms, test rows, writes results/pretraining_easy_vqa.json
    python benchmarks/pretraining.py --dev ARM...     some arms on validation rows (for choosing), writes nothing

Every arm takes the same labelled steps on the same tenth of the photos (all questions of a photo stay together);
`scratch_long` takes as many more as pretraining took, so that what pretraining gives is not mere time.  Pretraining
reads all training photos and questions, and no answer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import record

from sensorium.core.config import override, read_toml
from sensorium.training.console import console_progress
from sensorium.workflow.config import load_config, parse_pretraining
from sensorium.workflow.pretraining import pretrain
from sensorium.workflow.train import train

RECIPE = record.ROOT / "recipes" / "easy_vqa.toml"
FRACTION = 0.1
LABELLED = [
    f"data.train_fraction={FRACTION}",
    "training.seconds=100000",
    "training.batch_rows=128",
    "evaluation.baselines=false",
]
PRETRAINING = ["training.seconds=100000", "training.batch_rows=512"]
OBJECTIVES: dict[str, list[str]] = {
    "photos_alone": ["objectives.masked={photo={rate=0.5, span=16}}", "training.batch_rows=1280"],
    "masked_photo": ["objectives.masked={photo=0.5}"],
    "masked_question": ["objectives.masked={question=0.3}"],
    "masked_both": ["objectives.masked={photo=0.5, question=0.15}"],
    "matching_and_words": [
        "objectives.masked={question=0.3}",
        'objectives.matching={inputs=["photo", "question"]}',
    ],
    "matching": ['objectives.matching={inputs=["photo", "question"]}'],
    "alignment": ['fusion.alignment={inputs=["photo", "question"]}'],
}
TAKEN = {name: f'inputs.{name}={{{{encoder="run:{{run}}#{name}"}}}}' for name in ("photo", "question")}


def pretrained(arm: str, args: argparse.Namespace, seed: int, out: Path) -> dict[str, Any]:
    """Pretrain on all training rows by the arm's objectives."""
    values, source = read_toml(RECIPE)
    for section in ("target", "language"):
        del values[section]
    if arm == "photos_alone":
        del values["inputs"]["question"]
    changes = [*PRETRAINING, f"training.max_steps={args.pretraining_steps}", f"training.seed={seed}"]
    values = override(values, [*changes, *OBJECTIVES[arm], *args.pre_changes])
    config = parse_pretraining(values, source, folder=RECIPE.parent, name=f"easy_vqa_{arm}")
    return pretrain(config, out=out, progress=console_progress(), say=print).summary()


def measured(arm: str, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train one arm with one seed; returns its accuracy and seconds."""
    started, facts = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        steps = args.steps + (args.pretraining_steps if arm == "scratch_long" else 0)
        changes = [*LABELLED, f"training.max_steps={steps}", f"training.seed={seed}", *args.changes]
        if arm in OBJECTIVES:
            run = Path(folder) / "pre"
            facts["objectives"] = pretrained(arm, args, seed, run)["objectives"]
            facts["pretraining_s"] = time.perf_counter() - started
            names = ["photo"] if arm == "photos_alone" else list(TAKEN)
            changes += [TAKEN[name].format(run=run) for name in names]
        config = load_config(RECIPE, changes)
        if args.dev:
            config = config.replace(data=config.data.model_copy(update={"test": None}))
        result = train(config, out=Path(folder) / "run", progress=console_progress(), say=print)
    facts |= {
        "accuracy": result.evaluation.metrics["accuracy"],
        "labelled_rows": result.prepared.train.num_rows,
        "training_s": result.fitted.seconds["training"],
    }
    print(arm, seed, facts, flush=True)
    return facts


def main() -> None:
    """Measure every arm with every seed, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", default=["scratch", "scratch_long", *OBJECTIVES])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--pretraining-steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--set-pretraining", dest="pre_changes", action="append", default=[])
    parser.add_argument("--dev", action="store_true", help="judge on validation rows, write nothing")
    args = parser.parse_args()
    runs = {arm: [measured(arm, args, seed) for seed in range(args.seeds)] for arm in args.arms}
    accuracy = {arm: [facts["accuracy"] for facts in found] for arm, found in runs.items()}
    mean = {arm: statistics.fmean(values) for arm, values in accuracy.items()}
    print(mean)
    if not args.dev:
        gain = {arm: 100 * (value - mean["scratch"]) for arm, value in mean.items() if "scratch" in mean}
        facts = {"labelled_steps": args.steps, "pretraining_steps": args.pretraining_steps, "fraction": FRACTION}
        record.write("pretraining_easy_vqa", {**facts, "mean_accuracy": mean, "gain_points": gain, "runs": runs})


if __name__ == "__main__":
    main()

"""Which shape moves left and beeps: a model of pictures, sounds and questions, and what each sense alone gives.

    sensorium synth clips --out runs/moving_scenes --rows 50000
    python benchmarks/moving_scenes.py

Trains recipes/moving_scenes.toml with both senses, and without the sound or the pictures, unless `--runs` holds
these runs already.  Each is judged on the clips for testing by what a question needs; the model of both also
with one sense taken away.  What can be known at best is counted: the sound leaves two of four kinds, and the
pictures leave two shapes of those that are asked for.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import record

from sensorium.evaluation.runner import evaluate_patterns
from sensorium.model.saving import load_model
from sensorium.tasks.registry import default_tokenizers
from sensorium.training.console import console_progress
from sensorium.workflow.baselines import row_scores
from sensorium.workflow.config import RunConfig, load_config
from sensorium.workflow.prepare import Prepared, prepare
from sensorium.workflow.train import train

ALL = ("clip", "sound", "question")
ALONE = {"pictures": ("clip", "question"), "sound": ("sound", "question")}
BEST = {
    "both": {"both": 1.0, "sound": 1.0, "picture": 1.0},
    "pictures": {"both": 1 / 2, "sound": 1 / 2, "picture": 1.0},
    "sound": {"both": 1 / 2, "sound": 1.0, "picture": (1 / 4 + 1 / 4 + 1 / 2) / 3},
}
"""The other shape beeps first in half of the clips; a way is one of four, and what moves away beeps."""


def config_of(epochs: int | None) -> RunConfig:
    """Return the recipe, without the baselines that every run measures."""
    budget = [] if epochs is None else [f"training.epochs={epochs}"]
    return load_config(record.ROOT / "recipes" / "moving_scenes.toml", ["evaluation.baselines=false", *budget])


def judged(run: Path, prepared: Prepared, config: RunConfig, shown: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return the share of right answers by what a question needs, once for each set of inputs shown."""
    model, answers = load_model(run / "model", default_tokenizer=default_tokenizers())
    corpus = prepared.test
    assert corpus is not None
    with Path(config.resolve(config.data.train)).open(newline="", encoding="utf-8") as file:
        needs = [row["needs"] for row in csv.DictReader(file)]
    results = evaluate_patterns(
        model,
        prepared.task,
        corpus,
        [frozenset(names) for names in shown],
        answers=answers,
        decoding=config.decoding,
    )
    needs_N = np.array([needs[corpus.row_number(i)] for i in range(corpus.num_rows)])
    found = []
    for result in results:
        right = row_scores(prepared.task, result)
        right_N = np.array([right[i] for i in range(corpus.num_rows)])
        by_need = {need: round(float(right_N[needs_N == need].mean()), 4) for need in BEST["both"]}
        found.append(by_need | {"all": round(float(right_N.mean()), 4)})
    return found


def main() -> None:
    """Train what is missing, judge, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=record.ROOT / "runs" / "moving_scenes-senses")
    parser.add_argument("--epochs-alone", type=int, help="of the models of one sense; else the recipe's")
    parser.add_argument("--alone", nargs="*", choices=ALONE, default=list(ALONE), help="which senses by themselves")
    args = parser.parse_args()
    facts: dict[str, Any] = {"best_possible": BEST}
    for name, inputs in {"both": ALL, **{sense: ALONE[sense] for sense in args.alone}}.items():
        config = config_of(None if name == "both" else args.epochs_alone)
        config = config.replace(model=config.model.only(inputs))
        run = args.runs / name
        if not (run / "evaluation.json").is_file():
            train(config, out=run, progress=console_progress(), say=print)
        shown = [inputs, *(ALONE.values() if name == "both" else ())]
        found = judged(run, prepare(config), config, shown)
        last = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        seconds = json.loads(last)["elapsed_s"]  # of all parts, if it was resumed
        facts[f"model of {name}"] = {
            "training_s": round(seconds),
            "epochs": config.training.epochs,
            "right": found[0],
        }
        if name == "both":
            facts[f"model of {name}"] |= {f"shown {k} alone": v for k, v in zip(ALONE, found[1:], strict=True)}
    record.write("moving_scenes", {"asked": "benchmarks/moving_scenes.py", **facts})


if __name__ == "__main__":
    main()

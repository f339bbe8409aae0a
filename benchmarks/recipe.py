"""Train a recipe as it stands and write down what it reached, beside its baselines.

python benchmarks/recipe.py digits        trains recipes/digits.toml, writes results/digits.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import record

from sensorium.training.console import console_progress
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train


def main() -> None:
    """Train, judge, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of a recipe: digits, flickr8k, ...")
    args = parser.parse_args()
    config = load_config(record.ROOT / "recipes" / f"{args.name}.toml", [])
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, out=Path(folder) / "run", progress=console_progress(), say=print)
    facts = {
        "metrics": result.evaluation.metrics,
        "rows": result.evaluation.num_rows,
        "baselines": {baseline.name: baseline.metrics for baseline in result.baselines},
        "weights": result.fitted.weights,
    }
    report = result.fitted.report
    if report is not None:
        facts |= {"training_s": report.elapsed_s, "training_rows_per_s": report.rows_per_s}
    record.write(args.name, facts)


if __name__ == "__main__":
    main()

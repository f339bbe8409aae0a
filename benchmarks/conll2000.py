"""CoNLL-2000 chunking: a feature CRF, a BiLSTM-CRF and their product, each with a softmax in the CRF's place.

    python benchmarks/conll2000.py [--seeds 3] [--layers crf softmax] [--held-out]

Each seed trains recipes/conll2000_fused.toml twice, with transitions and without, and judges the product and each
part alone (the other's exponent set to 0) on test.txt; with --held-out, on the validation rows instead, which is
what settings are chosen by, and no result file is written.  The file is written anew after every run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import record

from sensorium.evaluation.runner import evaluate
from sensorium.training.console import console_progress
from sensorium.workflow.config import load_config
from sensorium.workflow.train import RunResult, train

RECIPE = record.ROOT / "recipes" / "conll2000_fused.toml"
LAYERS = {"crf": "true", "softmax": "false"}
PARTS = ("features", "bilstm")
EXPONENTS = {"features": (1.0, 0.0), "bilstm": (0.0, 1.0)}


def measure(layer: str, seed: int, held_out: bool, settings: list[str]) -> dict[str, Any]:
    """Train once; return span F1 of each part and of the product, its exponents, and the seconds of training."""
    chosen = [f"language.{part}.transitions={LAYERS[layer]}" for part in PARTS]
    config = load_config(RECIPE, [f"training.seed={seed}", *chosen, *settings])
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, out=Path(folder) / "run", progress=console_progress(), say=print)
    scorer = result.prepared.model.scorer
    weights = scorer.weights
    facts: dict[str, Any] = {}
    for name, exponents in {"product": weights, **EXPONENTS}.items():
        scorer.set_weights(exponents)
        facts[name] = span_f1(result, held_out)
    report = result.fitted.report
    assert report is not None
    return {"f1": facts, "exponents": weights, "seconds": report.elapsed_s, "best_step": report.best_step}


def span_f1(result: RunResult, held_out: bool) -> float:
    """Judge the model as it stands."""
    prepared = result.prepared
    corpus = prepared.validation if held_out or prepared.test is None else prepared.test
    found = evaluate(prepared.model, prepared.task, corpus, answers=None, decoding=result.decoding)
    return found.metrics["span_f1"]


def table(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float | list[float]]]:
    """Return mean, standard deviation and single values of F1, in percent, by part and layer."""
    found = {}
    for layer, each in runs.items():
        for name in (*PARTS, "product") if each else ():
            values = [round(100 * run["f1"][name], 2) for run in each]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            found[f"{name}, {layer}"] = {"mean": statistics.mean(values), "stdev": spread, "seeds": values}
    return found


def main() -> None:
    """Train and judge, print the table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    args = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {layer: [] for layer in args.layers}
    for seed in range(args.seeds):
        for layer, each in runs.items():
            each.append(measure(layer, seed, args.held_out, args.set))
            print(f"seed {seed}, {layer}: {each[-1]}", flush=True)
            if not args.held_out:
                record.write("conll2000_fused", {"judged_on": "test", "span_f1_percent": table(runs), "runs": runs})
    for name, facts in table(runs).items():
        print(f"{name:20} {facts['mean']:.2f} +- {facts['stdev']:.2f}")


if __name__ == "__main__":
    main()

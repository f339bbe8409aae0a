"""When counting helps: the same model with more and more rows, its counts alone, its network alone, and both.

    python benchmarks/learning_curves.py [NAME ...]     letters, captions, sentiment; all if none is named

Each point trains one recipe anew on a share of its training rows (smaller shares lie within larger ones) and judges
the mixture and each scorer alone on rows that no share has.  Networks stop when validation no longer improves.
Writes results/learning_curves.json, and its plots and tables into docs/.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record

from sensorium.training.console import PlainLines
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

DOCS = record.ROOT / "docs"
PAGE = DOCS / "when_counting_helps.md"
RESULT = record.RESULTS / "learning_curves.json"
COLOURS = {"counted": "#d95f02", "network": "#1b9e77", "both": "#333333"}


@dataclass(frozen=True)
class Curve:
    """One recipe, the shares of its rows, and how it is judged."""

    recipe: str
    title: str
    metric: str
    counted: str
    network: str
    shares: tuple[float, ...]
    changes: tuple[str, ...]
    counts: str = "rows"
    label: str = ""


NO_REFIT = ("training.refit_counts=false", "training.refit_share=0")
CURVES = {
    "letters": Curve(
        "tinyshakespeare",
        "Shakespeare, letter by letter",
        "perplexity",
        "infinigram",
        "transformer",
        (0.01, 0.03, 0.1, 0.3, 1.0),
        ("training.seconds=90", "training.patience=3", "language.mix='linear'", *NO_REFIT),
        "windows of 256 letters",
        "perplexity of a letter (less is better)",
    ),
    "captions": Curve(
        "flickr8k",
        "Captions of photos",
        "bleu4",
        "ngram",
        "transformer",
        (0.06, 0.2, 0.5, 1.0),
        ("training.seconds=120", "training.patience=6", "training.validate_every='epoch'"),
        "captions",
        "BLEU-4 (more is better)",
    ),
    "sentiment": Curve(
        "mr_fused",
        "Film reviews, for or against",
        "accuracy",
        "naive_bayes",
        "readout",
        (0.02, 0.06, 0.2, 0.5, 1.0),
        ("data.validation_fraction=0.2", "training.patience=3"),
        "reviews",
        "accuracy (more is better)",
    ),
}


def point(curve: Curve, share: float) -> dict[str, Any]:
    """Train on one share; returns the rows it had and the metric of counts, network and both."""
    changes = [*curve.changes, f"data.train_fraction={share}", "evaluation.baseline_inputs=[]"]
    config = load_config(record.ROOT / "recipes" / f"{curve.recipe}.toml", changes)
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, out=Path(folder) / "run", progress=PlainLines(), say=print)
    alone = {baseline.name: baseline.metrics for baseline in result.baselines}
    found = {
        "rows": result.prepared.train.num_rows,
        "counted": alone[f"{curve.counted} alone"][curve.metric],
        "network": alone[f"{curve.network} alone"][curve.metric],
        "both": result.evaluation.metrics[curve.metric],
        "weights": result.fitted.weights,
        "steps": result.fitted.report.num_steps if result.fitted.report else 0,
    }
    print(curve.recipe, share, found, flush=True)
    return found


def plot(name: str, curve: Curve, points: list[dict[str, Any]]) -> None:
    """Draw one curve as an SVG file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name  # so that equal numbers give equal files
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for kind, colour in COLOURS.items():
        rows, values = [p["rows"] for p in points], [p[kind] for p in points]
        axes.plot(rows, values, marker="o", color=colour, label=kind, linewidth=2.5 if kind == "both" else 1.5)
    axes.set(xscale="log", xlabel=curve.counts, ylabel=curve.label, title=curve.title)
    axes.set_xticks([p["rows"] for p in points], [f"{p['rows']:,}" for p in points], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    (DOCS / "pictures").mkdir(parents=True, exist_ok=True)
    figure.savefig(DOCS / "pictures" / f"learning_curve_{name}.svg", metadata={"Date": None})
    plt.close(figure)


def table(curve: Curve, points: list[dict[str, Any]]) -> str:
    """Return the numbers as a Markdown table; the best of each row in bold."""
    best = min if curve.metric == "perplexity" else max
    lines = [f"| {curve.counts} | counted | network | both |", "|---:|---:|---:|---:|"]
    for p in points:
        winner = best(p[kind] for kind in COLOURS)
        cells = [f"**{p[kind]:.4g}**" if p[kind] == winner else f"{p[kind]:.4g}" for kind in COLOURS]
        lines.append(f"| {p['rows']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fill_in(page: str, name: str, text: str) -> str:
    """Replace what stands between a table's marks."""
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    before, mark, rest = page.partition(begin)
    return f"{before}{mark}\n\n{text}\n\n{end}{rest.partition(end)[2]}" if mark else page


def main() -> None:
    """Measure the named curves, keep the others' numbers, draw all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *CURVES], help="of curves; all if none")
    parser.add_argument("--draw", action="store_true", help="draw the numbers there are; measure nothing")
    args = parser.parse_args()
    known = json.loads(RESULT.read_text())["curves"] if RESULT.exists() else {}
    for name in [] if args.draw else args.names or CURVES:
        known[name] = [point(CURVES[name], share) for share in CURVES[name].shares]
    if not args.draw:
        record.write("learning_curves", {"curves": known})
    page = PAGE.read_text()
    for name, points in known.items():
        plot(name, CURVES[name], points)
        page = fill_in(page, name, table(CURVES[name], points))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

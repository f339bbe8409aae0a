"""`sensorium train CONFIG`: fit a model into a run folder and judge it beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sensorium.cli.output import fitted_for, number, print_json, print_table, say
from sensorium.core.errors import UsageError


def train(
    config: Annotated[Path, typer.Argument(help="A TOML config, or a finished run's config.toml.")],
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Change a key: --set a.b=c.")] = None,
    out: Annotated[Path | None, typer.Option(help="The exact run folder; new or empty.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest whole checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Two batches; estimate memory and time.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Train for so many seconds.")] = None,
    no_baselines: Annotated[bool, typer.Option("--no-baselines", help="Skip the single-input models.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds; report mean and spread.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Train a model: CONFIG in, a run folder with model, metrics and baselines out.

    A CONFIG with [objectives] and no [target] pretrains encoders and fusion, for others to begin from.
    """
    from sensorium.training.console import console_progress
    from sensorium.workflow.estimate import estimate_any
    from sensorium.workflow.seeds import train_seeds
    from sensorium.workflow.tasks_config import load_any
    from sensorium.workflow.tasks_train import run_any

    changes = list(assignments or [])
    if seconds is not None:
        changes.append(f"training.seconds={seconds}")
    if no_baselines:
        changes.append("evaluation.baselines=false")
    parsed = load_any(config, changes)
    if dry_run:
        facts = estimate_any(parsed, say=say)
        print_json(facts) if as_json else _print_estimate(facts)
        return
    if seeds > 1:
        if resume:
            raise UsageError("--resume is of one run, not of several --seeds", advice="resume OUT/seed-S by itself")
        summary = train_seeds(parsed, seeds, out=out, progress=console_progress(), say=say)
        print_json(summary) if as_json else _print_seeds(summary)
        return
    summary = run_any(parsed, out=out, resume=resume, progress=console_progress(), say=say).summary()
    if as_json:
        print_json(summary)
    elif "objectives" in summary:
        _print_pretraining(summary)
    else:
        print_summary(summary)


def print_summary(summary: dict[str, Any]) -> None:
    """Print a run's metrics beside its baselines, and what to do next."""
    tasks = summary.get("tasks")
    for name, task in tasks.items() if tasks else [("", summary)]:
        _print_task(name, task)
    if summary["quarantined"]:
        print(f"bad rows quarantined: {summary['quarantined']} (list: {summary['run']}/bad_rows.jsonl)")
    run = summary["run"]
    print(f"\nrun folder: {run}\nask it:     {_question(run, tasks, summary['task'])}")


def _question(run: str, tasks: dict[str, Any] | None, task: str) -> str:
    if task == "retrieve":
        return f"sensorium retrieve {run} --input NAME=VALUE --among TABLE"
    return f"sensorium predict {run}{' --task TASK' if tasks else ''} --input NAME=VALUE ..."


def _print_task(title: str, summary: dict[str, Any]) -> None:
    from sensorium.workflow.judging_time import cut_note, judged_rows

    names = list(summary["metrics"])
    rows = [
        [b["name"], f"{b['rows']:,}", *(number(b["metrics"].get(n)) for n in names), fitted_for(b["seconds"])]
        for b in summary["baselines"]
    ]
    fitting = sum(value for key, value in summary["seconds"].items() if key != "evaluation")
    rows.append(
        [
            "this model",
            f"{summary['rows']:,}",
            *(number(summary["metrics"][n]) for n in names),
            fitted_for(fitting),
        ]
    )
    kind = summary["task"]
    print(f"\n{f'{title}: {kind}' if title and title != kind else kind}, judged on {judged_rows(summary)}:")
    print_table(["", "rows", *names, "fitted, s"], rows)
    note = cut_note(summary)
    if note is not None:
        print(note)
    if summary["mixture_weights"]:
        print("mixture: " + ", ".join(f"{name} {w:.3f}" for name, w in summary["mixture_weights"].items()))


def _print_pretraining(summary: dict[str, Any]) -> None:
    rows = [
        [name, measure, number(value), number(summary["alone"].get(name, {}).get(measure))]
        for name, measures in summary["objectives"].items()
        for measure, value in measures.items()
    ]
    print(f"\nobjectives, judged on {summary['rows']:,} validation rows:")
    print_table(["", "", "with the other inputs", "alone"], rows)
    if summary["quarantined"]:
        print(f"bad rows quarantined: {summary['quarantined']} (list: {summary['run']}/bad_rows.jsonl)")
    print(f'\nrun folder: {summary["run"]}\nbegin from it: encoder = "run:{summary["run"]}#INPUT"')


def _print_estimate(facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        print(f"{key.replace('_', ' ')}: {value:,.4g}" if isinstance(value, float) else f"{key}: {value}")


def _print_seeds(summary: dict[str, Any]) -> None:
    rows = [
        [name, number(stats["mean"]), number(stats["spread"]), *(number(v) for v in stats["values"])]
        for name, stats in summary["metrics"].items()
    ]
    print_table(["metric", "mean", "std", *(f"seed {s}" for s in summary["seeds"])], rows)
    print(f"\nrun folder: {summary['run']}")

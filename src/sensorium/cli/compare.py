"""`sensorium compare CONFIG`: which fusion does this data want?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.output import number, print_json, print_notes, print_table, say

if TYPE_CHECKING:
    from sensorium.workflow.compare import Comparison
    from sensorium.workflow.tasks_compare import TasksComparison


def compare(
    config: Annotated[Path, typer.Argument(help="A TOML config with two inputs or more.")],
    fusions: Annotated[str, typer.Option(help="Names joined by ','; default: every fusion there is.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds.")] = 3,
    seconds: Annotated[float | None, typer.Option(help="Budget of each; default: the config's.")] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, help="Processes side by side; 0 = in this process.")
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="Where results are kept; default runs/NAME-compare.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Change a key: --set a.b=c.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    task: Annotated[
        str | None, typer.Option(help="Which task of a config of several; all of them if not given.")
    ] = None,
) -> None:
    """Compare fusions with each input alone and with late fusion, at one budget; go on where it stopped.

    Each task of a config of several has a table and a verdict of its own.
    """
    from sensorium.core.errors import UsageError
    from sensorium.workflow.config import RunConfig
    from sensorium.workflow.tasks_compare import TasksComparison, compare_any
    from sensorium.workflow.tasks_config import TasksConfig, load_any

    changes = list(assignments or [])
    if seconds is not None:
        changes.append(f"training.seconds={seconds}")
    names = [name.strip() for name in fusions.split(",") if name.strip()]
    parsed = load_any(config, changes)
    if not isinstance(parsed, RunConfig | TasksConfig):
        advice = "give the config of a task: its [inputs], [target] and [data]"
        raise UsageError("fusions are compared for a task that answers", where=str(config), advice=advice)
    found = compare_any(parsed, names, task=task, num_seeds=seeds, jobs=jobs, out=out, say=say)
    if as_json:
        print_json(found.facts())
    elif isinstance(found, TasksComparison):
        print_tasks(found)
    else:
        print_comparison(found)


def print_tasks(found: TasksComparison) -> None:
    """Print each task's table and verdict, and which tasks have none."""
    for name, comparison in found.tasks.items():
        print(f"{name}:")
        print_comparison(comparison)
        print()
    for name, why in found.not_compared.items():
        print(f"{name} was not compared: {why}")
    print("each task was measured as a model of its own; a model of all of them has one fusion")


def print_comparison(found: Comparison) -> None:
    """Print the table, best first, and the verdict."""
    from sensorium.data.omissions import clauses_by_part

    facts = found.facts()
    metric = facts["metric"]
    rows = []
    for line in facts["contenders"]:
        stats = line["metrics"][metric]
        rows.append(
            [
                line["name"],
                number(stats["mean"]),
                number(stats["spread"]),
                "" if line["difference"] is None else f"{line['difference']:+.4f}",
                "" if line["p"] is None else f"{line['p']:.2g}",
                f"{line['parameters']:,}",
                f"{line['ms_per_row']:.3g}",
                "" if line["peak_mib"] is None else f"{line['peak_mib']:,.0f}",
                f"{line['steps']:,.0f}",
            ]
        )
    if metric in facts["majority"]:
        rows.append(["majority", number(facts["majority"][metric]), *[""] * 7])
    header = [metric, "mean", "std", "gain", "p", "parameters", "ms/row", "MiB", "steps"]
    print(
        f"judged on {facts['rows']:,} {facts['judged_on']} rows; "
        f"gain: what a row scores more than with {facts['reference']}"
    )
    print_table(header, rows)
    if told := clauses_by_part(found.left_out):
        print("left out, cut or absent: " + ", ".join(told))
    print_notes(found.notes)
    for name, why in facts["failures"].items():
        print(f"{name} could not be measured: {why}")
    print(f"\n{facts['verdict']}\n\nresults: {facts['folder']}")

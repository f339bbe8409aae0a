"""`sensorium optimise RUN`: a run made lighter, and what that cost, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.output import number, print_json, print_table, say, share

if TYPE_CHECKING:
    from sensorium.workflow.contest import Measured


def optimise(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    way: Annotated[
        list[str] | None, typer.Option(help="int8, bf16 or onnx (repeatable); default: int8 and bf16.")
    ] = None,
    student: Annotated[
        list[Path] | None, typer.Option(help="A run that had this one as its teacher, measured too (repeatable).")
    ] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Judge at most so many rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Make a run smaller and faster: rounded weights, ONNX graphs; say what that cost in quality."""
    from sensorium.workflow.optimising import DEFAULT_WAYS, optimise

    result = optimise(run, way or DEFAULT_WAYS, students=student or (), max_rows=max_rows, say=say)
    if as_json:
        print_json(result.facts())
        return
    for task, rows in result.measured.items():
        if task:
            print(f"{task}:")
        _print(rows)


def _print(rows: list[Measured]) -> None:
    metrics = list(rows[0].metrics)
    cells = [
        [
            row.name,
            f"{row.megabytes:.2f}",
            f"{rows[0].megabytes / row.megabytes:.2f}",
            f"{row.ms_a_row:.2f}",
            f"{rows[0].ms_a_row / row.ms_a_row:.2f}",
            *(number(row.metrics.get(metric)) for metric in metrics),
            share(row.same),
        ]
        for row in rows
    ]
    print_table(["", "MB", "x smaller", "ms a row", "x faster", *metrics, "same texts"], cells)

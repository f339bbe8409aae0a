"""`sensorium evaluate RUN`: judge a finished run on its own test rows or on another table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import number, print_json, print_table


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        str | None, typer.Option(help="A table; default: the run's test, else validation rows.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Hide every input but this one (repeatable).")] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Judge at most so many rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge a run by its task's metrics."""
    import sensorium

    result = sensorium.load(run).evaluate(data, max_rows=max_rows, only=only)
    if as_json:
        print_json(
            {
                "task": result.task,
                "rows": result.num_rows,
                "metrics": result.metrics,
                "seconds": round(result.seconds, 3),
                "run": str(run),
                "data": data,
                "only": only,
            }
        )
        return
    print(f"{result.task}: {result.num_rows:,} rows in {result.seconds:.1f} s")
    print_table(["metric", "value"], [[name, number(value)] for name, value in result.metrics.items()])

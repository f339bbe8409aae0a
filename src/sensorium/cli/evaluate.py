"""`sensorium evaluate RUN`: judge a finished run on its own test rows or on another table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.output import number, print_json, print_table

if TYPE_CHECKING:
    from sensorium.evaluation.runner import Evaluation


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        str | None, typer.Option(help="A table; default: the run's test, else validation rows.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Hide every input but this one (repeatable).")] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Judge at most so many rows.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Which task of a model that has several; all of them if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge a run by its task's metrics."""
    import sensorium

    model = sensorium.load(run)
    asked = {"run": str(run), "data": data, "only": only}
    if model.tasks and task is None:
        results = {name: model.evaluate(data, max_rows=max_rows, only=only, task=name) for name in model.tasks}
        if as_json:
            print_json({"tasks": {name: _facts(result) for name, result in results.items()}, **asked})
            return
        for name, result in results.items():
            _print_result(name, result)
        return
    result = model.evaluate(data, max_rows=max_rows, only=only, task=task)
    if as_json:
        print_json({**_facts(result), **asked})
    else:
        _print_result(task or result.task, result)


def _facts(result: Evaluation) -> dict[str, Any]:
    return {
        "task": result.task,
        "rows": result.num_rows,
        "metrics": result.metrics,
        "seconds": round(result.seconds, 3),
    }


def _print_result(name: str, result: Evaluation) -> None:
    print(f"{name}: {result.num_rows:,} rows in {result.seconds:.1f} s")
    print_table(["metric", "value"], [[metric, number(value)] for metric, value in result.metrics.items()])

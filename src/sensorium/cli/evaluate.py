"""`sensorium evaluate RUN`: judge a finished run on its own test rows or on another table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.output import number, print_json, print_left_out, print_notes, print_table
from sensorium.core.errors import UsageError

if TYPE_CHECKING:
    from sensorium.evaluation.missing import PatternResult
    from sensorium.evaluation.runner import Evaluation


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        str | None, typer.Option(help="A table; default: the run's test, else validation rows.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Hide every input but this one (repeatable).")] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Judge under each set of inputs rows may show.")
    ] = False,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Judge at most so many rows.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Which task of a model that has several; all of them if not given.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Judge by this metric instead of the task's own, e.g. cider_d, bleu4@13a (repeatable)."),
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Add 95 % bootstrap intervals over the judged rows.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge a run by its task's metrics."""
    if missing and only:
        raise UsageError("--missing tries every set of inputs, and --only names one", advice="give one of the two")
    if missing and intervals:
        raise UsageError("--missing has no intervals", advice="give --only NAME with --intervals, a set at a time")
    import sensorium

    if missing:
        found = sensorium.load(run).evaluate_missing(data, max_rows=max_rows, task=task, metrics=metric or None)
        _print_patterns(run, data, found, as_json)
        return
    model = sensorium.load(run)
    asked = {"run": str(run), "data": data, "only": only}
    if model.tasks and task is None:
        if metric:
            raise UsageError("--metric is of one task", advice="name it: --task NAME")
        results = {name: model.evaluate(data, max_rows=max_rows, only=only, task=name) for name in model.tasks}
        if as_json:
            print_json({"tasks": {name: _facts(result, intervals) for name, result in results.items()}, **asked})
            return
        for name, result in results.items():
            _print_result(name, result, intervals)
        return
    result = model.evaluate(data, max_rows=max_rows, only=only, task=task, metrics=metric or None)
    if as_json:
        print_json({**_facts(result, intervals), **asked})
    else:
        _print_result(task or result.task, result, intervals)


def _facts(result: Evaluation, has_intervals: bool) -> dict[str, Any]:
    facts = {
        "task": result.task,
        "rows": result.num_rows,
        "metrics": result.metrics,
        "tokenize": result.tokenize,
        "seconds": round(result.seconds, 3),
        "left_out": result.left_out.facts(),
        "notes": list(result.notes),
    }
    return facts | ({"intervals": _bounds(result)} if has_intervals else {})


def _bounds(result: Evaluation) -> dict[str, tuple[float, float]]:
    from sensorium.evaluation.intervals import intervals

    return intervals(result)


def _print_result(name: str, result: Evaluation, has_intervals: bool) -> None:
    print(f"{name}: {result.num_rows:,} rows in {result.seconds:.1f} s")
    print_left_out(result.left_out)
    print_notes(result.notes)
    bounds, tokenize = _bounds(result) if has_intervals else {}, result.tokenize
    columns = ["metric", "value", *(["95 %"] if has_intervals else []), *(["words"] if tokenize else [])]
    rows = []
    for metric, value in result.metrics.items():
        found = (
            [f"{number(low)} - {number(high)}" for low, high in (bounds[metric],)] if metric in bounds else ["-"]
        )
        rows.append(
            [metric, number(value), *(found if has_intervals else []), *([tokenize[metric]] if tokenize else [])]
        )
    print_table(columns, rows)


def _print_patterns(run: Path, data: str | None, patterns: list[PatternResult], as_json: bool) -> None:
    first = patterns[0].evaluation
    if as_json:
        print_json(
            {
                "task": first.task,
                "rows": first.num_rows,
                "patterns": [pattern.facts() for pattern in patterns],
                "seconds": round(sum(pattern.evaluation.seconds for pattern in patterns), 3),
                "left_out": first.left_out.facts(),
                "notes": list(first.notes),
                "run": str(run),
                "data": data,
            }
        )
        return
    print(f"{first.task}: {first.num_rows:,} rows under {len(patterns)} presence patterns")
    print_left_out(first.left_out)
    print_notes(first.notes)
    rows = [
        [p.name, *(number(value) for value in p.evaluation.metrics.values()), f"{p.num_complete:,}"]
        for p in patterns
    ]
    print_table(["shown", *first.metrics, "rows that have all"], rows)

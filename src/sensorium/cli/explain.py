"""`sensorium explain RUN`: which input, which region, span or word, and which scorer an answer came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.explanation import print_explanation
from sensorium.cli.output import pairs, print_json, print_left_out, print_table, say, say_left_out
from sensorium.core.errors import UsageError

if TYPE_CHECKING:
    from sensorium.explain.row import RowExplanation
    from sensorium.explain.shapley import Contributions

ALL = ("occlusion", "integrated_gradients", "rollout")


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    inputs: Annotated[list[str] | None, typer.Option("--input", help="NAME=VALUE: text, or a media path.")] = None,
    row: Annotated[str | None, typer.Option(help="TABLE:LINE, a row of a table as `predict` names it.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A table: what each input gives to its targets on average; 'test': the run's."),
    ] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Of --data, at most so many rows.")] = None,
    target: Annotated[
        str | None, typer.Option(help="The text to explain; default: what the model answers.")
    ] = None,
    value: Annotated[str, typer.Option(help="What inputs share out: log_p or probability.")] = "log_p",
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="occlusion, integrated_gradients, rollout or none; default all."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Which task of a model that has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write pictures (PNG, SVG) and numbers (CSV) here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say where an answer came from: which input, which region, span or word, which scorer."""
    if [bool(inputs), row is not None, data is not None].count(True) != 1:
        raise UsageError("give one of --input NAME=VALUE ..., --row TABLE:LINE, --data TABLE")
    if out is not None:
        require_place(out)
    if data is not None:
        _explain_data(run, data, value, max_rows, task, out, as_json)
        return
    from sensorium.data.omissions import omitted
    from sensorium.workflow.explaining import explain_answer, table_row, write_explanation
    from sensorium.workflow.predictor import Predictor

    predictor = Predictor.load(run, task)
    asked, where = (pairs(inputs or []), "") if row is None else table_row(predictor, row)
    methods = [method for method in maps or ALL if method != "none"]
    explanation = explain_answer(predictor, asked, target, methods=methods, value=value)
    files = [] if out is None else write_explanation(explanation, out)
    if as_json:
        facts = {"row": where} if where else {}
        print_json({**facts, **explanation.facts(), "files": [str(path) for path in files]})
        return
    say_left_out(omitted([explanation.scorers.cut]))
    _print_row(explanation)
    _say_files(files, out)


def require_place(out: Path) -> None:
    """Refuse, before anything is computed, a folder that holds something else.  Raises UsageError."""
    from sensorium.core.commit import require_replaceable
    from sensorium.workflow.explaining import EXPLANATION

    require_replaceable(out, EXPLANATION)


def _explain_data(
    run: Path, data: str, value: str, max_rows: int | None, task: str | None, out: Path | None, as_json: bool
) -> None:
    import sensorium
    from sensorium.workflow.explaining import typed_inputs, write_contributions

    model = sensorium.load(run)
    given = model.contributions(None if data == "test" else data, value=value, max_rows=max_rows, task=task)
    blind = given.only(typed_inputs(model.predictor_of(task).model))
    files = [] if out is None else write_contributions(given, out, blind)
    if as_json:
        told = {"blind": blind, "left_out": given.left_out.facts(), "files": [str(path) for path in files]}
        print_json(given.facts() | told)
        return
    print_left_out(given.left_out)
    _print_inputs(given, blind)
    _say_files(files, out)


def _print_row(explanation: RowExplanation) -> None:
    print(f"{explanation.text}\n")
    _print_inputs(explanation.inputs, explanation.blind)
    if explanation.maps:
        print("\nmaps: area under the probability while places are hidden (low is good) or shown (high is good)")
        header = ["input, method", "deletion", "at random", "insertion", "at random"]
        print_table(header, [_areas(facts) for facts in explanation.facts()["maps"]])
    print()
    print_explanation(explanation.scorers.facts())


def _print_inputs(given: Contributions, blind: float) -> None:
    rows = "" if given.num_rows == 1 else f", mean of {given.num_rows:,} rows"
    print(f"{given.value}{rows}: {given.full:.4g} with all inputs, {given.empty:.4g} with none, {blind:.4g} blind")
    print_table(
        ["input", "gave", "alone"],
        [[name, f"{phi:+.4g}", f"{given.only([name]):.4g}"] for name, phi in given.shapley.items()],
    )


def _areas(facts: Mapping[str, Any]) -> Sequence[str]:
    areas = facts["areas"]
    columns = ("deletion", "random_deletion", "insertion", "random_insertion")
    return [f"{facts['input']}, {facts['method']}", *(f"{areas[column]:.3f}" for column in columns)]


def _say_files(files: Sequence[Path], out: Path | None) -> None:
    if files:
        say(f"{len(files)} files in {out}")

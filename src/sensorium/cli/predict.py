"""`sensorium predict RUN`: answer one row given by --input, or every row of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.explanation import print_explanation
from sensorium.cli.output import pairs, print_json, say, say_left_out
from sensorium.core.errors import DataError, SensoriumError, UsageError

if TYPE_CHECKING:
    from sensorium.data.table import Table
    from sensorium.tasks.task import Prediction
    from sensorium.workflow.predictor import Predictor

BATCH_ROWS = 64


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    inputs: Annotated[list[str] | None, typer.Option("--input", help="NAME=VALUE: text, or a media path.")] = None,
    table: Annotated[str | None, typer.Option(help="Answer every row of this table.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="With --table: read this input alone (repeatable); no column of others is needed."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say for every token what each scorer said of it, and its share.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Which task of a model that has several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Answer with a fitted model; any subset of its inputs may be given."""
    if bool(inputs) == (table is not None):
        raise UsageError("give either --input NAME=VALUE ... or --table TABLE")
    if only and table is None:
        raise UsageError("--only is of the columns of a --table", advice="give those inputs alone by --input")
    from sensorium.data.omissions import omitted
    from sensorium.data.table import Table
    from sensorium.workflow.predictor import Predictor

    predictor = Predictor.load(run, task)
    if table is not None:
        rows = predictor.read_from(Table.open(table, Path()), only)
        answers = list(_answer_table(predictor, rows, explain))
        left_out = omitted([answer.get("cut", ()) for answer in answers], rows.num_unreadable)
        if as_json:
            whole = {"task": predictor.task.name, "rows": len(answers), "predictions": answers}
            print_json(whole | {"left_out": left_out.facts()})
        else:
            for answer in answers:
                print(
                    "\t".join([answer["row"], answer.get("text") or "", _share(answer), answer.get("error") or ""])
                )
                if "explanation" in answer:
                    print_explanation(answer["explanation"])
        say_left_out(left_out)
        _require_answers(table, answers)
        return
    facts, prediction = _answers(predictor, [pairs(inputs or [])], explain)[0]
    if as_json:
        print_json({"task": predictor.task.name, **facts})
    else:
        print(f"{prediction.text}    ({100 * prediction.probability:.1f} %)")
        say_left_out(omitted([prediction.cut]))
        for text, probability in prediction.alternatives[1:4]:
            print(f"    {text}    ({100 * probability:.1f} %)")
        if explain:
            print_explanation(facts["explanation"])


def _require_answers(table: str, answers: Sequence[Mapping[str, Any]]) -> None:
    """Say how many rows have no answer.  Raises DataError: none has."""
    errors = [answer["error"] for answer in answers if "error" in answer]
    told = f"{len(errors):,} of {len(answers):,} rows could not be answered"
    if len(errors) == len(answers):
        raise DataError(f"{told}; the first: {errors[0]}" if errors else "has no rows to answer", where=table)
    if errors:
        say(told)


def _answer_table(predictor: Predictor, table: Table, explain: bool) -> Iterator[dict[str, Any]]:
    for start in range(0, len(table), BATCH_ROWS):
        numbers = range(start, min(start + BATCH_ROWS, len(table)))
        rows = [predictor.cells(table, i) for i in numbers]
        wheres = [table.where(i) for i in numbers]
        yield from _answer_rows(predictor, rows, numbers, wheres, explain)


def _answer_rows(
    predictor: Predictor,
    rows: list[dict[str, str | None]],
    numbers: Sequence[int],
    wheres: list[str],
    explain: bool,
) -> Iterator[dict[str, Any]]:
    try:
        for where, (facts, _) in zip(wheres, _answers(predictor, rows, explain, numbers), strict=True):
            yield {"row": where, **facts}
    except SensoriumError:
        # One bad row must not take its neighbours with it: answer one by one and name the bad one.
        for where, row, number in zip(wheres, rows, numbers, strict=True):
            try:
                yield {"row": where, **_answers(predictor, [row], explain, [number])[0][0]}
            except SensoriumError as error:
                yield {"row": where, "text": None, "probability": None, "error": str(error)}


def _answers(
    predictor: Predictor, rows: Sequence[Mapping[str, Any]], explain: bool, numbers: Sequence[int] | None = None
) -> list[tuple[dict[str, Any], Prediction]]:
    predictions = predictor.predict(rows, numbers)
    facts = [_facts(prediction) for prediction in predictions]
    if explain:
        explanations = predictor.explain_answers(rows, predictions)
        facts = [{**f, "explanation": e.facts()} for f, e in zip(facts, explanations, strict=True)]
    return list(zip(facts, predictions, strict=True))


def _facts(prediction: Prediction) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "text": prediction.text,
        "probability": prediction.probability,
        "alternatives": [{"text": text, "probability": p} for text, p in prediction.alternatives],
    }
    return facts | ({"cut": list(prediction.cut)} if prediction.cut else {})


def _share(answer: dict[str, Any]) -> str:
    return "" if answer["probability"] is None else f"{answer['probability']:.4f}"

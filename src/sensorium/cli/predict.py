"""`sensorium predict RUN`: answer one row given by --input, or every row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.explanation import print_explanation
from sensorium.cli.output import json_text, pairs, print_json, say, say_left_out
from sensorium.core.errors import DataError, SensoriumError, UsageError

if TYPE_CHECKING:
    from sensorium.data.omissions import CutTally
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
    from sensorium.data.omissions import CutTally, omitted
    from sensorium.data.table import Table
    from sensorium.workflow.predictor import Predictor

    predictor = Predictor.load(run, task)
    if table is not None:
        rows = predictor.read_from(Table.open(table, Path()), only)
        told = _Told(CutTally())
        answers = told.over(_answer_table(predictor, rows, explain))
        if as_json:
            whole = {"task": predictor.task.name, "rows": len(rows)}
            _stream_json(whole, answers, lambda: told.left_out.omissions(rows.num_unreadable).facts())
        else:
            _stream_lines(answers)
        say_left_out(told.left_out.omissions(rows.num_unreadable))
        _require_answers(table, told)
        return
    facts, prediction = _answers(predictor, [pairs(inputs or [])], explain)[0]
    if as_json:
        print_json({"task": predictor.task.name, **facts})
    else:
        least = "at least " if prediction.is_bound else ""
        print(f"{prediction.text}    ({least}{100 * prediction.probability:.1f} %)")
        say_left_out(omitted([prediction.cut]))
        for text, probability in prediction.alternatives[1:4]:
            print(f"    {text}    ({100 * probability:.1f} %)")
        if explain:
            print_explanation(facts["explanation"])


@dataclass
class _Told:
    """What is kept of answers that are printed as they come: how many, what was cut, what went wrong first."""

    left_out: CutTally
    num_rows: int = 0
    num_errors: int = 0
    first_error: str = ""

    def over(self, answers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Go through answers once."""
        for answer in answers:
            self.num_rows += 1
            if "error" in answer:
                self.num_errors += 1
                self.first_error = self.first_error or answer["error"]
            self.left_out.add(answer.get("cut", ()))
            yield answer


def _stream_lines(answers: Iterable[dict[str, Any]]) -> None:
    for answer in answers:
        print("\t".join([answer["row"], answer.get("text") or "", _share(answer), answer.get("error") or ""]))
        if "explanation" in answer:
            print_explanation(answer["explanation"])


def _stream_json(
    facts: Mapping[str, Any], answers: Iterable[Mapping[str, Any]], left_out: Callable[[], Any]
) -> None:
    """Print one JSON object whose answers are written as they come, so that no table is too long."""
    print(json_text(facts)[:-1] + ', "predictions": [', end="")
    for number, answer in enumerate(answers):
        print((",\n" if number else "\n") + json_text(answer), end="")
    print('\n], "left_out": ' + json_text(left_out()) + "}")


def _require_answers(table: str, told: _Told) -> None:
    """Say how many rows have no answer.  Raises DataError: none has."""
    what = f"{told.num_errors:,} of {told.num_rows:,} rows could not be answered"
    if told.num_errors == told.num_rows:
        first = f"{what}; the first: {told.first_error}" if told.num_errors else "has no rows to answer"
        raise DataError(first, where=table)
    if told.num_errors:
        say(what)


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
        "is_bound": prediction.is_bound,
        "alternatives": [{"text": text, "probability": p} for text, p in prediction.alternatives],
    }
    return facts | ({"cut": list(prediction.cut)} if prediction.cut else {})


def _share(answer: dict[str, Any]) -> str:
    return "" if answer["probability"] is None else f"{answer['probability']:.4f}"

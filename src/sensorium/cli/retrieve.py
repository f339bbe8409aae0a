"""`sensorium retrieve RUN`: find, among the rows of a table, what means the same as an input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import pairs, print_json, print_left_out


def retrieve(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    inputs: Annotated[list[str], typer.Option("--input", help="NAME=VALUE: text, or a media path.")],
    among: Annotated[str, typer.Option(help="The table that is searched.")],
    find: Annotated[str | None, typer.Option(help="The input to be found, if there are several others.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Show so many.")] = 5,
    task: Annotated[str | None, typer.Option(help="Which task of a model that has several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Find what means the same: a photo by a caption, a caption by a photo, any input by any other."""
    from sensorium.workflow.predictor import Predictor
    from sensorium.workflow.searching import found_input, retrieve

    predictor = Predictor.load(run, task, finds=True)
    query = pairs(inputs)
    name = found_input(predictor, query, find)
    found = retrieve(predictor, query, among, find=name, top=top)
    if as_json:
        facts = {"find": name, "among": among, "found": [dataclasses.asdict(one) for one in found]}
        print_json(facts | {"left_out": found.left_out.facts()})
        return
    print_left_out(found.left_out)
    for one in found:
        print(f"{one.cosine:6.3f}  {one.cell}  ({one.where})")

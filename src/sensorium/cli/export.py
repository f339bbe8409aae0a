"""`sensorium export RUN --hf OUT`: what a run learned, for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import print_json, say


def export(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    hf: Annotated[Path, typer.Option(help="The folder to write, as transformers lays it out.")],
    task: Annotated[str | None, typer.Option(help="Which task of a model that has several.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Write a run's published language model (scorers = ["hf:..."]) as a folder that transformers opens."""
    from sensorium.workflow.exporting import export_published

    written = export_published(run, hf, task, force=force)
    if as_json:
        print_json({"folder": str(hf), **asdict(written), "merged": len(written.merged)})
        return
    print(f"wrote {written.num_parameters:,} parameters to {hf}; adapters merged: {len(written.merged)}")
    if written.num_rows_taken:
        say(f"{written.num_rows_taken:,} word vectors that the run left out were taken from its source")
    if written.num_rows_made:
        say(f"{written.num_rows_made:,} word vectors of tokens that the run lacks are the mean of the others")
    if written.left_behind:
        say(
            "the language model alone: what conditioned it stays in the run, and without it other texts are written"
        )
    print(f'next: AutoModelForCausalLM.from_pretrained("{hf}")')

"""`sensorium summarise RUN CLIP...`: key frames of clips, and what a model says of each segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import pairs, say, say_left_out
from sensorium.core.errors import SensoriumError, UsageError
from sensorium.core.names import require_known


def summarise(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder that sees clips or pictures.")],
    clips: Annotated[list[Path], typer.Argument(help="Clips.")],
    segments: Annotated[int, typer.Option(min=1, help="At most so many key frames a clip.")] = 6,
    style: Annotated[str, typer.Option("--format", help="txt, srt, json or html.")] = "txt",
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=VALUE for every segment, such as a question.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Which task of a model that has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write CLIP.FORMAT into this folder, not to stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are in --out already.")] = False,
) -> None:
    """Summarise clips; one that cannot be read does not stop the others."""
    from sensorium.core.commit import write_atomic
    from sensorium.core.types import Media
    from sensorium.workflow.output_names import output_paths
    from sensorium.workflow.predictor import Predictor
    from sensorium.workflow.summarising import summarise
    from sensorium.workflow.summary_files import STYLES, written

    require_known([style], list(STYLES), "summary format")
    paths: Sequence[Path | None] = [None] * len(clips)
    if out is not None:
        paths = output_paths(clips, out, style, force=force)
    predictor = Predictor.load(run, task)
    given = pairs(inputs or [])
    require_known(given, list(predictor.columns), "input", where="--input")
    failures: list[SensoriumError] = []
    for clip, path in zip(clips, paths, strict=True):
        try:
            summary = summarise(predictor, Media(path=clip.resolve()), num_segments=segments, given=given)
        except UsageError:
            raise
        except SensoriumError as error:
            failures.append(error)
            say(f"sensorium: error: {error}")
            continue
        say_left_out(summary.left_out)
        text = written(summary, style)
        if path is None:
            print(text, end="")
        else:
            write_atomic(path, text.encode("utf-8"))
    if failures:
        raise typer.Exit(failures[0].exit_code)

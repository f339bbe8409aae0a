"""`sensorium transcribe RUN FILE...`: write down recordings as text, subtitles or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import say, say_left_out
from sensorium.core.errors import SensoriumError, UsageError
from sensorium.core.names import require_known

HOT_BOOST = 5.0


def transcribe(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings.")],
    style: Annotated[str, typer.Option("--format", help="txt, srt, vtt or json.")] = "txt",
    hot: Annotated[
        list[str] | None, typer.Option("--hot-word", help="WORD or WORD=NATS: an expected name or term.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Which task of a model that has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write FILE.FORMAT into this folder, not to stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are in --out already.")] = False,
) -> None:
    """Write down what recordings say; a recording that cannot be read does not stop the others."""
    from sensorium.core.commit import write_atomic
    from sensorium.data.omissions import omitted
    from sensorium.tasks.transcription import Transcription
    from sensorium.workflow.output_names import output_paths
    from sensorium.workflow.predictor import Predictor
    from sensorium.workflow.transcript import STYLES, written

    require_known([style], list(STYLES), "transcript format")
    paths: Sequence[Path | None] = [None] * len(files)
    if out is not None:
        paths = output_paths(files, out, style, force=force)
    predictor = Predictor.load(run, task).with_hot_words(dict(map(_boost, hot or [])))
    name = predictor.audio_input()
    failures: list[SensoriumError] = []
    for file, path in zip(files, paths, strict=True):
        try:
            heard = predictor.predict([{name: str(file.resolve())}])[0]
            if not isinstance(heard, Transcription):
                raise UsageError("this model does not transcribe", advice="train one with task = 'transcribe'")
            text = written(heard, style)
            say_left_out(omitted([heard.cut]))
        except UsageError:
            raise
        except SensoriumError as error:
            failures.append(error)
            say(f"sensorium: error: {error}")
            continue
        if path is None:
            print(text, end="" if text.endswith("\n") else "\n")
        else:
            write_atomic(path, text.encode("utf-8"))
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _boost(option: str) -> tuple[str, float]:
    word, equals, nats = option.partition("=")
    try:
        boost = float(nats) if equals else HOT_BOOST
    except ValueError:
        boost = 0.0
    if not word or not 0 < boost < 1000:
        raise UsageError("expected WORD or WORD=NATS, nats above 0", where=f"--hot-word {option}")
    return word, boost

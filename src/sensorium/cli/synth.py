"""`sensorium synth scenes|clips|pairs|speech`: make paired data where there is little or none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import print_json, say
from sensorium.core.errors import UsageError

synth = typer.Typer(
    help="Make paired data: generated scenes and clips, rows paired by label, spoken texts.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@synth.command("scenes")
def scenes(
    out: Annotated[Path, typer.Option(help="The folder to write; new or empty.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal tables.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Width and height of the pictures, in pixels.")] = 64,
    questions: Annotated[int, typer.Option(min=1, help="Rows, each with its question, a scene.")] = 1,
    speech: Annotated[str | None, typer.Option(help="Speak this column: question or caption.")] = None,
    sound: Annotated[bool, typer.Option("--sound", help="Add a tone for each shape.")] = False,
    clip: Annotated[str | None, typer.Option(help="Add a short clip: mp4, or frames.")] = None,
    as_json: Json = False,
) -> None:
    """Draw scenes of coloured shapes, with captions, questions, answers and labels."""
    from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes

    if speech not in (None, "question", "caption"):
        raise UsageError(f"--speech wants question or caption, not '{speech}'")
    if clip not in (None, "mp4", "frames"):
        raise UsageError(f"--clip wants mp4 or frames, not '{clip}'")
    options = SceneOptions(size=size, questions=questions, speech=speech, sound=sound, clip=clip)  # type: ignore[arg-type]
    table = write_scenes(out, rows, seed, options)
    _done({"table": str(table), "rows": rows, "columns": options.columns, "seed": seed}, as_json)


@synth.command("clips")
def clips(
    out: Annotated[Path, typer.Option(help="The folder to write; new or empty.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal tables.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Width and height of the pictures, in pixels.")] = 64,
    questions: Annotated[int, typer.Option(min=1, help="Rows, each with its question, a clip.")] = 5,
    as_json: Json = False,
) -> None:
    """Film shapes that move and beep, with captions, and questions that need picture, sound or both."""
    from sensorium.data.synthesis.clip_table import COLUMNS, write_clips

    table = write_clips(out, rows, seed, size=size, questions=questions)
    _done({"table": str(table), "rows": rows, "columns": COLUMNS, "seed": seed}, as_json)


@synth.command("pairs")
def pairs(
    first: Annotated[str, typer.Argument(help="A table; each of its rows gets a partner.")],
    second: Annotated[str, typer.Argument(help="The table that partners come from.")],
    on: Annotated[list[str], typer.Option(help="A column that must agree: label, or digit=label (repeatable).")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pairs.")] = 0,
    each: Annotated[int, typer.Option(min=1, help="Partners a row.")] = 1,
    as_json: Json = False,
) -> None:
    """Pair rows of two tables that share a label, to make rows with both kinds of media."""
    from sensorium.data.synthesis.pairs import pair_tables, parse_key
    from sensorium.data.table import Table

    keys = [parse_key(key) for key in on]
    done = pair_tables(Table.open(first, Path()), Table.open(second, Path()), keys, out, seed=seed, each=each)
    if done.num_alone:
        say(f"{done.num_alone:,} rows of {first} found no partner and were left out")
    _done({"table": str(out), "rows": done.num_rows, "left_out": done.num_alone, "seed": seed}, as_json)


@synth.command("speech")
def speech(
    table: Annotated[str, typer.Argument(help="A table.")],
    column: Annotated[str, typer.Option(help="The column whose texts are spoken.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write; sounds lie in speech/ beside it.")],
    into: Annotated[str, typer.Option(help="The new column.")] = "speech",
    voices: Annotated[int, typer.Option(min=1, help="Rows for each text, by different voices.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal voices.")] = 0,
    split_column: Annotated[str | None, typer.Option(help="Where it says 'test', other speakers speak.")] = None,
    as_json: Json = False,
) -> None:
    """Speak a column's texts with several voices."""
    from sensorium.data.synthesis.spoken_table import speak_table
    from sensorium.data.table import Table

    opened = Table.open(table, Path())
    done = speak_table(opened, column, out, into=into, voices=voices, seed=seed, split_column=split_column)
    if done.num_silent:
        say(f"{done.num_silent:,} rows have no text and stay silent")
    _done({"table": str(out), "rows": done.num_rows, "silent": done.num_silent, "seed": seed}, as_json)


def _done(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    print(f"wrote {facts['table']}: {facts['rows']:,} rows")
    say(f"next: sensorium init {facts['table']}")

"""`sensorium teach`, `forget` and `taught`: texts that a trained model counts on top, and takes out again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from sensorium.cli.output import print_json, print_table
from sensorium.core import text_file
from sensorium.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sensorium.workflow.lessons import Lesson
    from sensorium.workflow.predictor import Predictor

_FIRST_WORDS = 48
Result = TypeVar("Result")

Run = Annotated[Path, typer.Argument(help="A run folder or a model folder.")]
Task = Annotated[str | None, typer.Option(help="Which task of a model that has several.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def teach(
    run: Run,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts, as the model should write them.")] = None,
    file: Annotated[Path | None, typer.Option(help="UTF-8, one text a line.")] = None,
    source: Annotated[str | None, typer.Option(help="A name to forget them by; lesson-NNN if not given.")] = None,
    weight: Annotated[int, typer.Option(min=1, help="Count each text so many times.")] = 1,
    task: Task = None,
    as_json: AsJson = False,
) -> None:
    """Teach a trained model new texts without training: its counting scorers count them, at once."""
    if bool(texts) == (file is not None):
        raise UsageError("give either texts or --file FILE")
    lines = _lines(file) if file is not None else list(texts or [])
    lesson, seconds = _change(run, task, lambda one: one.teach(*lines, source=source, weight=weight))
    facts = _facts(lesson) | {"seconds": seconds}
    if as_json:
        print_json(facts)
        return
    print(f"taught '{lesson.source}': {len(lesson.texts):,} texts, weight {weight}, in {seconds:.2f} s")
    print(f"next: sensorium predict {run} ...; sensorium forget {run} --source {lesson.source}")


def forget(
    run: Run,
    source: Annotated[list[str] | None, typer.Option(help="A source to forget; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget all that was taught.")] = False,
    task: Task = None,
    as_json: AsJson = False,
) -> None:
    """Take taught texts out of a model again; it is then one that never saw them."""
    if bool(source) == everything:
        raise UsageError("give either --source ID or --all")

    def change(predictor: Predictor) -> list[str]:
        gone = [lesson.source for lesson in predictor.lessons] if everything else list(source or [])
        predictor.forget(*gone)
        return gone

    gone, seconds = _change(run, task, change)
    if as_json:
        print_json({"forgotten": gone, "seconds": seconds})
    else:
        print(f"forgot {', '.join(gone) or 'nothing: nothing was taught'}")


def taught(run: Run, task: Task = None, as_json: AsJson = False) -> None:
    """List what a model was taught since it was trained."""
    from sensorium.workflow.lessons import read_lessons
    from sensorium.workflow.run_folder import lessons_folder

    lessons = read_lessons(lessons_folder(run, task))
    if as_json:
        print_json({"taught": [_facts(lesson) for lesson in lessons]})
    elif not lessons:
        print(f"nothing was taught; sensorium teach {run} TEXT")
    else:
        rows = [
            [lesson.source, f"{len(lesson.texts):,}", f"{lesson.weight:,}", lesson.texts[0][:_FIRST_WORDS]]
            for lesson in lessons
        ]
        print_table(["source", "texts", "weight", "first"], rows)


def _change(run: Path, task: str | None, change: Callable[[Predictor], Result]) -> tuple[Result, float]:
    """Load the model, change what it is taught, and keep that; returns the seconds that the change took."""
    import time

    from sensorium.data.locking import exclusive
    from sensorium.workflow.lessons import write_lessons
    from sensorium.workflow.predictor import Predictor
    from sensorium.workflow.run_folder import lessons_folder

    folder = lessons_folder(run, task)
    with exclusive(folder / ".lessons.lock"):
        predictor = Predictor.load(run, task)
        started = time.perf_counter()
        result = change(predictor)
        write_lessons(predictor.lessons, folder)
        return result, round(time.perf_counter() - started, 4)


def _lines(file: Path) -> list[str]:
    try:
        return [line for _, line in text_file.lines(file)]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file)) from None


def _facts(lesson: Lesson) -> dict[str, Any]:
    return {"source": lesson.source, "texts": list(lesson.texts), "weight": lesson.weight}

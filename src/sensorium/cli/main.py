"""The `sensorium` command: one file a subcommand, errors as sentences, exit codes by kind.

Importing this file imports neither torch nor numpy; commands import what they need when they run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

import typer
import typer.core

from sensorium.cli.check import check
from sensorium.cli.compare import compare
from sensorium.cli.demo import demo
from sensorium.cli.describe import describe
from sensorium.cli.doctor import doctor
from sensorium.cli.environment import settle_environment
from sensorium.cli.evaluate import evaluate
from sensorium.cli.explain import explain
from sensorium.cli.export import export
from sensorium.cli.init import init
from sensorium.cli.ngram import ngram
from sensorium.cli.optimise import optimise
from sensorium.cli.predict import predict
from sensorium.cli.report import report
from sensorium.cli.retrieve import retrieve
from sensorium.cli.summarise import summarise
from sensorium.cli.synth import synth
from sensorium.cli.teach import forget, taught, teach
from sensorium.cli.train import train
from sensorium.cli.transcribe import transcribe
from sensorium.cli.vectors import vectors
from sensorium.core.errors import SensoriumError
from sensorium.version import __version__


class _ReaderGone(Exception):
    """Whoever read our output went away (`| head`): not an error of ours."""


class _Commands(typer.core.TyperGroup):
    """The commands, in which a closed pipe is told from failure before the framework ends with 1 on it."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read the command line."""
        with _told_when_reader_goes():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _told_when_reader_goes():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def _told_when_reader_goes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        if _is_unread(sys.stdout.fileno()):
            raise _ReaderGone from None
        raise  # another pipe, of a process of ours


def _is_unread(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


app = typer.Typer(
    name="sensorium",
    cls=_Commands,
    help="Turn your own paired text, images and audio into a language model that sees and hears.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    demo,
    init,
    check,
    describe,
    train,
    compare,
    evaluate,
    predict,
    explain,
    export,
    report,
    retrieve,
    transcribe,
    summarise,
    optimise,
    teach,
    forget,
    taught,
    doctor,
):
    app.command()(command)
app.add_typer(ngram, name="ngram")
app.add_typer(synth, name="synth")
app.add_typer(vectors, name="vectors")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Say the version."
    ),
) -> None:
    """Turn your own paired text, images and audio into a language model that sees and hears."""


def main() -> None:
    """Run the command line; every foreseen failure is one sentence on stderr and an exit code.

    Exit codes: 2 usage, 3 data, 4 model, 5 disk, 6 memory, 7 locked, 130 interrupted.
    """
    settle_environment()
    try:
        app()
    except SensoriumError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except MemoryError:
        _fail("out of memory (lower training.batch_rows, or evaluation.batch_rows where rows are judged)", 6)
    except _ReaderGone:
        _silence_stdout()
        sys.exit(0)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):  # whichever path it was, no file can be called so
            _fail(f"{str(error.filename)[:80]}...: {error.strerror}", 2)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        _fail(f"{error.filename or 'disk'}: {error.strerror}", 5)


def _fail(sentence: str, code: int) -> None:
    print(f"sensorium: error: {sentence}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    sys.exit(code)


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere, since it cannot be flushed when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()

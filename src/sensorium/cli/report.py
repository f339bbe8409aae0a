"""`sensorium report RUN`: make a run's HTML report and its model's card again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import print_json, say


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default: RUN/report.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge a finished run once more and write its report, one HTML file that needs nothing else."""
    from sensorium.workflow.reporting import report_again

    path = report_again(run, out, say=say)
    if as_json:
        print_json({"report": str(path), "bytes": path.stat().st_size})
        return
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")

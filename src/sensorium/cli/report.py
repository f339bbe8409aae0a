"""`sensorium report RUN`: make a run's HTML report and its model's card again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import print_json, say


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; default: RUN/report.html.  Of several tasks: OUT-TASK.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge a finished run once more and write its report, one HTML file that needs nothing else; one a task."""
    from sensorium.workflow.reporting_again import reports_again

    written = [{"report": str(path), "bytes": path.stat().st_size} for path in reports_again(run, out, say=say)]
    if as_json:
        print_json(written[0] if len(written) == 1 else {"reports": written})
        return
    for one in written:
        print(f"wrote {one['report']} ({one['bytes'] / 1e6:.1f} MB)")  # type: ignore[operator]

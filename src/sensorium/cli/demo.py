"""`sensorium demo`: train, judge and show a small model that looks, reads and listens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.output import fitted_for, print_json, print_table, say, share

if TYPE_CHECKING:
    from sensorium.demo.run import DemoReport


def demo(
    out: Annotated[Path | None, typer.Option(help="The exact run folder; new or empty.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Train for so many seconds (default: 120).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Train a model on pictures with typed and spoken questions, about two minutes, and show it."""
    from sensorium.demo.run import run_demo
    from sensorium.training.console import console_progress

    report = run_demo(out=out, seconds=seconds, progress=console_progress(), say=say)
    if as_json:
        print_json(report.summary())
    else:
        _show(report)


def _show(report: DemoReport) -> None:
    print("\neasy-VQA test part; spoken questions are in voices that training never heard\n")
    rows = [
        [line.name, f"{line.num_rows:,}", share(line.accuracy), fitted_for(line.seconds)] for line in report.lines
    ]
    print_table(["asked by", "rows", "accuracy", "fitted, s"], rows)
    print("\nsix of the test rows:\n")
    for sample in report.samples:
        asked = sample.inputs.get("question") or f"[spoken] {Path(sample.inputs['speech']).name}"
        also = " + spoken" if "question" in sample.inputs and "speech" in sample.inputs else ""
        right = "" if sample.prediction.text == sample.expected else f"   (expected: {sample.expected})"
        photo = Path(sample.inputs["photo"]).name
        print(
            f"  {photo:<9}  {asked + also:<48} {sample.prediction.text:<10} "
            f"{100 * sample.prediction.probability:5.1f} %{right}"
        )
    first = report.samples[0].inputs
    print(f"\nrun folder: {report.run}\n\nnext:")
    print(f'  sensorium predict {report.run} --input photo={first["photo"]} --input question="{first["question"]}"')
    print("  sensorium train recipes/easy_vqa.toml")

"""`sensorium describe CONFIG|RUN`: a model's parts, parameters, shapes, and a diagram of how they meet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from sensorium.workflow.describe import Description


def describe(
    what: Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="A TOML config, or a run folder.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change a config's key: --set a.b=c.")
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the Mermaid diagram alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Describe a model; of a config's data only texts are read, to know the vocabularies."""
    descriptions = _describe(what, assignments or [])
    if as_json:
        facts = {name: description.facts() for name, description in descriptions.items()}
        print_json(facts.get("", {"tasks": facts}))
        return
    for name, description in descriptions.items():
        if name:
            print(f"%% {name}" if mermaid else f"\n{name}:")
        if mermaid:
            print(description.mermaid, end="")
        else:
            _print(description)


def _describe(what: Path, assignments: list[str]) -> dict[str, Description]:
    """Return a description of each task, by name; "" where there is one, or none."""
    from sensorium.core.errors import UsageError
    from sensorium.workflow.config import RunConfig
    from sensorium.workflow.describe import describe_config, describe_pretraining, describe_run
    from sensorium.workflow.tasks_config import TasksConfig, load_any

    if what.suffix == ".toml":
        config = load_any(what, assignments)
        if isinstance(config, TasksConfig):
            return {name: describe_config(task) for name, task in config.tasks.items()}
        return {"": describe_config(config) if isinstance(config, RunConfig) else describe_pretraining(config)}
    if assignments:
        raise UsageError("--set changes a config, and a run is what it is", advice="name its config.toml")
    return describe_run(what)


def _print(description: Description) -> None:
    d = description
    vocabulary = f"; vocabulary {d.vocabulary:,}" if d.vocabulary else ""
    print(f"task {d.task}; layout {d.layout}; width {d.width}{vocabulary}\n")
    rows = [
        [
            f"{c.role} {c.name}",
            c.kind if c.kind not in (c.name, c.role) else "",
            _axes(c.shape_in),
            _axes(c.shape_out),
            f"{c.learned:,}",
            f"{c.frozen:,}",
            f"{c.counted:,}",
        ]
        for c in d.components
    ]
    rows.append(["total", "", "", "", *(f"{d.total(what):,}" for what in ("learned", "frozen", "counted"))])
    print_table(["part", "kind", "in, a row", "out, a row", "learned", "frozen", "counted"], rows)
    print("\nShapes are of one picture, one second of sound or film, a text of five words.\n")
    print(d.mermaid, end="")
    for line in d.unknown:
        say(f"not known yet: {line}")


def _axes(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else " x ".join(map(str, shape))

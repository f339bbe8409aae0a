"""`sensorium init TABLE`: look at a table and write a commented config that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import print_json


def init(
    table: Annotated[
        str,
        typer.Argument(
            help="A CSV, TSV, JSONL or Parquet file, or READER:PATH such as folder:pets or coco:captions.json."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The config to write; default: beside the table.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing config.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Look at TABLE and write a config for it."""
    from sensorium.core.commit import require_free, write_atomic
    from sensorium.data.readers import TableSpec
    from sensorium.data.table import Table
    from sensorium.workflow.inspect import begins_config, config_for, look_at

    parsed = TableSpec.parse(table, Path())
    path = parsed.path
    opened = Table.open(table, Path())
    target = out if out is not None else path.parent / f"{path.stem or path.name}.toml"
    require_free(target, force=force, is_ours=begins_config)
    columns = look_at(opened)
    write_atomic(target, config_for(opened, parsed.seen_from(target.parent), columns).encode("utf-8"))
    if as_json:
        facts = [{"name": c.name, "kind": c.kind, "filled": c.filled, "distinct": c.distinct} for c in columns]
        print_json({"config": str(target), "rows": len(opened), "columns": facts})
        return
    print(f"wrote {target} for {len(opened):,} rows\nnext: sensorium train {target}")

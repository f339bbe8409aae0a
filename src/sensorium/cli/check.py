"""`sensorium check CONFIG|TABLE`: find what is wrong before any time is spent on training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sensorium.data.corpus import Corpus
    from sensorium.data.quarantine import Quarantine
    from sensorium.model.pretrainer import Pretrainer
    from sensorium.workflow.prepare import Prepared


def check(
    what: Annotated[str, typer.Argument(metavar="CONFIG|TABLE", help="A TOML config, or a table.")],
    bad: Annotated[bool, typer.Option("--bad", help="List every bad row.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Read every key, row and medium; say what is there, what is missing and what is bad."""
    facts, quarantine = _check_config(Path(what)) if what.endswith(".toml") else _check_table(what)
    facts["bad"] = [str(row) for row in quarantine]
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if key not in ("bad", "columns"):
            print(f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}")
    if columns := facts.get("columns"):
        rows = [[c["name"], c["kind"], f"{c['filled']:.1%}", f"{c['distinct']:,}"] for c in columns]
        print_table(["column", "kind", "filled", "distinct"], rows)
    shown = facts["bad"] if bad else facts["bad"][:5]
    for line in shown:
        print(f"bad: {line}")
    if len(shown) < len(facts["bad"]):
        print(f"... and {len(facts['bad']) - len(shown):,} more: add --bad")
    say("ok" if not facts["bad"] else f"{len(quarantine):,} bad rows")


def _check_config(path: Path) -> tuple[dict[str, Any], Quarantine]:
    from sensorium.data.quarantine import Quarantine
    from sensorium.workflow.config import RunConfig
    from sensorium.workflow.prepare import prepare
    from sensorium.workflow.pretraining import prepare_pretraining
    from sensorium.workflow.tasks_config import TasksConfig, load_any
    from sensorium.workflow.tasks_prepare import prepare_tasks

    config = load_any(path)
    quarantine = Quarantine(stops=False)  # everything bad is to be listed here
    facts: dict[str, Any] = {"config": str(path)}
    if isinstance(config, TasksConfig):
        for name, task in prepare_tasks(config, None, quarantine=quarantine).tasks.items():
            facts |= {f"{name}: {key}": value for key, value in _prepared_facts(task).items()}
    elif isinstance(config, RunConfig):
        facts |= _prepared_facts(prepare(config, None, quarantine=quarantine))
    else:
        facts |= _pretraining_facts(*prepare_pretraining(config, quarantine))
    return facts, quarantine


def _prepared_facts(prepared: Prepared) -> dict[str, Any]:
    from sensorium.model.saving import num_parameters

    facts: dict[str, Any] = {
        "task": prepared.task.name,
        "parameters": num_parameters(prepared.model),
        "vocabulary": len(prepared.model.vocab),
        "answers": len(prepared.answers) if prepared.answers else "open",
        "train rows": prepared.train.num_rows,
        "validation rows": prepared.validation.num_rows,
    }
    if prepared.test is not None:
        facts["test rows"] = prepared.test.num_rows
    return facts | _left_out(prepared.corpora)


def _left_out(corpora: Mapping[str, Corpus]) -> dict[str, int]:
    return {
        f"{part}: {what}": count
        for part, corpus in corpora.items()
        for what, count in corpus.left_out.facts().items()
    }


def _pretraining_facts(model: Pretrainer, corpora: Mapping[str, Corpus]) -> dict[str, Any]:
    from sensorium.model.saving import num_parameters

    facts: dict[str, Any] = {"task": "pretrain", "parameters": num_parameters(model)}
    facts |= {f"{name} rows": corpus.num_rows for name, corpus in corpora.items()}
    return facts | _left_out(corpora)


def _check_table(spec: str) -> tuple[dict[str, Any], Quarantine]:
    import dataclasses

    from sensorium.data.quarantine import Quarantine
    from sensorium.data.table import Table
    from sensorium.workflow.inspect import look_at

    quarantine = Quarantine(stops=False)
    table = Table.open(spec, Path(), quarantine=quarantine)
    columns = [dataclasses.asdict(column) for column in look_at(table)]
    return {"table": spec, "rows": len(table), "columns": columns}, quarantine

"""`sensorium check CONFIG|TABLE`: find what is wrong before any time is spent on training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sensorium.data.corpus import Corpus
    from sensorium.data.quarantine import Quarantine
    from sensorium.model.pretrainer import Pretrainer
    from sensorium.workflow.prepare import Prepared


def check(
    what: Annotated[str, typer.Argument(metavar="CONFIG|TABLE", help="A TOML config, or a table.")],
    bad: Annotated[bool, typer.Option("--bad", help="List every bad row.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Read every key, row and medium; say what is there, what is missing and what is bad.

    Exits with 3 where training would be refused: more rows of a table are bad than max_bad_fraction tolerates, or a
    part has no row left.
    """
    from sensorium.core.errors import DataError
    from sensorium.data.quarantine import Quarantine

    quarantine = Quarantine(stops=False)  # everything bad is to be listed here
    facts: dict[str, Any] = {}
    problem: DataError | None = None
    try:
        for more in (
            _check_config(Path(what), quarantine) if what.endswith(".toml") else _check_table(what, quarantine)
        ):
            facts |= more
    except DataError as error:
        if not len(quarantine):
            raise
        problem = error
    _print(facts | {"bad": [str(row) for row in quarantine]}, bad, as_json)
    say("ok" if not len(quarantine) else f"{len(quarantine):,} bad rows")
    quarantine.judge()
    if problem is not None:
        raise problem


def _print(facts: dict[str, Any], bad: bool, as_json: bool) -> None:
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


def _check_config(path: Path, quarantine: Quarantine) -> Iterator[dict[str, Any]]:
    from sensorium.workflow.config import RunConfig
    from sensorium.workflow.leaks import with_leaks
    from sensorium.workflow.pretraining import prepare_pretraining
    from sensorium.workflow.readiness import ready, require_all_ready
    from sensorium.workflow.task_leaks import with_task_leaks
    from sensorium.workflow.tasks_config import TasksConfig, load_any
    from sensorium.workflow.tasks_prepare import prepare_tasks

    config = load_any(path)
    yield {"config": str(path)}
    if isinstance(config, TasksConfig):
        tasks = prepare_tasks(config, None, quarantine=quarantine).tasks
        require_all_ready(config.tasks, tasks)
        for name, task in with_task_leaks(config, tasks).items():
            yield {f"{name}: {key}": value for key, value in _prepared_facts(task).items()}
    elif isinstance(config, RunConfig):
        yield _prepared_facts(with_leaks(config, ready(config, None, quarantine=quarantine)[0]))
    else:
        yield _pretraining_facts(*prepare_pretraining(config, quarantine))


def _prepared_facts(prepared: Prepared) -> dict[str, Any]:
    from sensorium.model.saving import num_parameters
    from sensorium.workflow.prepare import framed_targets

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
    facts |= _left_out(prepared.corpora)
    facts |= {f"warning {number}": note for number, note in enumerate(prepared.notes, start=1)}
    return facts | ({"note": told} if (told := framed_targets(prepared.train)) else {})


def _left_out(corpora: Mapping[str, Corpus]) -> dict[str, int]:
    for corpus in corpora.values():
        corpus.read_through()
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


def _check_table(spec: str, quarantine: Quarantine) -> Iterator[dict[str, Any]]:
    import dataclasses

    from sensorium.data.table import Table
    from sensorium.workflow.inspect import look_at

    yield {"table": spec}
    table = Table.open(spec, Path(), quarantine=quarantine)
    columns = [dataclasses.asdict(column) for column in look_at(table)]
    yield {"rows": len(table), "columns": columns}

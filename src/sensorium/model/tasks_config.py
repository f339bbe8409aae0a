"""One model for several tasks, as config sections: `[tasks.NAME]` over shared `[inputs]` and `[fusion]`.

Enters: nested dicts from TOML or Python.  Leaves: each task written as a model of its own, and so one
`ModelConfig` a task.

A task says which inputs it reads (all, if it says nothing), and from which columns.  Tasks that write text share
the fusion of all the inputs that any of them reads; what a task does not read is absent from all its rows.  A task
that writes nothing aligns what it reads, without the fusion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sensorium.core.config import Source, unknown_key
from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest
from sensorium.model import taking
from sensorium.model.config import ModelConfig, parse

TASK_KEYS = ("inputs", "target", "language", "alignment", "data", "decoding", "weight")
_OF_ONE_TASK = ("target",)


@dataclass(frozen=True)
class TaskValues:
    """One task, written as if it were alone.

    Attributes:
        own: the section `[tasks.NAME]` as it stands.
        values: the sections of a model of this task.
        source: where their keys stand.
        unread: inputs of the model that this task does not read.
    """

    own: Mapping[str, Any]
    values: dict[str, Any]
    source: Source
    unread: frozenset[str]


def expand(
    values: Mapping[str, Any], source: Source, *, default_tokenizer: Mapping[str, str]
) -> dict[str, TaskValues]:
    """Write each task as a model of its own.

    Args:
        default_tokenizer: of each kind of task; empty for one that writes no text.

    Raises:
        ConfigError: an unknown key, an input that is not there, or one that no task reads.
    """
    for key in _OF_ONE_TASK:
        if key in values:
            advice = f"write [tasks.NAME.{key}]"
            raise ConfigError(
                f"with [tasks], each task has its own '{key}'", where=source.where(key), advice=advice
            )
    if "objectives" in values:
        advice = 'pretrain with them in a run without [tasks], then begin from it: encoder = "run:FOLDER#INPUT"'
        what = "[objectives] have no place beside [tasks]"
        raise ConfigError(what, where=source.where("objectives"), advice=advice)
    raw_tasks, inputs = _section(values, "tasks", source), _section(values, "inputs", source)
    fusion = _section(values, "fusion", source)
    tasks = {name: _own(name, raw_tasks[name], source) for name in raw_tasks}
    if not tasks:
        raise ConfigError("no tasks", where=source.where("tasks"), advice="add a section [tasks.NAME]")
    columns = {name: _columns(name, own, inputs, source) for name, own in tasks.items()}
    targets = {name: _target(name, own, source, default_tokenizer) for name, own in tasks.items()}
    writing = [name for name, target in targets.items() if default_tokenizer.get(target["task"], "any")]
    fused = [name for name in inputs if any(name in columns[task] for task in writing)]
    for name in inputs:
        if not any(name in read for read in columns.values()):
            raise ConfigError(f"no task reads input '{name}'", where=source.where(f"inputs.{name}"))
    if writing and taking.is_run(fusion.get("features")):  # tasks without a fusion need its width, too
        fusion = taking.taken_fusion(fusion, fused, source.where("fusion.features"))
    expanded = {}
    for name, own in tasks.items():
        known = fused if name in writing else list(columns[name])
        model = {
            "inputs": {n: {**inputs[n], "column": columns[name].get(n, n)} for n in known},
            "target": targets[name],
            "fusion": _fusion(fusion, own, is_writing=name in writing, num_writing=len(writing), num=len(tasks)),
            "language": own.get("language", values.get("language", {})) if name in writing else {},
        }
        unread = frozenset(known) - columns[name].keys()
        expanded[name] = TaskValues(own, model, _source(source, name, own), unread)
    return expanded


def parse_tasks(
    values: Mapping[str, Any], source: Source, *, default_tokenizer: Mapping[str, str]
) -> dict[str, ModelConfig]:
    """Validate the model of each task.  Raises ConfigError, as `expand` and `model.config.parse` do."""
    return {
        name: replace(parse(task.values, task.source, default_tokenizer=default_tokenizer), unread=task.unread)
        for name, task in expand(values, source, default_tokenizer=default_tokenizer).items()
    }


def dump_tasks(configs: Mapping[str, ModelConfig]) -> dict[str, Any]:
    """Return nested plain dicts that `parse_tasks` reads back to equal configs."""
    dumps = {name: config.dump() for name, config in configs.items()}
    writing = [name for name, config in configs.items() if config.scorers]
    inputs: dict[str, Any] = {}
    for name in [*writing, *configs]:
        inputs = {**dumps[name]["inputs"], **inputs} if not inputs else {**inputs, **_new(dumps[name], inputs)}
    tasks = {}
    for name, config in configs.items():
        own = {"inputs": {n: choice.column for n, choice in config.read_inputs.items()}}
        own |= {"target": dumps[name]["target"]}
        own |= {"language": dumps[name]["language"]} if config.scorers else {}
        alignment = dumps[name]["fusion"].get("alignment")
        own |= {"alignment": alignment} if alignment is not None and not config.scorers else {}
        tasks[name] = own
    fusion = dict(dumps[writing[0] if writing else next(iter(dumps))]["fusion"])
    if not writing:
        fusion.pop("alignment", None)
    return {"inputs": inputs, "fusion": fusion, "tasks": tasks}


def _new(dump: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in dump["inputs"].items() if name not in known}


def _own(name: str, raw: Any, source: Source) -> Mapping[str, Any]:
    where = source.where(f"tasks.{name}")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) or hasattr(nn.ModuleDict, name):
        raise ConfigError(
            f"'{name}' cannot name a task", where=where, advice="a name is letters, digits, '_' and '-'"
        )
    if not isinstance(raw, Mapping):
        raise ConfigError(f"'tasks.{name}' must be a section", where=where)
    for key in raw:
        if key not in TASK_KEYS:
            raise unknown_key(f"tasks.{name}.{key}", TASK_KEYS, source)
    return raw


def _columns(name: str, own: Mapping[str, Any], inputs: Mapping[str, Any], source: Source) -> dict[str, str]:
    """Return the column of each input that a task reads, in the order of [inputs]."""
    key = f"tasks.{name}.inputs"
    raw = own.get("inputs", list(inputs))
    if not isinstance(raw, list | tuple | Mapping):
        raise ConfigError(f"'{key}' is a list of inputs, or their columns by input", where=source.where(key))
    for read in raw:
        if read not in inputs:
            advice = nearest(str(read), list(inputs))
            raise ConfigError(f"'{key}' names no input: '{read}'", where=source.where(key), advice=advice)
    own_columns = raw if isinstance(raw, Mapping) else {}
    return {n: own_columns.get(n, _column(n, section)) for n, section in inputs.items() if n in raw}


def _column(name: str, section: Any) -> str:
    return str(section.get("column", name)) if isinstance(section, Mapping) else name


def _target(
    name: str, own: Mapping[str, Any], source: Source, default_tokenizer: Mapping[str, str]
) -> dict[str, Any]:
    """Return a task's target; its kind is the task's name, where that is one and nothing else is said."""
    target = own.get("target", {})
    if not isinstance(target, Mapping):
        raise ConfigError(f"'tasks.{name}.target' must be a section", where=source.where(f"tasks.{name}.target"))
    kind = {"task": name} if name in default_tokenizer else {"task": "answer"}
    return {**kind, **target}


def _fusion(
    fusion: Mapping[str, Any], own: Mapping[str, Any], *, is_writing: bool, num_writing: int, num: int
) -> dict[str, Any]:
    """Return the fusion section of a task: alignment is for the tasks that write nothing, if there is one."""
    alignment = own.get("alignment", fusion.get("alignment") if num_writing == num or not is_writing else None)
    shared = {k: v for k, v in fusion.items() if k != "alignment"}
    if not is_writing:
        # The options of the fusion itself are checked by a task that has one.
        shared = {k: v for k, v in shared.items() if k == "width"} if num_writing else shared
    return shared | ({"alignment": alignment} if alignment is not None else {})


def _section(values: Mapping[str, Any], key: str, source: Source) -> Mapping[str, Any]:
    section = values.get(key, {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"'{key}' must be a section", where=source.where(key))
    return section


def _source(source: Source, name: str, own: Mapping[str, Any]) -> Source:
    """Return where a task's keys stand: its own section's before those that all tasks share."""
    own_places = dict(_moved(source, f"tasks.{name}."))
    if "alignment" in own:
        own_places |= {f"fusion.{key}": place for key, place in own_places.items() if key.startswith("alignment")}
    return Source(source.name, {**source.places, **own_places})


def _moved(source: Source, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    return ((key.removeprefix(prefix), place) for key, place in source.places.items() if key.startswith(prefix))

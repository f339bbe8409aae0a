"""From tables to corpora: open, split, fit preparers and tokenizer on training rows, build the model.

Enters: a RunConfig.  Leaves: `Prepared`, all that fitting and judging need.  Everything here is a
pure function of the config, its seed and the tables, so that a resumed run sees the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.errors import DataError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item, Media
from sensorium.data.corpus import Corpus, InputSpec, TargetSpec
from sensorium.data.quarantine import Quarantine
from sensorium.data.splits import split_by_column, split_by_hash
from sensorium.data.table import Table
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import build_preparers, build_tokenizer
from sensorium.tasks.registry import load_task
from sensorium.tasks.task import Task
from sensorium.training.seeding import seed_everything
from sensorium.workflow.config import RunConfig

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """Some rows of a table."""

    table: Table
    row_N: np.ndarray

    def cells(self, column: str) -> Iterator[str]:
        """Yield one column's cells."""
        return (self.table.row(int(i))[column] for i in self.row_N)


@dataclass(frozen=True)
class Prepared:
    """A model that has seen no data yet but knows its vocabulary, and the corpora to fit and judge it."""

    model: MultimodalLM
    task: Task
    answers: list[str] | None
    train: Corpus
    validation: Corpus
    test: Corpus | None
    quarantine: Quarantine


def prepare(config: RunConfig, run: Path | None, say: Say = lambda line: None) -> Prepared:
    """Open the tables and build everything up to the first step.

    Raises:
        DataError: a table or column is missing, no rows are left, or too many are bad.
        ModelError: parts of the model do not fit.
    """
    parts = open_parts(config)
    _require_columns(config, parts)
    task: Task = load_task(config.model.target.task)
    preparers = build_preparers(config.model, config.media)
    for name, choice in config.model.inputs.items():
        preparers[name].fit(_items(parts["train"], choice.column, preparers[name], config))
    tokenizer = build_tokenizer(config.model).fit(filter(None, parts["train"].cells(config.model.target.column)))
    seed_everything(config.training.seed)
    model = MultimodalLM(config.model, preparers, tokenizer)
    bad_list = None if run is None else run / "bad_rows.jsonl"
    quarantine = Quarantine(max_fraction=config.data.max_bad_fraction, path=bad_list)
    corpora = {
        name: build_corpus(config, model, part, quarantine=quarantine) for name, part in parts.items()
    }
    for name, corpus in corpora.items():
        dropped = "".join(f", {count:,} {what}" for what, count in corpus.counts.items() if count)
        say(f"{name}: {corpus.num_rows:,} rows{dropped}")
    if not corpora["train"].num_rows:
        raise DataError("no training rows are left", where=config.data.train)
    answers = _answers(config, task, corpora["train"])
    return Prepared(
        model, task, answers, corpora["train"], corpora["validation"], corpora.get("test"), quarantine
    )


def open_parts(config: RunConfig) -> dict[str, Part]:
    """Open and split the tables into 'train', 'validation' and, if there is one, 'test'."""
    data = config.data
    table = open_table(config, data.train)
    every = np.arange(len(table))
    parts = {"train": Part(table, every)}
    if data.split_column is not None:
        sides = split_by_column(table, data.split_column)
        parts = {name: Part(table, sides[name]) for name in ("train", "validation", "test") if len(sides.get(name, ()))}
        if "train" not in parts:
            raise DataError(f"column '{data.split_column}' names no row 'train'", where=data.train)
    for name in ("validation", "test"):
        spec = getattr(data, name)
        if spec is not None:
            other = open_table(config, spec)
            parts[name] = Part(other, np.arange(len(other)))
    if "validation" not in parts:
        parts |= _hold_back(config, parts["train"])
    return parts


def open_table(config: RunConfig, spec: str) -> Table:
    """Open one table of the config, given as it stands there."""
    return Table.open(config.resolve(spec), config.folder)


def build_corpus(
    config: RunConfig, model: MultimodalLM, part: Part, *, quarantine: Quarantine, keep_untargeted: bool = False
) -> Corpus:
    """Prepare the rows of `part` for `model`; bad ones go to `quarantine`."""
    target = config.model.target
    inputs = {
        name: InputSpec(choice.column, model.preparers[name]) for name, choice in config.model.inputs.items()
    }
    return Corpus.build(
        part.table,
        part.row_N,
        inputs,
        TargetSpec(target.column, model.tokenizer, target.max_tokens),
        folder=media_root(config, part.table),
        cache=Path(config.resolve(config.data.cache)) if config.data.cache else None,
        workers=config.training.workers,
        quarantine=quarantine,
    )


def media_root(config: RunConfig, table: Table) -> Path:
    """Return where relative media paths of `table` start."""
    return Path(config.resolve(config.data.folder)) if config.data.folder is not None else table.folder


def _hold_back(config: RunConfig, train: Part) -> dict[str, Part]:
    keys = _shared_column(config)
    fraction = config.data.validation_fraction
    sides = split_by_hash(
        list(train.cells(keys)) if keys else [str(i) for i in train.row_N],
        {"train": 1 - fraction, "validation": fraction},
        seed=0,
    )
    held = train.row_N[sides["validation"]]
    kept = train.row_N[sides["train"]]
    if not len(held) or not len(kept):  # a handful of rows, or one group: hold back the last tenth
        cut = max(1, int(len(train.row_N) * (1 - fraction)))
        kept, held = train.row_N[:cut], train.row_N[cut:]
    if not len(held):
        held = kept
    return {"train": Part(train.table, kept), "validation": Part(train.table, held)}


def _shared_column(config: RunConfig) -> str | None:
    """Rows that share a medium must not fall on both sides: group by the first medium's column."""
    preparers = build_preparers(config.model)
    for name, choice in config.model.inputs.items():
        if isinstance(preparers[name].item("probe", Path()), Media):
            return choice.column
    return None


def _require_columns(config: RunConfig, parts: dict[str, Part]) -> None:
    wanted = {f"inputs.{name}": choice.column for name, choice in config.model.inputs.items()}
    wanted["target"] = config.model.target.column
    for part in parts.values():
        for key, column in wanted.items():
            if column not in part.table.columns:
                raise DataError(
                    f"has no column '{column}', which [{key}] reads",
                    where=str(part.table.name),
                    advice=f"columns: {', '.join(part.table.columns)}",
                )


def _items(part: Part, column: str, preparer: Preparer, config: RunConfig) -> Iterator[Item]:
    root = media_root(config, part.table)
    return (item for cell in part.cells(column) if (item := preparer.item(cell, root)) is not None)


def _answers(config: RunConfig, task: Task, train: Corpus) -> list[str] | None:
    counts: Counter[str] = Counter(train.target_text(i) for i in range(train.num_rows))
    closed = config.model.target.closed
    if closed is None:
        closed = task.is_closed(len(counts))
    ordered: list[Any] = sorted(counts, key=lambda text: (-counts[text], text))
    return ordered if closed else None

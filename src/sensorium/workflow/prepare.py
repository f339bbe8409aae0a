"""From tables to corpora: open, split, fit preparers and tokenizer on training rows, build the model.

Enters: a RunConfig.  Leaves: `Prepared`, all that fitting and judging need.  Everything here is a
pure function of the config, its seed and the tables, so that a resumed run sees the same.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from sensorium.core.errors import DataError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item
from sensorium.data.cache_place import cache_place
from sensorium.data.cell_values import fault_in
from sensorium.data.corpus import Corpus, TargetSpec
from sensorium.data.omissions import BEYOND_FRACTION, Omissions, counts_by_part, of_named_part, of_no_part
from sensorium.data.quarantine import Quarantine
from sensorium.data.splits import split_by_column
from sensorium.data.table import Table
from sensorium.data.tokenizers import Tokenizer
from sensorium.decoding.hot_words import spelled
from sensorium.evaluation.metrics import is_frame
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import build_preparers, build_tokenizer
from sensorium.model.taking import load_preparer
from sensorium.tasks.meanings import list_meanings
from sensorium.tasks.registry import judged_by, load_task
from sensorium.tasks.task import ChecksRows, Task, distinct, target_form
from sensorium.training.console import Stages, staged
from sensorium.training.seeding import seed_everything
from sensorium.workflow.config import PretrainingConfig, RunConfig
from sensorium.workflow.config_places import require_places
from sensorium.workflow.dividing import divide

Say = Callable[[str], None]
BAD_ROWS = "bad_rows.jsonl"


@dataclass(frozen=True)
class Part:
    """Some rows of a table.

    Attributes:
        notes: what is to be said of how they were parted from the others.
        beside: counts of the table's rows that are in no part, by why.
    """

    table: Table
    row_N: np.ndarray
    notes: tuple[str, ...] = ()
    beside: Mapping[str, int] = field(default_factory=dict)

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
    parts: Mapping[str, Part]
    notes: tuple[str, ...] = ()
    """What is to be said of how rows were parted, and of rows that several parts have."""

    @property
    def corpora(self) -> dict[str, Corpus]:
        """Return the corpora that there are, by part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: corpus for name, corpus in parts.items() if corpus is not None}

    @property
    def left_out(self) -> dict[str, int]:
        """Count what was left out, cut or absent up to now, by what and part."""
        return counts_by_part(self.omissions)

    @property
    def omissions(self) -> dict[str, Omissions]:
        """Return what was left out, cut or absent up to now, by part."""
        return {part: corpus.left_out for part, corpus in self.corpora.items()}


def quiet(line: str) -> None:
    """Say nothing."""


def prepare(
    config: RunConfig, run: Path | None = None, *, say: Say = quiet, quarantine: Quarantine | None = None
) -> Prepared:
    """Open the tables and build everything up to the first step.

    Args:
        run: where the list of bad rows is written; None = nowhere.
        say: told how many rows there are, and what was left out.
        quarantine: collects bad rows; by default one that stops at the config's limit.

    Raises:
        DataError: a table or column is missing, no rows are left, or too many are bad.
        ModelError: parts of the model do not fit.
    """
    quarantine = quarantine or Quarantine(config.data.max_bad_fraction, None if run is None else run / BAD_ROWS)
    parts = open_parts(config, quarantine)
    require_places(config)
    require_columns(config, parts)
    preparers, tokenizer = fit_preparation(config, parts["train"])
    seed_everything(config.training.seed)
    spelled(tokenizer, config.decoding.ctc.hot_words)  # refused before anything learns
    model = MultimodalLM(config.model, preparers, tokenizer)
    model.load_pretrained()
    return with_corpora(config, model, parts, quarantine, say=say)


def with_corpora(
    config: RunConfig,
    model: MultimodalLM,
    parts: Mapping[str, Part],
    quarantine: Quarantine,
    *,
    say: Say = quiet,
    label: str = "",
) -> Prepared:
    """Prepare the rows for a model; `label` comes before each line that is said."""
    task = judged_by(load_task(config.model.target.task), config.evaluation.metrics)
    corpora = {name: build_corpus(config, model, part, quarantine=quarantine) for name, part in parts.items()}
    say_counts(corpora, say, label)
    say_notes(parts, say, label)
    if told := framed_targets(corpora["train"]):
        say(f"{label}{told}")
    answers = _answers(config, task, corpora["train"], model.tokenizer)
    notes = tuple(note for part in parts.values() for note in part.notes)
    train, validation, test = corpora["train"], corpora["validation"], corpora.get("test")
    return Prepared(model, task, answers, train, validation, test, quarantine, parts, notes)


def framed_targets(train: Corpus) -> str:
    """Say it where all targets carry signs of their own for start and end; empty where they do not."""
    words = train.target_text(0).split() if train.has_targets else []
    if len(words) < 2 or not is_frame(words[0]) or not is_frame(words[-1]):
        return ""
    first, last = words[0], words[-1]
    texts = (train.target_text(row).strip() for row in range(train.num_rows))
    if not all(text.startswith(first) and text.endswith(last) for text in texts):
        return ""
    return (
        f"every target begins with {first} and ends with {last}: the model adds signs of its own, and metrics "
        "leave these out; better take them out of the table"
    )


def say_counts(corpora: Mapping[str, Corpus], say: Say, label: str = "") -> None:
    """Tell how many rows each part has, and what was left out of it; `label` comes before each line."""
    for name, corpus in corpora.items():
        say(f"{label}{name}: {', '.join([f'{corpus.num_rows:,} rows', *corpus.left_out.clauses()])}")


def say_met(corpora: Mapping[str, Corpus], say: Say, label: str = "") -> None:
    """Tell the counts again of what is known only when all is read: media that are prepared for every batch."""
    say_counts({f"all read, {n}": one for n, one in corpora.items() if not one.is_prepared}, say, label)


def say_notes(parts: Mapping[str, Part], say: Say, label: str = "") -> None:
    """Tell how rows were parted, where it is not as was asked for; `label` comes before each line."""
    for note in (note for part in parts.values() for note in part.notes):
        say(f"{label}{note}")


def fit_preparation(config: RunConfig, train: Part) -> tuple[dict[str, Preparer], Tokenizer]:
    """Fit the preparer of every input, and the target's tokenizer, on training rows.

    Raises:
        DataError: a column is missing, or holds nothing to learn from.
        ModelError: a run that an input is taken from has changed.
    """
    return fit_preparers(config, train), fit_tokenizer(config, train)


def fit_preparers(config: PretrainingConfig, train: Part) -> dict[str, Preparer]:
    """Fit the preparer of every input on training rows; raises as `fit_preparation`."""
    require_columns(config, {"train": train})
    return {name: fit_preparer(name, [(config, train)]) for name in config.model.inputs}


def fit_preparer(name: str, readers: Sequence[tuple[PretrainingConfig, Part]]) -> Preparer:
    """Fit an input's preparer on the training rows of all that read it, or load what it learned in a run.

    Args:
        readers: each config that reads the input, and its training rows; the first one says how.

    Raises:
        DataError: nothing to fit it on.
        ModelError: the run that the input is taken from has changed.
    """
    first, _ = readers[0]
    preparer, section = build_preparers(first.model, first.media)[name], first.model.inputs[name].section
    if section.taken_from is not None:
        return load_preparer(preparer, section, f"inputs.{name}")
    read = chain.from_iterable(input_items(config, part, name, preparer) for config, part in readers)
    items = staged(read, sum(len(part.row_N) for _, part in readers), f"reading {name} for its vocabulary")
    try:
        return preparer.fit(items)
    except DataError as error:
        faults = (_first_fault(config, part, name, preparer) for config, part in readers)
        raise next(filter(None, faults), error) from None


def fit_tokenizer(config: RunConfig, train: Part) -> Tokenizer:
    """Fit the target's tokenizer; of a task that writes nothing, on nothing."""
    column = config.model.target.column
    tokenizer: Tokenizer = build_tokenizer(config.model)
    if column is None:
        return tokenizer.fit(())
    form = target_form(load_task(config.model.target.task), config.model.target.closed)
    try:
        return tokenizer.fit(text for cell in train.cells(column) if not fault_in(cell) and (text := form(cell)))
    except DataError:
        for i, cell in zip(train.row_N, train.cells(column), strict=True):
            if fault := fault_in(cell):
                raise DataError(fault, where=f"{train.table.where(int(i))} {column}") from None
        raise


def open_parts(config: PretrainingConfig, quarantine: Quarantine) -> dict[str, Part]:
    """Open and split the tables into 'train', 'validation' and, if there is one, 'test'."""
    data = config.data
    table = open_table(config, data.train, quarantine)
    parts = {"train": Part(table, np.arange(len(table)))}
    if data.split_column is not None:
        sides = split_by_column(table, data.split_column)
        if "train" not in sides:
            raise DataError(f"column '{data.split_column}' says 'train' in no row", where=data.train)
        beside = {of_no_part(data.split_column): len(table) - sum(map(len, sides.values()))}
        parts = {name: Part(table, row_N, beside=beside) for name, row_N in sides.items()}
    for name in ("validation", "test"):
        spec = getattr(data, name)
        if spec is not None:
            other = open_table(config, spec, quarantine)
            if name in parts and len(parts[name].row_N):
                replaced = {of_named_part(str(data.split_column), name): len(parts[name].row_N)}
                parts["train"] = replace(parts["train"], beside={**parts["train"].beside, **replaced})
            parts[name] = Part(other, np.arange(len(other)))
    if "validation" not in parts:
        parts |= _hold_back(config, parts["train"])
    if data.train_fraction < 1:
        parts["train"] = _share(config, parts["train"], data.train_fraction)
    return parts


def open_table(config: PretrainingConfig, spec: str, quarantine: Quarantine) -> Table:
    """Open one table of the config, given as it stands there; lists in its cells are read as the config means."""
    table = Table.open(
        config.resolve(spec),
        config.folder,
        cache_folder(config),
        quarantine=quarantine,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    return table.read_as(list_meanings(config.model))


def cache_folder(config: PretrainingConfig) -> Path | None:
    """Return where decoded media and large tables are kept; None = nowhere."""
    return cache_place(Path(config.resolve(config.data.cache))) if config.data.cache else None


def build_corpus(config: RunConfig, model: MultimodalLM, part: Part, *, quarantine: Quarantine) -> Corpus:
    """Prepare the rows of `part` for `model`; bad ones, and those its task cannot use, go to `quarantine`."""
    task = load_task(config.model.target.task)
    target = config.model.target
    read = config.model.read_inputs
    inputs = {name: choice.spec(model.preparers[name]) for name, choice in read.items()}
    column, form = target.column, target_form(task, target.closed)
    with Stages("preparing", "media") as progress:
        corpus = Corpus.build(
            part.table,
            part.row_N,
            inputs,
            None if column is None else TargetSpec(column, model.tokenizer, target.max_tokens, form),
            folder=media_root(config, part.table),
            cache=cache_folder(config),
            workers=config.training.workers,
            quarantine=quarantine,
            beside=part.beside,
            progress=progress,
        )
    if config.model.unread:
        corpus = corpus.with_absent({name: model.preparers[name] for name in config.model.unread})
    if isinstance(task, ChecksRows):
        corpus = corpus.without(task.faults(model, corpus))
    require_rows(part, corpus)
    return corpus


def require_rows(part: Part, corpus: Corpus) -> None:
    """Raise DataError where no row of a part can be used: there is nothing to learn from or to be judged on."""
    if corpus.num_rows:
        return
    if not len(part.row_N):
        raise DataError(
            "has no rows for this part", where=part.table.name, advice="add rows, or name another table"
        )
    told = str(corpus.left_out)
    bad = [str(row) for row in corpus.quarantine if row.table == part.table.path]
    raise DataError(
        f"none of its {len(part.row_N):,} rows can be used ({told})" + (f": {bad[0]}" if bad else ""),
        where=part.table.name,
        advice=f"{corpus.quarantine.cure_of(part.table.path)}; `sensorium check` lists what is wrong",
    )


def media_root(config: PretrainingConfig, table: Table) -> Path:
    """Return where relative media paths of `table` start."""
    return Path(config.resolve(config.data.folder)) if config.data.folder is not None else table.folder


def _hold_back(config: PretrainingConfig, train: Part) -> dict[str, Part]:
    fraction = config.data.validation_fraction
    is_held_N, said = divide(config, train.table, train.row_N, fraction, seed=0)
    if is_held_N.all() or not is_held_N.any():
        raise DataError(
            f"{len(train.row_N)} rows are too few to hold some back for validation",
            where=train.table.name,
            advice="add rows, or name a validation table in [data]",
        )
    notes = (f"validation: {said}",) if said else ()
    held = replace(train, row_N=train.row_N[is_held_N], notes=notes)
    return {"train": replace(train, row_N=train.row_N[~is_held_N]), "validation": held}


def _share(config: PretrainingConfig, train: Part, fraction: float) -> Part:
    is_left_N, said = divide(config, train.table, train.row_N, 1 - fraction, seed=1)
    row_N = train.row_N[~is_left_N] if not is_left_N.all() else train.row_N[:1]
    notes = (f"train_fraction leaves out: {said}",) if said else ()
    beside = {**train.beside, BEYOND_FRACTION: len(train.row_N) - len(row_N)}
    return replace(train, row_N=row_N, notes=notes, beside=beside)


def require_columns(config: PretrainingConfig, parts: Mapping[str, Part]) -> None:
    """Refuse a table that lacks a column that the config reads.  Raises DataError: no such column."""
    for part in parts.values():
        part.table.require({f"[{key}]": column for key, column in config.model.columns.items()})


def input_items(config: PretrainingConfig, part: Part, name: str, preparer: Preparer) -> Iterator[Item]:
    """Go through what the rows of `part` have for one input; cells that cannot be read are quarantined later."""
    spec, root = config.model.inputs[name].spec(preparer), media_root(config, part.table)
    for cell in part.cells(spec.column):
        with contextlib.suppress(DataError):
            yield from spec.items(cell, root)


def _first_fault(config: PretrainingConfig, part: Part, name: str, preparer: Preparer) -> DataError | None:
    """Return why the first of an input's cells that cannot be read cannot, with its place."""
    spec, root = config.model.inputs[name].spec(preparer), media_root(config, part.table)
    for i, cell in zip(part.row_N, part.cells(spec.column), strict=True):
        try:
            spec.items(cell, root)
        except DataError as error:
            return error.at(f"{part.table.where(int(i))} {name}")
    return None


def _answers(config: RunConfig, task: Task, train: Corpus, tokenizer: Tokenizer) -> list[str] | None:
    """Return the known answers, the commonest first, one of each that the tokenizer tells apart; None = open."""
    if config.model.target.column is None:
        return None
    counts = Counter(text for i in range(train.num_rows) if (text := train.target_text(i)) is not None)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    closed = config.model.target.closed
    if closed is None and not task.is_closed(1):
        return None
    answers = list(distinct(tokenizer, ranked).values())  # of several spellings the commonest
    return answers if closed or (closed is None and task.is_closed(len(answers))) else None

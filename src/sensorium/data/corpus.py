"""A corpus: rows as compact integer arrays, from which a batch is plain indexing.

Enters: a table and what its columns mean (`Corpus.build`), or samples in memory (`Corpus.from_samples`).
Leaves: `core.types.Batch` for any rows.  Rows that share a photo, clip or text share one unit, which is
prepared once and appears once in a batch.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.errors import DataError, SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Batch, Item, Items, Media, MediaBatch, Sample
from sensorium.data.corpus_input import CorpusInput
from sensorium.data.missing_media import cure_of_missing
from sensorium.data.omissions import QUARANTINED, UNREADABLE, Omissions, cut_items, without
from sensorium.data.origins import Origin, SampleRows, TableRows
from sensorium.data.preparing import OneByOne
from sensorium.data.quarantine import Quarantine
from sensorium.data.scan import ABSENT, InputSpec, Scan, TargetSpec, scan_rows
from sensorium.data.several import MediaLists, Several
from sensorium.data.stores import LazyStore, ListStore
from sensorium.data.table import Table
from sensorium.data.targets import TargetEncoder, TargetIds
from sensorium.data.tokenizers import Tokenizer
from sensorium.data.units import PreparedUnits, StoreChoice, prepare_units

__all__ = ["Corpus", "Failure", "InputSpec", "StoreChoice", "TargetSpec"]

logger = logging.getLogger(__name__)

_READ_ROWS = 16


class Failure(NamedTuple):
    """A row of the corpus that a batch could not use: its index, the input at fault, and why."""

    row: int
    input: str
    message: str


class Met(NamedTuple):
    """What was found only when rows were gathered for a batch."""

    failures: list[Failure]
    cut: dict[str, list[int]]
    """The units of each input that were cut."""


class Corpus:
    """Rows ready for batching; made by `build` or `from_samples`.

    Attributes:
        left_out: what was left out, cut or absent; what a batch finds out is counted as it is met.
        quarantine: the rows that could not be used, and why.
    """

    def __init__(
        self,
        row_number_N: npt.NDArray[np.int64],
        inputs: Mapping[str, CorpusInput],
        targets: TargetIds | None,
        origin: Origin | None,
        left_out: Omissions,
        quarantine: Quarantine,
    ) -> None:
        self._row_number_N = row_number_N
        self._inputs = dict(inputs)
        self._targets = targets
        self._origin = origin
        self._left_out = left_out
        self._failed: set[int] = set()
        self._cut: set[tuple[str, int]] = set()
        self.quarantine = quarantine

    @classmethod
    def build(
        cls,
        table: Table,
        row_numbers: Iterable[int],
        inputs: Mapping[str, InputSpec],
        target: TargetSpec | None,
        folder: Path | None = None,
        cache: Path | None = None,
        workers: int = 0,
        quarantine: Quarantine | None = None,
        *,
        store: StoreChoice = "auto",
        keep_rows_without_target: bool = False,
        beside: Mapping[str, int] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Corpus:
        """Read the rows, prepare their distinct items, and set aside what cannot be used.

        Args:
            folder: where relative media paths start; None = the table's own folder.
            cache: keep prepared media here for the next run.
            workers: processes that prepare media; 0 = this one.
            quarantine: collects unusable rows; by default one as strict as the table's.
            store: where prepared media live: "memory", mapped from the "cache", or "none" (prepared at
                batch time); "auto" takes the cache if there is one, memory if they fit, else none.
            keep_rows_without_target: keep rows whose target is empty (for prediction).
            beside: counts of the table's rows that were left out before, by what they count.
            progress: told the input's name, how many media are prepared, and of how many.

        Raises:
            DataError: a column is missing, or too many rows are bad.
            LockedError: another process is filling the cache and does not finish.
            DiskError: the cache cannot be written.
        """
        folder = folder if folder is not None else table.folder
        quarantine = quarantine if quarantine is not None else Quarantine(table.quarantine.max_fraction)
        scan = scan_rows(table, row_numbers, inputs, target, folder, quarantine, keep_rows_without_target)
        _name_cures(scan, table, folder, quarantine)
        prepared = functools.partial(prepare_units, cache=cache, workers=workers, choice=store)
        units = {
            name: prepared(scan.items[name], spec.preparer, progress=progress and functools.partial(progress, name))
            for name, spec in inputs.items()
        }
        good_K = _good_rows(scan, units, table, quarantine)
        parts = {n: _corpus_input(scan.unit_N[n][good_K], part, scan.lists.get(n)) for n, part in units.items()}
        left_out = _left_out(scan, len(good_K), parts, units, table, beside or {})
        targets = scan.targets.only(good_K) if scan.targets is not None else None
        origin = TableRows(table, None) if target is None else TableRows(table, target.column, target.form)
        logger.info("%s: %s rows%s", table.name, f"{len(good_K):,}", f" ({left_out})" if left_out else "")
        return cls(scan.row_number_N[good_K], parts, targets, origin, left_out, quarantine)

    @classmethod
    def from_samples(
        cls,
        samples: Sequence[Sample],
        inputs: Mapping[str, InputSpec | Preparer],
        tokenizer: Tokenizer | None = None,
    ) -> Corpus:
        """Prepare samples in memory, for prediction and scoring.

        Batches have targets where a tokenizer is given and every sample has a target.

        Raises:
            MediaError, DataError: an item cannot be prepared; names the sample and the input.
            DataError: some samples have a target and some have none.
        """
        corpus_inputs = {
            name: _input_of(samples, name, spec if isinstance(spec, InputSpec) else InputSpec(name, spec))
            for name, spec in inputs.items()
        }
        targets = _targets_of(samples, tokenizer) if tokenizer is not None else None
        cut = {cut_items(name): len(part.cut) for name, part in corpus_inputs.items() if part.cut}
        left_out = Omissions(len(samples), cut)
        return cls(np.arange(len(samples)), corpus_inputs, targets, SampleRows(samples), left_out, Quarantine())

    @property
    def num_rows(self) -> int:
        """Count the rows."""
        return len(self._row_number_N)

    @property
    def left_out(self) -> Omissions:
        """Return what was left out, cut or absent up to now."""
        left_out = self._left_out.plus(QUARANTINED, len(self._failed)) if self._failed else self._left_out
        for name, _ in self._cut:
            left_out = left_out.plus(cut_items(name), 1)
        return left_out

    @property
    def counts(self) -> dict[str, int]:
        """Return the counts of `left_out`, zeros included."""
        return dict(self.left_out.counts)

    @property
    def inputs(self) -> Mapping[str, CorpusInput]:
        """Return the inputs by name."""
        return self._inputs

    @property
    def has_targets(self) -> bool:
        """Say whether rows have target texts."""
        return self._targets is not None

    @property
    def is_prepared(self) -> bool:
        """Say whether batches are mere indexing: nothing is left to be decoded at batch time."""
        return not any(isinstance(part.store, LazyStore) for part in self._inputs.values())

    def cut_in(self, i: int) -> tuple[str, ...]:
        """Name the inputs of row `i` that were cut, as far as they are prepared."""
        return tuple(name for name, part in self._inputs.items() if part.is_cut(i))

    def is_media(self, name: str) -> bool:
        """Say whether an input's items are media, not text."""
        items = self._inputs[name].items
        return len(items) > 0 and isinstance(items[0], Media)

    def batch(self, row_N: npt.NDArray[np.int64]) -> Batch:
        """Gather rows; those whose items fail only now are quarantined and left out.

        Raises:
            DataError: too many rows are bad.
        """
        batch, met = self.load(row_N)
        self.note(met)
        return batch

    def read_through(self) -> None:
        """Meet all that only batches find out, if any does.  Raises DataError: too many rows are bad."""
        for start in range(0, 0 if self.is_prepared else self.num_rows, _READ_ROWS):
            self.batch(np.arange(start, min(start + _READ_ROWS, self.num_rows)))

    def load(self, row_N: npt.NDArray[np.int64]) -> tuple[Batch, Met]:
        """Gather rows, returning beside the batch what had to be left out or cut, which `note` is to be told."""
        row_N = np.asarray(row_N, np.int64)
        inputs: dict[str, MediaBatch] = {}
        failures: list[Failure] = []
        cut: dict[str, list[int]] = {}
        is_good_N = np.ones(len(row_N), bool)
        for name, corpus_input in self._inputs.items():
            inputs[name], failed, cut[name] = corpus_input.fetch(row_N)
            failures += [Failure(int(row_N[b]), name, message) for b, message in failed.items()]
            is_good_N[list(failed)] = False
        if failures:
            keep_B = torch.from_numpy(np.flatnonzero(is_good_N))
            inputs = {n: dataclasses.replace(m, row_B=m.row_B[keep_B]) for n, m in inputs.items()}
            row_N = row_N[is_good_N]
        token_BT, mask_BT = self._targets.padded(row_N) if self._targets else (None, None)
        return Batch(torch.from_numpy(self._row_number_N[row_N]), inputs, token_BT, mask_BT), Met(failures, cut)

    def note(self, met: Met) -> None:
        """Count what a batch met, and quarantine its failures.  Raises DataError: too many are bad."""
        self._cut.update((name, unit) for name, units in met.cut.items() for unit in units)
        self.set_aside(met.failures)

    def set_aside(self, failures: Iterable[Failure]) -> None:
        """Quarantine rows that failed at batch time.  Raises DataError: too many are bad."""
        failures = list(failures)
        for failure in failures:
            table = self._known_origin().table
            self.quarantine.add(self.where(failure.row), failure.input, failure.message, table)
            self._failed.add(failure.row)
        if failures:
            self.quarantine.check()

    def without(self, failures: Sequence[Failure]) -> Corpus:
        """Return the corpus without some rows, which are quarantined.  Raises DataError: too many are bad."""
        if not failures:
            return self
        self.set_aside(failures)
        kept_K = np.setdiff1d(np.arange(self.num_rows), [failure.row for failure in failures])
        inputs = {n: dataclasses.replace(part, unit_N=part.unit_N[kept_K]) for n, part in self._inputs.items()}
        targets = self._targets.only(kept_K) if self._targets is not None else None
        left_out = self._left_out.plus(QUARANTINED, self.num_rows - len(kept_K))
        return Corpus(self._row_number_N[kept_K], inputs, targets, self._origin, left_out, self.quarantine)

    def with_absent(self, preparers: Mapping[str, Preparer]) -> Corpus:
        """Return the same rows with further inputs, which none of them has."""
        nobody_N = np.full(self.num_rows, ABSENT, np.int32)
        absent = {name: CorpusInput(nobody_N, [], ListStore([], preparer)) for name, preparer in preparers.items()}
        inputs = {**self._inputs, **absent}
        return Corpus(self._row_number_N, inputs, self._targets, self._origin, self.left_out, self.quarantine)

    def sample(self, i: int) -> Sample:
        """Return row `i` with its items unprepared."""
        inputs = {name: _item_of(part, int(part.unit_N[i])) for name, part in self._inputs.items()}
        return Sample(self.where(i), inputs, self.target_text(i) or None)

    def row_number(self, i: int) -> int:
        """Return the number, in its table, of row `i`."""
        return int(self._row_number_N[i])

    def where(self, i: int) -> str:
        """Return the place of row `i`, such as 'train.csv:812'."""
        return self._known_origin().where(self.row_number(i))

    def place(self, row_number: int) -> str:
        """Return the place of a row given by its number in the table, as batches name rows."""
        return self._known_origin().where(row_number)

    def targets(self) -> Iterator[list[int]]:
        """Iterate over all rows' target ids, BOS to EOS.  Raises DataError: there is no target."""
        if self._targets is None:
            raise DataError("these rows have no target")
        return iter(self._targets)

    def target_text(self, i: int) -> str:
        """Return the target text of row `i` in the form in which it is learned; empty where it has none."""
        return self._known_origin().target_text(self.row_number(i))

    def group_N(self, input_name: str) -> npt.NDArray[np.int32]:
        """Return (N,) which unit of an input each row has, -1 = absent: rows of equal number share it."""
        return self._inputs[input_name].unit_N

    def sharing(self) -> dict[str, float]:
        """Return, by input, how many rows share one item on average."""
        return {
            name: float((part.unit_N != ABSENT).sum() / max(1, len(np.unique(part.unit_N[part.unit_N != ABSENT]))))
            for name, part in self._inputs.items()
        }

    def _known_origin(self) -> Origin:
        if self._origin is None:
            raise DataError("a corpus in a loader process does not know its table")
        return self._origin

    def __getstate__(self) -> dict[str, Any]:
        # Loader processes need arrays alone; a mapped table cannot travel.
        return self.__dict__ | {"_origin": None, "quarantine": Quarantine()}


def _good_rows(
    scan: Scan, units: Mapping[str, PreparedUnits], table: Table, quarantine: Quarantine
) -> npt.NDArray[np.int64]:
    """Return the rows all of whose items could be prepared; the others go to quarantine."""
    is_good_N = np.ones(len(scan.row_number_N), bool)
    for name, part in units.items():
        bad_unit_N = _bad_units(part, scan.unit_N[name], scan.lists.get(name))
        is_bad_N = bad_unit_N != ABSENT
        for row in np.flatnonzero(is_bad_N).tolist():
            reason = part.failures[int(bad_unit_N[row])]
            quarantine.add(table.where(int(scan.row_number_N[row])), name, reason, table.path)
        is_good_N &= ~is_bad_N
    if quarantine is not table.quarantine:  # which saw these rows already
        quarantine.saw(scan.num_seen, table.path)
    quarantine.check()
    return np.flatnonzero(is_good_N)


def _bad_units(
    part: PreparedUnits, unit_N: npt.NDArray[np.int32], lists: MediaLists | None
) -> npt.NDArray[np.int64]:
    """Return each row's first unit that could not be prepared, (N,); -1 where all could."""
    is_bad_U = part.number_U < 0
    if lists is None:
        bad_S = np.where(is_bad_U, np.arange(len(is_bad_U)), ABSENT)
    else:
        bad = ([unit for unit in lists[s].tolist() if is_bad_U[unit]] for s in range(len(lists)))
        bad_S = np.array([units[0] if units else ABSENT for units in bad], np.int64)
    return np.append(bad_S, ABSENT)[unit_N]  # [-1] is an absent item, which is no fault


def _corpus_input(unit_N: npt.NDArray[np.int32], part: PreparedUnits, lists: MediaLists | None) -> CorpusInput:
    cut = frozenset(int(part.number_U[unit]) for unit in part.cut or ())
    if lists is None:
        return CorpusInput(part.renumber(unit_N), part.items, part.store, cut=cut)
    return CorpusInput(unit_N, part.items, part.store, lists.renumber(part.number_U), cut)


def _item_of(part: CorpusInput, unit: int) -> Item | Items:
    """Return the item, or the items, of a unit number."""
    if unit == ABSENT:
        return None
    if part.lists is None:
        return part.items[unit]
    items = (part.items[member] for member in part.lists[unit].tolist())
    return tuple(item for item in items if item is not None)


def _input_of(samples: Sequence[Sample], name: str, spec: InputSpec) -> CorpusInput:
    unit_of_item: dict[Item, int] = {}
    number_of_list: dict[tuple[int, ...], int] = {}
    values: list[torch.Tensor] = []
    cut = set()
    numbers = []
    prepare = OneByOne(spec.preparer)
    for sample in samples:
        items = _items(sample, name, spec.several)
        for item in items:
            if item not in unit_of_item:
                try:
                    prepared = prepare(item)
                except SensoriumError as error:
                    raise error.at(f"{sample.id} {name}".strip()) from None
                assert prepared.value is not None
                values.append(prepared.value)
                unit_of_item[item] = len(unit_of_item)
                if prepared.is_cut:
                    cut.add(unit_of_item[item])
        units = tuple(unit_of_item[item] for item in items)
        if spec.several is None:
            numbers.append(units[0] if units else ABSENT)
        else:
            numbers.append(number_of_list.setdefault(units, len(number_of_list)) if units else ABSENT)
    lists = None if spec.several is None else MediaLists(list(number_of_list))
    store = ListStore(values, spec.preparer)
    return CorpusInput(np.array(numbers, np.int32), list(unit_of_item), store, lists, frozenset(cut))


def _items(sample: Sample, name: str, several: Several | None) -> Items:
    """Return what a sample has of an input.  Raises DataError: more than a row may have."""
    found = sample.inputs.get(name)
    items = found if isinstance(found, tuple) else () if found is None else (found,)
    most = 1 if several is None else several.most
    if len(items) > most:
        told = "set 'several' in its section" if several is None else "set its 'max_media' higher, or give fewer"
        raise DataError(f"{len(items)} items, where a row has {most} at most", where=name, advice=told)
    return items


def _targets_of(samples: Sequence[Sample], tokenizer: Tokenizer) -> TargetIds | None:
    num_known = sum(sample.target is not None for sample in samples)
    if num_known == 0:
        return None
    if num_known < len(samples):
        raise DataError(
            f"{num_known} of {len(samples)} samples have a target", advice="give all of them one, or none"
        )
    encoder = TargetEncoder(tokenizer, None)
    return encoder.finish(np.array([encoder.add(sample.target or "") for sample in samples], np.int64))


def _name_cures(scan: Scan, table: Table, folder: Path, quarantine: Quarantine) -> None:
    """Say what mends a column of which no medium is there."""
    for name, items in scan.items.items():
        if cure := cure_of_missing(name, items, folder, table.folder):
            quarantine.cure(table.path, cure)


def _left_out(
    scan: Scan,
    num_kept: int,
    parts: Mapping[str, CorpusInput],
    units: Mapping[str, PreparedUnits],
    table: Table,
    beside: Mapping[str, int],
) -> Omissions:
    """Count what was left out, absent or cut; each distinct item that was cut once."""
    counts = {**scan.left_out.counts, QUARANTINED: scan.num_refused + len(scan.row_number_N) - num_kept}
    counts |= {without(name): int((part.unit_N == ABSENT).sum()) for name, part in parts.items()}
    counts |= {cut_items(name): len(part.cut) for name, part in units.items() if part.cut is not None}
    left_out = Omissions(scan.left_out.num_rows, counts)
    for what, count in beside.items():
        left_out = left_out.plus(what, count)
    if scan.num_seen != len(table):  # of a share of the rows nobody knows which were unreadable
        return left_out
    return left_out.plus(UNREADABLE, table.num_unreadable, more_rows=table.num_unreadable)

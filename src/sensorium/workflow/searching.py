"""Search a table by example: the rows whose photo, sound or text means what the query says.

Enters: a predictor whose model aligns inputs, a table, and a query of one input or more.  Leaves: `Found`, best
first.  A query of several inputs is the normalised mean of their unit vectors; an item that several rows share is
found once, at its first row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import DataError, ModelError, UsageError
from sensorium.core.names import require_known
from sensorium.data.corpus import Corpus, InputSpec
from sensorium.data.omissions import Omissions, cut_items
from sensorium.data.table import Table
from sensorium.evaluation.retrieval import embed_units
from sensorium.tasks.meanings import list_meanings
from sensorium.training.console import Stages
from sensorium.workflow.predictor import Predictor

_ITEMS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Found:
    """One thing found: its cell, its cosine with the query (-1..1), and the first row that has it."""

    cell: str
    cosine: float
    where: str
    row: int


class Findings(list[Found]):
    """What was found, best first.

    Attributes:
        left_out: what was left out of the searched rows, cut or absent; items of the query that were cut, too.
    """

    def __init__(self, found: Iterable[Found], left_out: Omissions) -> None:
        super().__init__(found)
        self.left_out = left_out


class Gallery:
    """The distinct items of one column of a table, as unit vectors.

    Args:
        predictor: whose model aligns the input.
        table: the rows that are searched.
        find: the input that is found; the table has its column.

    Attributes:
        left_out: what was left out of the rows, cut or absent.

    Raises:
        DataError: the table lacks the column, or no row has such an item.
        ModelError: the model does not align this input.
    """

    def __init__(self, predictor: Predictor, table: Table, find: str) -> None:
        column = predictor.columns[find]
        table.require({f"'{find}'": column})
        model = predictor.model
        spec = InputSpec(column, model.preparers[find], model.config.inputs[find].lists)
        root = predictor.media_root(table)
        with Stages("preparing", "media") as told:
            corpus = Corpus.build(table, range(len(table)), {find: spec}, None, root, store="memory", progress=told)
        unit_N = corpus.group_N(find)
        unit_K, first_K = np.unique(unit_N, return_index=True)
        unit_K, first_K = unit_K[unit_K >= 0], first_K[unit_K >= 0]
        if not len(unit_K):
            raise DataError(f"no row has a '{find}'", where=table.name)
        self._table, self._column, self.left_out = table, column, corpus.left_out
        self._row_K = [corpus.row_number(int(i)) for i in first_K]
        self._vector_KD = embed_units(predictor.model, corpus, find, unit_K.astype(np.int64), _ITEMS_AT_ONCE)

    def __len__(self) -> int:
        return len(self._row_K)

    def search(self, query_D: Tensor, top: int) -> list[Found]:
        """Return the `top` items whose vectors lie nearest to a unit vector, best first; ties in table order."""
        cosine_K = self._vector_KD @ query_D
        best = torch.argsort(cosine_K, descending=True, stable=True)[:top].tolist()
        return [self._found(k, float(cosine_K[k])) for k in best]

    def _found(self, k: int, cosine: float) -> Found:
        row = self._row_K[k]
        return Found(self._table.row(row)[self._column], cosine, self._table.where(row), row)


def retrieve(
    predictor: Predictor, query: Mapping[str, Any], among: Table | str | Path, *, find: str | None, top: int
) -> Findings:
    """Return what means the same as `query` among the rows of a table, best first.

    Args:
        query: inputs by name, as for `predict`.
        find: the input to be found; None = the one aligned input that the query does not give.

    Raises:
        UsageError: the query does not say what is to be found; `top` is below 1.
        ModelError: the model does not align these inputs.
    """
    if top < 1:
        raise UsageError(f"top = {top} shows nothing", advice="1 or more")
    table = among if isinstance(among, Table) else Table.open(str(among), Path())
    table = table.read_as(list_meanings(predictor.model.config, has_target=False))
    gallery = Gallery(predictor, table, found_input(predictor, query, find))
    left_out = gallery.left_out
    for name in predictor.cut_in(query):
        left_out = left_out.plus(cut_items(name), 1)
    return Findings(gallery.search(embed_query(predictor, query), top), left_out)


def found_input(predictor: Predictor, query: Mapping[str, Any], find: str | None) -> str:
    """Say which input is searched for.

    Raises:
        UsageError: it is not clear which.
        ModelError: the model aligns nothing.
    """
    aligned = predictor.aligned_inputs()
    if not aligned:
        advice = 'train one with task = "retrieve", or with [fusion.alignment]'
        raise ModelError("the inputs of this model are not aligned with each other", advice=advice)
    require_known(query, list(predictor.columns), "input")
    if find is not None:
        require_known([find], aligned, "aligned input")
        return find
    others = [name for name in aligned if name not in query]
    if len(others) != 1:
        advice = f"say which with --find, one of {', '.join(others or aligned)}"
        raise UsageError("it is not clear which input is to be found", advice=advice)
    return others[0]


def embed_query(predictor: Predictor, query: Mapping[str, Any]) -> Tensor:
    """Return the unit vector of a query, float32 (D,): the direction between its inputs."""
    batch = predictor.batch([query])
    given = [name for name in query if int(batch.inputs[name].row_B[0]) >= 0]  # an empty cell says nothing
    with torch.inference_mode():
        vector_D = torch.stack([predictor.model.embed(name, batch.inputs[name])[0].cpu() for name in given]).sum(0)
    return functional.normalize(vector_D, dim=0)

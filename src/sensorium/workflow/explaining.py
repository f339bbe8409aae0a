"""Explanations as whole jobs: of one row, of a table's rows on average, and as files in a folder.

Enters: a `Predictor` and a row, or a corpus.  Leaves: `RowExplanation`, mean `Contributions`; with a folder:

explanation.json          everything but the maps' numbers
inputs.csv .png .svg      each input's Shapley value, and the value with every subset of inputs
tokens.csv                each token: log p, every scorer's share, every input's contribution
INPUT.METHOD.csv .png .svg        a map: one line a place, one column a token
INPUT.METHOD.curves.csv           its deletion and insertion curves, beside random orders
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.commit import Kind, committed_folder
from sensorium.core.errors import DataError, UsageError
from sensorium.core.protocols import Preparer
from sensorium.core.registry import load
from sensorium.core.types import Media
from sensorium.core.vocabulary import BOS
from sensorium.data.corpus import Corpus
from sensorium.data.omissions import rows_asked
from sensorium.data.table import Table
from sensorium.evaluation.answered import Advance
from sensorium.explain.maps import ENTRY_POINTS, METHODS
from sensorium.explain.pictures import draw_contributions, draw_map
from sensorium.explain.row import RowExplanation, explain_row
from sensorium.explain.scorers import answer_ids
from sensorium.explain.shapley import Contributions, contributions, mean_contributions, rows_at_once
from sensorium.explain.tables import curve_rows, input_rows, map_rows, token_rows, write_csv
from sensorium.explain.values import load_value
from sensorium.model.multimodal import MultimodalLM
from sensorium.tasks.task import Prediction
from sensorium.training.console import stage
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.run_folder import write_json


def explain_answer(
    predictor: Predictor,
    row: Mapping[str, Any],
    target: str | None = None,
    *,
    methods: Sequence[str] = tuple(METHODS),
    value: str = "log_p",
) -> RowExplanation:
    """Explain what the model answers to a row, or why it gives `target` the probability that it does.

    Raises:
        UsageError: an unknown input, or a row without any.
        ConfigError: an unknown method or value.
    """
    require_explainable(methods, value)
    predictor.require_writing()
    answer = Prediction(target or "", math.nan)
    if target is None:
        answer = predictor.answer_of_what_is_read(row, predictor.predict([row])[0])
    whole = predictor.with_model(predictor.model.thawed())
    ids = answer.token_ids or answer_ids(whole.model, answer.text)
    blind = typed_inputs(whole.model)
    batch = whole.batch([row])
    with stage(None, "mapping what the answer rests on", "steps") as advance:
        found = explain_row(
            whole.model,
            batch,
            answer.text,
            ids,
            methods=methods,
            value=value,
            blind=blind,
            advance=advance,
        )
    return replace(found, scorers=replace(found.scorers, cut=whole.cut_in(row)))


def require_explainable(methods: Sequence[str], value: str) -> None:
    """Refuse unknown names of maps and values before any work.  Raises ConfigError."""
    load_value(value)
    for method in methods:
        load(METHODS, ENTRY_POINTS, method)


def mean_over(
    model: MultimodalLM,
    corpus: Corpus,
    *,
    value: str = "log_p",
    max_rows: int | None = None,
    advance: Advance | None = None,
    seconds: float | None = None,
) -> Contributions:
    """Average what each input gives to the targets of a corpus, or of its first rows if that takes longer than
    `seconds`.

    Raises:
        UsageError: no row has a target; `max_rows` is below 1.
    """
    ends = math.inf if seconds is None else time.perf_counter() + seconds
    num_rows = rows_asked(max_rows, corpus.num_rows)
    step = rows_at_once(len(model.preparers))

    def rows() -> Iterator[Contributions]:
        for start in range(0, num_rows, step):
            batch = corpus.batch(np.arange(start, min(start + step, num_rows)))
            if batch.token_BT is None or batch.mask_BT is None:
                raise UsageError("these rows have no targets to explain")
            ids = [
                [i for i, real in zip(tokens, mask, strict=True) if real and i != BOS]
                for tokens, mask in zip(batch.token_BT.tolist(), batch.mask_BT.tolist(), strict=True)
            ]
            yield from contributions(model, batch, ids, value)
            if advance is not None:
                advance(min(start + step, num_rows), num_rows)
            if time.perf_counter() >= ends:
                return

    found = mean_contributions(rows())
    return replace(found, left_out=corpus.left_out.beyond(num_rows, corpus.num_rows))


def typed_inputs(model: MultimodalLM) -> list[str]:
    """Name the inputs whose cells hold text, rather than name media."""
    return [name for name, preparer in model.preparers.items() if not _reads_media(preparer)]


def _reads_media(preparer: Preparer) -> bool:
    return isinstance(preparer.item("probe", Path()), Media)


def table_row(predictor: Predictor, spec: str) -> tuple[dict[str, Any], str]:
    """Read `TABLE:N`, the row that other commands call by that line; returns its inputs and its place.

    Raises:
        UsageError: not of that form, or the table has no such line.
        DataError: the table lacks a column that an input is read from.
    """
    name, _, line = spec.rpartition(":")
    if not name or not line.isdigit():
        raise UsageError("expected TABLE:LINE", where=f"--row {spec}")
    table = predictor.read_from(Table.open(name, Path()))
    if not len(table):
        raise DataError("has no rows", where=table.name)
    found = next((i for i in range(len(table)) if table.where(i).endswith(f":{line}")), None)
    if found is None:
        raise UsageError(f"has no row at line {line}", where=table.name, advice=f"the first is {table.where(0)}")
    return predictor.cells(table, found), table.where(found)


EXPLANATION = Kind("explanation", mark="inputs.csv")


def write_explanation(explanation: RowExplanation, folder: Path) -> list[Path]:
    """Write an explanation's numbers and pictures into `folder`, in place of an older one; returns the files.

    Raises:
        UsageError: the folder holds something else than an explanation.
        MissingExtraError: matplotlib is not installed.
        DiskError: no room, or no permission.
    """
    with committed_folder(folder, EXPLANATION) as draft:
        write_json(draft / "explanation.json", explanation.facts())
        files = [draft / "explanation.json", *_write_inputs(explanation.inputs, draft, explanation.blind)]
        files.append(write_csv(draft / "tokens.csv", token_rows(explanation.scorers, explanation.inputs)))
        for found in explanation.maps:
            stem = f"{found.name}.{found.method}"
            files.append(write_csv(draft / f"{stem}.csv", map_rows(found)))
            files.append(write_csv(draft / f"{stem}.curves.csv", curve_rows(found)))
            files += draw_map(found, draft / stem)
    return [folder / path.name for path in files]


def write_contributions(given: Contributions, folder: Path, blind: float) -> list[Path]:
    """Write Shapley values and all patterns' values into `folder`; returns the files.  Raises as above."""
    with committed_folder(folder, EXPLANATION) as draft:
        files = _write_inputs(given, draft, blind)
    return [folder / path.name for path in files]


def _write_inputs(given: Contributions, folder: Path, blind: float) -> list[Path]:
    table = write_csv(folder / "inputs.csv", input_rows(given, blind))
    return [table, *draw_contributions(given, blind, folder / "inputs")]

"""The numbers behind the pictures, as CSV.

Enters: contributions, maps, curves.  Leaves: rows of cells, header first; numbers with full precision.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sensorium.core.commit import write_atomic
from sensorium.explain.maps import PlaceMap
from sensorium.explain.scorers import Explanation
from sensorium.explain.shapley import Contributions

Cells = Sequence[Any]
AXES = {1: ("place",), 2: ("y", "x")}


def write_csv(path: Path, rows: Iterable[Cells]) -> Path:
    """Write rows whole or not at all; returns the path.  Raises DiskError."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8"))
    return path


def input_rows(given: Contributions, blind: float) -> Iterator[Cells]:
    """List Shapley values by input, then the value of every set of inputs, then of the typed ones alone."""
    yield ("what", "inputs", given.value)
    for name, phi in given.shapley.items():
        yield ("shapley", name, phi)
    for shown, value in given.pattern_values.items():
        yield ("pattern", "+".join(name for name in given.names if name in shown), value)
    yield ("blind", "", blind)


def token_rows(scorers: Explanation, given: Contributions) -> Iterator[Cells]:
    """List tokens: log p, then every scorer's log p, weight and share, then every input's contribution in nats."""
    names = [part.scorer for part in scorers.tokens[0].scorers] if scorers.tokens else []
    columns = [f"{name} {what}" for name in names for what in ("log_p", "weight", "share")]
    yield ("token", "log_p", *columns, *(f"{name} shapley" for name in given.names))
    for token, (_, by_input) in zip(scorers.tokens, given.tokens, strict=True):
        cells = [cell for part in token.scorers for cell in (part.log_p, part.weight, part.share)]
        yield (token.token, token.log_p, *cells, *by_input.values())


def map_rows(found: PlaceMap) -> Iterator[Cells]:
    """List places: where, what stands there (of texts), the whole text's number, then each token's."""
    shape = found.map_T.shape[1:]
    axes = AXES.get(len(shape)) or tuple(f"axis{i}" for i in range(len(shape)))
    yield (*axes, *(["label"] if found.labels else []), "whole", *found.tokens)
    columns = [found.whole.flatten().tolist(), *found.map_T.flatten(1).tolist()]
    for number, place in enumerate(itertools.product(*map(range, shape))):
        label = [found.labels[number]] if found.labels else []
        yield (*place, *label, *(column[number] for column in columns))


def curve_rows(found: PlaceMap) -> Iterator[Cells]:
    """List the curves of the whole text's map, then of each token's, and their areas."""
    curves = ("deletion", "insertion", "random_deletion", "random_insertion")
    yield ("map", "share", *curves)
    for name, check in [("whole", found.check), *zip(found.tokens, found.token_checks, strict=True)]:
        for s, share in enumerate(check.share_S):
            yield (name, share, *(getattr(check, f"{curve}_S")[s] for curve in curves))
        yield (f"{name} area", "", *check.facts().values())

"""States are pytrees of tensors, rows first; `select` reorders, repeats or drops their rows.

Enters: any nesting of dataclasses, tuples, lists, dicts, tensors and plain values.
Leaves: the same nesting with every tensor indexed by rows; plain values are passed through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return `tree` with `change` applied to every tensor in it."""
    if isinstance(tree, Tensor):
        return change(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = {f.name: map_tensors(getattr(tree, f.name), change) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **fields)
    if isinstance(tree, tuple):
        parts = [map_tensors(part, change) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [map_tensors(part, change) for part in tree]
    if isinstance(tree, dict):
        return {key: map_tensors(part, change) for key, part in tree.items()}
    return tree


def without_rows(call: Callable[..., Any], *trees: Any) -> Any:
    """Call what cannot take a batch of no rows with one row of ones instead, and keep no row of what it returns."""
    given = [map_tensors(tree, lambda tensor: tensor.new_ones(1, *tensor.shape[1:])) for tree in trees]
    return map_tensors(call(*given), lambda tensor: tensor[:0])


def select(state: Any, row_N: Tensor) -> Any:
    """Return a copy of `state` whose row i is the old row `row_N[i]`; row_N is (N,) int64."""
    return map_tensors(state, lambda tensor: tensor.index_select(0, row_N))

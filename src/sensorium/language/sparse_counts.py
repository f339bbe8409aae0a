"""A sparse matrix of counts, and the three products that linear models of text need.

Enters: entries by row.  Leaves: sums by class, products with dense matrices.

Letters beside the shared ones: N rows, F columns (features), E entries, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SparseCounts:
    """A sparse matrix (N, F), row by row: the entries of row n are offset_N1[n] to offset_N1[n + 1]."""

    column_E: Ints
    value_E: Floats
    offset_N1: Ints
    num_columns: int

    @property
    def num_rows(self) -> int:
        """Count the rows."""
        return len(self.offset_N1) - 1

    @property
    def row_E(self) -> Ints:
        """Return the row of each entry."""
        return np.repeat(np.arange(self.num_rows), np.diff(self.offset_N1))

    def binary(self) -> SparseCounts:
        """Return whether, in place of how often."""
        return SparseCounts(self.column_E, np.ones_like(self.value_E), self.offset_N1, self.num_columns)

    def rows(self, row_M: Ints) -> SparseCounts:
        """Return some rows, in the order asked for."""
        num_M = np.diff(self.offset_N1)[row_M]
        offset_M1 = np.concatenate([[0], np.cumsum(num_M)])
        entry_E = np.arange(offset_M1[-1]) + np.repeat(self.offset_N1[row_M] - offset_M1[:-1], num_M)
        return SparseCounts(self.column_E[entry_E], self.value_E[entry_E], offset_M1, self.num_columns)

    def sum_by_class(self, class_N: Ints, num_classes: int) -> Floats:
        """Add up the rows of each class: (F, C)."""
        cell_E = self.column_E * num_classes + np.repeat(class_N, np.diff(self.offset_N1))
        total_X = np.bincount(cell_E, weights=self.value_E, minlength=self.num_columns * num_classes)
        return total_X.reshape(self.num_columns, num_classes).astype(np.float64, copy=False)

    def times(self, weight_FC: Floats) -> Floats:
        """Multiply by a dense matrix: (N, C)."""
        column_E, value_E = torch.from_numpy(self.column_E), torch.from_numpy(self.value_E)
        offset_N = torch.from_numpy(self.offset_N1[:-1])
        product = bag_sum(torch.from_numpy(weight_FC), column_E, offset_N, value_E)
        result: Floats = product.numpy()
        return result


def bag_sum(weight_FC: Tensor, column_E: Tensor, offset_B: Tensor, value_E: Tensor | None = None) -> Tensor:
    """Add up rows of `weight_FC` by bag, (B, C): a sparse matrix times a dense one."""
    if column_E.numel() == 0:
        return weight_FC.new_zeros(len(offset_B), weight_FC.shape[1])
    return functional.embedding_bag(column_E, weight_FC, offset_B, mode="sum", per_sample_weights=value_E)

"""The nearest of many vectors: exactly where they are few, by a graph where they are many.

Enters: vectors and queries.  Leaves: for each query the places of its k nearest vectors and its squared distances
to them.  Exact search multiplies queries with all vectors, a block at a time; the graph is a hierarchical navigable
small world (Malkov and Yashunin 2018), by the package usearch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.core.errors import MissingExtraError

_BLOCK = 1 << 22  # numbers in a block of distances


def nearest(key_NW: Tensor, query_QW: Tensor, num_nearest: int) -> tuple[Tensor, Tensor]:
    """Return squared distances (Q, k) in ascending order and places (Q, k); k is at most N.

    Keys may be of half precision; distances are worked out in float32.
    """
    best_QK, place_QK = query_QW.new_empty(len(query_QW), 0), query_QW.new_empty(len(query_QW), 0).long()
    query_QW = query_QW.float()
    size = max(num_nearest, _BLOCK // max(1, len(query_QW)))
    for first in range(0, len(key_NW), size):
        block_MW = key_NW[first : first + size].float()
        # |q|^2 is the same for all keys, and added at the end.
        distance_QM = torch.addmm(block_MW.square().sum(1), query_QW, block_MW.T, alpha=-2)
        found_QK, at_QK = distance_QM.topk(min(num_nearest, len(block_MW)), largest=False)
        best_QK, place_QK = torch.cat([best_QK, found_QK], 1), torch.cat([place_QK, at_QK + first], 1)
        best_QK, chosen_QK = best_QK.topk(min(num_nearest, best_QK.shape[1]), largest=False)
        place_QK = place_QK.gather(1, chosen_QK)
    return (best_QK + query_QW.square().sum(1, keepdim=True)).clamp_min(0), place_QK


def build_graph(key_NW: Tensor) -> Tensor:
    """Return a graph over the vectors as bytes (uint8), which hold the vectors, too, in half precision.

    One thread builds it, so that the same vectors give the same graph.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    graph = _usearch().Index(ndim=key_NW.shape[1], metric="l2sq", dtype="f16")
    graph.add(np.arange(len(key_NW)), key_NW.float().cpu().numpy(), threads=1)
    return torch.frombuffer(bytearray(graph.save()), dtype=torch.uint8)


def open_graph(graph: Tensor) -> Any:
    """Return what `nearest_in_graph` searches.  Raises MissingExtraError."""
    return _usearch().Index.restore(graph.cpu().numpy().tobytes())


def nearest_in_graph(graph: Any, query_QW: Tensor, num_nearest: int) -> tuple[Tensor, Tensor]:
    """Return squared distances (Q, k) and places (Q, k) of vectors that are, most of them, the nearest."""
    found = graph.search(query_QW.float().cpu().numpy(), num_nearest, threads=torch.get_num_threads())
    shape = len(query_QW), -1  # one query is answered without its dimension
    distance_QK, place_QK = (np.asarray(x).reshape(shape) for x in (found.distances, found.keys))
    return torch.from_numpy(distance_QK).to(query_QW), torch.from_numpy(place_QK.astype(np.int64)).to(
        query_QW.device
    )


def _usearch() -> Any:
    try:
        from usearch import index
    except ImportError:
        raise MissingExtraError(
            "the package 'usearch' is not installed", advice="pip install 'sensorium[search]'"
        ) from None
    return index

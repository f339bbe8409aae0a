"""Random generators: seeded in one place, captured and restored whole.

Enters: a seed, or a captured state.  Leaves: the global generators of Python, NumPy and torch, set.
Nothing else in training seeds anything; workflow code calls `seed_everything` before it builds the
model, so that initial weights and dropout follow from the run's seed.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """The generators' states: arrays as tensors, the few scalars beside them as JSON values."""

    tensors: dict[str, Tensor]
    scalars: dict[str, Any]


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's (CPU and every GPU) global generators; 0 <= seed < 2^32."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> RandomState:
    """Capture the global generators."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    scalars = {
        "python": {"version": version, "gauss": gauss},
        "numpy": {
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
    }
    return RandomState(tensors, scalars)


def restore_random_state(state: RandomState) -> None:
    """Set the global generators to a captured state.

    A GPU that was not there when the state was captured keeps its own.
    """
    python, numpy_scalars = state.scalars["python"], state.scalars["numpy"]
    random.setstate((python["version"], tuple(state.tensors["python"].tolist()), python["gauss"]))
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {
                "key": state.tensors["numpy"].numpy().astype(np.uint32),
                "pos": numpy_scalars["pos"],
            },
            "has_gauss": numpy_scalars["has_gauss"],
            "gauss": numpy_scalars["gauss"],
        }
    )
    torch.set_rng_state(state.tensors["torch"])
    for i in range(torch.cuda.device_count()):
        if (cuda_state := state.tensors.get(f"cuda.{i}")) is not None:
            torch.cuda.set_rng_state(cuda_state, i)


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leave the global generators as they were: what happens inside never shifts training's draws."""
    before = random_state()
    try:
        yield
    finally:
        restore_random_state(before)

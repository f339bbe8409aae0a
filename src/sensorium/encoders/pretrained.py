"""Published weights into a trunk: every tensor must find its place, or nothing is loaded.

Enters: a .safetensors file, or a .pt/.pth file (read with `weights_only=True`: no code in it is run), with
torchvision's names.  Leaves: the trunk, changed in place.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sensorium.core.errors import ModelError

WRAPPERS = ("state_dict", "model")


def load_trunk(trunk: nn.Module, path: Path, *, heads: Sequence[str] = ()) -> None:
    """Load every tensor of `trunk` from `path`.

    Args:
        trunk: the network to fill.
        path: the weights.
        heads: prefixes of tensors that the file may hold and the trunk does not need (a classifier).

    Raises:
        ModelError: not readable, or a tensor is missing, unknown or of another shape.
    """
    assign(trunk, read_weights(path), where=str(path), heads=heads)


def assign(trunk: nn.Module, found: Mapping[str, Tensor], *, where: str, heads: Sequence[str] = ()) -> None:
    """Load `found` into `trunk`; see `load_trunk`.  Raises ModelError, and then the trunk is unchanged."""
    wanted = trunk.state_dict()
    extra = [name for name in found if name not in wanted and not name.startswith(tuple(heads))]
    # torch before 0.4.1 did not count batches; the count takes no part in evaluation.
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    shapes = [
        f"{name} {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    faults = {"missing": missing, "unknown": extra, "of another shape": shapes}
    if any(faults.values()):
        text = "; ".join(f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in faults.items() if names)
        raise ModelError(f"the weights do not fit: {text}", where=where, advice="they are another architecture's")
    trunk.load_state_dict({name: found[name] for name in wanted if name in found}, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name; a file that wraps them as 'state_dict' or 'model' is unwrapped.

    Raises:
        ModelError: no such file, damaged, or not tensors by name.
    """
    where = str(path)
    if not path.is_file():
        raise ModelError("no such file of weights", where=where, advice="download it, or leave 'weights' out")
    try:
        found = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
    ) as error:
        first_line = str(error).partition("\n")[0]
        raise ModelError(f"cannot be read as weights: {first_line}", where=where) from None
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ModelError("holds something other than tensors by name", where=where)
    return dict(found)

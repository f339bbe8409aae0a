"""How exactly a model's weights are kept: float32, bf16, or int8 where they are matrices of linear layers.

    bf16   every matrix of parameters is rounded to bfloat16 on disk, and computed with in float32
    int8   matrices of linear layers and embeddings are 8-bit integers on disk; those that are worthwhile are
           multiplied as such (`core.int8`); all other matrices (convolutions, recurrent layers) are kept as in bf16

Enters: a model and its tensors by name.  Leaves: tensors as they are written, or a model that has read them.
Vectors (gains, biases) stay float32, and so does every buffer: what was counted is never rounded.

In a file an integer matrix NAME has its scales beside it, NAME:scale, and stands output first whatever the layer's
own order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sensorium.core.config import Section, Source
from sensorium.core.errors import ModelError
from sensorium.core.int8 import Int8Matrix, dequantised, is_worthwhile, quantised

Precision = Literal["float32", "bf16", "int8"]
SCALE = ":scale"


class WeightsSection(Section):
    """`[weights]` of a model folder's config: how they are kept; left out where they are float32."""

    precision: Precision = "float32"


def read_precision(values: Mapping[str, Any], source: Source) -> Precision:
    """Return the precision that a model folder's config names.  Raises ConfigError."""
    return WeightsSection.parse(values.get("weights", {}), source, "weights").precision


def precision_section(precision: Precision) -> dict[str, Any]:
    """Return what a model folder's config says beside the model: nothing where weights are float32."""
    return {} if precision == "float32" else {"weights": {"precision": precision}}


def linear_matrices(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, bool]]:
    """Yield (module, name in it, whole name, stands input first) of every matrix that a linear layer multiplies by.

    A module of ours that holds such matrices itself names them in `linear_matrices`, by their order.
    """
    for path, module in model.named_modules(remove_duplicate=False):
        for name, order in _held(module).items():
            if isinstance(getattr(module, name), Tensor):
                yield module, name, f"{path}.{name}" if path else name, order == "IO"


def _held(module: nn.Module) -> Mapping[str, str]:
    kind = type(module)
    # What nn.MultiheadAttention holds goes past its layers, into a kernel of its own.
    if isinstance(module, nn.Linear | nn.Embedding) and kind.__name__ != "NonDynamicallyQuantizableLinear":
        return {"weight": "OI"}
    if (kind.__name__, kind.__module__) == ("Conv1D", "transformers.pytorch_utils"):  # an optional package's
        return {"weight": "IO"}
    named: Mapping[str, str] = getattr(kind, "linear_matrices", {})
    return named


def packed(model: nn.Module, tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Return a model's tensors as they are written; those of float32 as they are."""
    if precision == "float32":
        return dict(tensors)
    learned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    linear = {name: is_io for _, _, name, is_io in linear_matrices(model)} if precision == "int8" else {}
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        is_matrix = name in learned and tensor.dim() >= 2 and tensor.is_floating_point()
        if name in linear and is_matrix:
            weight_OI, kept[name + SCALE] = quantised(tensor.t() if linear[name] else tensor)
            kept[name] = weight_OI.contiguous()
        else:
            kept[name] = tensor.to(torch.bfloat16) if is_matrix else tensor
    return kept


def fill(model: nn.Module, tensors: Mapping[str, Tensor], precision: Precision) -> None:
    """Let a model have the tensors that `packed` returned.

    Raises:
        ModelError: integers without scales, or scales without integers.
        RuntimeError: tensors that do not fit, as `load_state_dict`.
    """
    if precision != "int8":
        model.load_state_dict(tensors)
        return
    linear = {name: (module, leaf, is_io) for module, leaf, name, is_io in linear_matrices(model)}
    whole = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    integers = {name for name in linear if name in whole and whole[name].dtype == torch.int8}
    if integers != {name.removesuffix(SCALE) for name in tensors if name.endswith(SCALE)}:
        raise ModelError("integer weights and their scales do not match", advice="make the folder again")
    for name in integers:
        dense_OI = dequantised(whole[name], tensors[name + SCALE])
        whole[name] = dense_OI.t() if linear[name][2] else dense_OI
    model.load_state_dict(whole)
    for name in integers:
        module, leaf, is_io = linear[name]
        parameter = getattr(module, leaf)
        if is_worthwhile(parameter):
            matrix = Int8Matrix(tensors[name], tensors[name + SCALE], is_io, parameter.dtype)
            setattr(module, leaf, nn.Parameter(matrix, requires_grad=False))


def num_bytes(tensors: Mapping[str, Tensor], names: set[str]) -> int:
    """Count the bytes of the named tensors, with their scales."""
    return sum(t.numel() * t.element_size() for name, t in tensors.items() if name.removesuffix(SCALE) in names)

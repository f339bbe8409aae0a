"""Low-rank adapters: a frozen network learns by small matrices beside its linear layers.

    y = x W' + b + (alpha / r) drop(x) A' B'        A (r, in) random, B (out, r) zero: at the start nothing changes

Enters: any network of `nn.Linear` (or transformers' `Conv1D`, which holds W transposed).  Leaves: the same network,
changed in place, of which A and B alone learn; or, merged, W + (alpha / r) B A under the names it had before.

Source: Hu et al. 2021 (LoRA), section 4.1.

Letters: I and O what a layer takes and gives, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ConfigError, ModelError


class Lora(Section):
    """How low-rank adapters are added."""

    rank: int = Field(8, ge=1, le=4096)
    alpha: float = Field(16.0, gt=0)
    """What is learned is scaled by alpha / rank, so that a rate that suits one rank suits another."""
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()
    """The linear layers' names, or the ends of them ("q_proj", "mlp.fc1"); none = every linear layer."""


class LoraLinear(nn.Module):
    """A frozen linear layer, and what is learned beside it.

    `weight` and `bias` are those of the layer that this one amounts to, for callers that look past `forward`.

    Args:
        base: an `nn.Linear`, or a `Conv1D` of transformers.
        config: rank, scale and dropout.
    """

    def __init__(self, base: nn.Module, config: Lora) -> None:
        super().__init__()
        self.base: Any = base
        self.is_transposed = not isinstance(base, nn.Linear)
        weight: Any = base.weight
        num_in, num_out = weight.shape if self.is_transposed else (weight.shape[1], weight.shape[0])
        self.scale, self.dropout = config.alpha / config.rank, config.dropout
        # Full precision, whatever the base has: steps this small would be lost in bfloat16.
        self.a_RI = nn.Parameter(torch.empty(config.rank, num_in, device=weight.device))
        self.b_OR = nn.Parameter(torch.zeros(num_out, config.rank, device=weight.device))
        nn.init.kaiming_uniform_(self.a_RI, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        y: Tensor = self.base(x)
        dropped = F.dropout(x, self.dropout, self.training).to(self.a_RI.dtype)
        return y + (self.scale * F.linear(F.linear(dropped, self.a_RI), self.b_OR)).to(y.dtype)

    @property
    def weight(self) -> Tensor:
        """Return W + (alpha / r) B A, as the base lays it out."""
        change_OI = self.scale * (self.b_OR @ self.a_RI)
        base: Tensor = self.base.weight
        return (base + (change_OI.T if self.is_transposed else change_OI)).to(base.dtype)

    @property
    def bias(self) -> Tensor | None:
        """Return the base's bias."""
        bias: Tensor | None = self.base.bias
        return bias

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the base, changed in place to what this layer amounts to."""
        self.base.weight.copy_(self.weight)
        base: nn.Module = self.base
        return base


def add_lora(module: nn.Module, config: Lora) -> list[str]:
    """Freeze `module` and put adapters beside its linear layers; returns their names.

    Raises:
        ConfigError: a target names no linear layer.
        ModelError: there are adapters already, or no linear layer inside.
    """
    if any(isinstance(part, LoraLinear) for part in module.modules()):
        raise ModelError("low-rank adapters have been added already", advice="merge them first")
    found = [name for name, _, _, _ in _children(module, _is_linear)]
    for target in config.targets:
        if not any(_is_named(name, target) for name in found):
            last = sorted({name.rpartition(".")[2] for name in found})
            raise ConfigError(f"'{target}' names no linear layer", advice=f"there are: {', '.join(last) or 'none'}")
    if not found:
        raise ModelError("there is no linear layer to put adapters beside")
    module.requires_grad_(False)
    adapted: dict[nn.Module, LoraLinear] = {}  # a layer may stand in several places
    names = []
    for name, parent, leaf, linear in list(_children(module, _is_linear)):
        if config.targets and not any(_is_named(name, target) for target in config.targets):
            continue
        if linear not in adapted:
            adapted[linear] = LoraLinear(linear, config).train(linear.training)
        setattr(parent, leaf, adapted[linear])
        names.append(name)
    return names


def merge_lora(module: nn.Module) -> list[str]:
    """Fold every adapter into its layer, which takes its old place and stays frozen; returns the layers' names."""
    places = list(_children(module, lambda part: isinstance(part, LoraLinear)))
    bases = {adapter: adapter.merged() for adapter in dict.fromkeys(place[3] for place in places)}
    for _, parent, leaf, adapter in places:
        setattr(parent, leaf, bases[adapter])
    return [name for name, _, _, _ in places]


def _children(module: nn.Module, wanted: Any) -> Iterator[tuple[str, nn.Module, str, Any]]:
    """Yield (name, parent, name within the parent, child) of every place where a wanted layer stands."""
    for path, parent in module.named_modules(remove_duplicate=False):
        for leaf, child in parent._modules.items():  # named_children would leave out a second place
            if child is not None and wanted(child):
                yield f"{path}.{leaf}" if path else leaf, parent, leaf, child


def _is_linear(module: nn.Module) -> bool:
    # transformers is optional, so its class is known by name.
    kind = type(module)
    return isinstance(module, nn.Linear) or (kind.__name__, kind.__module__) == (
        "Conv1D",
        "transformers.pytorch_utils",
    )


def _is_named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")

"""AdamW over a model's parameters, and its state as flat named tensors.

Enters: a model and the config's rate and decay.  Leaves: the optimiser; to and from
`{"<parameter>/<slot>": Tensor}`, which safetensors can hold.
Source: Loshchilov and Hutter 2019 (decoupled weight decay), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.training.config import TrainingConfig

_FUSED_DEVICES = ("cpu", "cuda")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name the parameters that take gradients; a shared one comes once, under its first name.

    Raises:
        ModelError: there is none.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ModelError("has no parameter that is fitted by gradient", where=type(model).__name__)
    return named


def build_adamw(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Make AdamW with weight decay on matrices and filters only.

    Biases and gains (at most one axis longer than 1) and embedding tables are not decayed: pulling
    them to zero limits what they can say, not how complex the function is.  A model's `rate_factors`, by the
    beginning of parameters' names, are kept in the groups; the rest descends at the rate itself.
    """
    parameters = trainable(model)
    tables = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for p in module.parameters(recurse=False)
    }
    factors: Mapping[str, float] = getattr(model, "rate_factors", {})
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        factor = next((factor for prefix, factor in factors.items() if name.startswith(prefix)), 1.0)
        is_decayed = _num_axes(parameter) >= 2 and id(parameter) not in tables
        groups.setdefault((factor, is_decayed), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {"params": params, "weight_decay": config.weight_decay if is_decayed else 0.0, "rate_factor": factor}
        for (factor, is_decayed), params in sorted(groups.items(), key=lambda group: (group[0][0], not group[0][1]))
    ]
    fused = all(p.device.type in _FUSED_DEVICES and p.is_floating_point() for p in parameters.values())
    return torch.optim.AdamW(settings, lr=config.learning_rate, fused=fused)


def _num_axes(parameter: Tensor) -> int:
    return sum(size > 1 for size in parameter.shape)


def flatten_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return every tensor of the optimiser's state as '<parameter>/<slot>', on the CPU."""
    return {
        f"{name}/{slot}": value.detach().cpu().contiguous()
        for name, parameter in trainable(model).items()
        for slot, value in optimiser.state.get(parameter, {}).items()
    }


def unflatten_state(model: nn.Module, optimiser: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """Put what `flatten_state` returned back.

    Raises:
        ModelError: the state is of another model: a name or a shape does not fit.
    """
    parameters = trainable(model)
    slots: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        name, _, slot = key.rpartition("/")
        if name not in parameters or (value.dim() and value.shape != parameters[name].shape):
            raise ModelError(f"the optimiser's state '{key}' does not fit this model")
        slots.setdefault(name, {})[slot] = value
    number = {id(p): i for i, p in enumerate(p for g in optimiser.param_groups for p in g["params"])}
    state = {number[id(parameters[name])]: values for name, values in slots.items()}
    # load_state_dict knows which slots belong on the device and which (the step count) do not.
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})

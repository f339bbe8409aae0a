"""The layers of an encoder, bottom to top: which of them learn, and how fast.

Enters: an encoder, whose parameters are named in the order in which data passes them.  Leaves: groups of names.

A layer is what shares a name up to its first number: `trunk.0`, `trunk.encoder.layers.encoder_layer_3`,
`trunk.layer2`, `embed`.  Both directions of a recurrent layer are one: `forward_layers.1` and `backward_layers.1`,
`weight_hh_l1` and `bias_ih_l1_reverse`.  The outlet, which every encoder ends in, is the top one and no layer of
the encoder's own.
"""

from __future__ import annotations

import re

from torch import nn

from sensorium.core.errors import ConfigError

TOP = "outlet"


def layer_of(parameter: str) -> str:
    """Name the layer of a parameter, given by its name within the encoder."""
    parameter = re.sub(r"\b(forward|backward)_", "", parameter)
    if numbered := re.match(r"(.*?\d+)\.", parameter):
        return numbered[1]
    if recurrent := re.fullmatch(r"(.*?)\.?\w*_l(\d+)(_reverse)?", parameter):
        return f"{recurrent[1]}.l{recurrent[2]}"
    return parameter.rpartition(".")[0] if "." in parameter else parameter


def layers(encoder: nn.Module) -> list[str]:
    """Return the encoder's own layers, bottom first."""
    names = [name for name, _ in encoder.named_parameters()]
    return list(dict.fromkeys(layer_of(name) for name in names if not name.startswith(TOP)))


def freeze_layers(encoder: nn.Module, count: int, name: str) -> None:
    """Let the lowest `count` layers learn nothing.  Raises ConfigError: there are not so many."""
    found = layers(encoder)
    if count > len(found):
        raise ConfigError(
            f"'{name}' has {len(found)} layers ({', '.join(found)}), not {count} to freeze",
            where=f"inputs.{name}.frozen_layers",
            advice="choose fewer, or set frozen = true, which also encodes each medium only once",
        )
    frozen = set(found[:count])
    for parameter_name, parameter in encoder.named_parameters():
        if not parameter_name.startswith(TOP) and layer_of(parameter_name) in frozen:
            parameter.requires_grad_(False)


def is_all_frozen(module: nn.Module) -> bool:
    """Say whether a module has parameters of its own, none of which learns."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def rate_factors(encoder: nn.Module, prefix: str, factor: float, decay: float) -> dict[str, float]:
    """Return factor x decay^depth by the beginning of parameters' names; the outlet has depth 0.

    Source: Howard and Ruder 2018 (ULMFiT, section 3.2, "discriminative fine-tuning"), with the geometric rates of
    Clark et al. 2020 (ELECTRA, appendix).
    """
    if decay == 1:
        return {prefix: factor}
    found = layers(encoder)
    depth = {layer: len(found) - i for i, layer in enumerate(found)}
    names = [name for name, _ in encoder.named_parameters()]
    # The longest names come first, because the first beginning that fits is taken.
    return {
        prefix + name: factor * decay ** depth.get(layer_of(name), 0)
        for name in sorted(names, key=len, reverse=True)
    }

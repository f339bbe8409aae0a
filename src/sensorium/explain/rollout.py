"""Attention roll-out (Abnar and Zuidema 2020): which places the attention of all layers reaches, from each token.

    R = A'_L ... A'_1,    A' = (A + I) / 2 in layers with a residual path, A averaged over heads

Three readings are multiplied: the scorer's (tokens read memory positions), the fusion's (memory positions read an
input's positions) and the encoder's (positions read each other).  A scorer or fusion that tells what it reads is a
`core.protocols.ReadingScorer` or `ReadingFusion`; an encoder's self-attention is a `WeighingLayer`.  Where a scorer
cannot tell (recurrent, counted), every memory position counts alike.  Values are shares, not nats, and the paper's
caveat stands: attention is not what the text rests on, which is why every map has its deletion curve.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.attention import beside_residual
from sensorium.core.errors import UsageError
from sensorium.core.protocols import ReadingFusion, ReadingScorer, WeighingLayer
from sensorium.core.types import Batch, Conditioning
from sensorium.explain.variants import Variants
from sensorium.model.multimodal import MultimodalLM


@torch.no_grad()
def rollout(variants: Variants) -> Tensor:
    """Return the map of each token (T, *places), float64 on the CPU, whose places sum to 1 at most.

    Raises:
        UsageError: the fusion does not tell what it reads, or the encoder has pooled its places away.
    """
    model, name = variants.model, variants.name
    fusion: Any = model.fusion
    if not isinstance(fusion, ReadingFusion):
        raise UsageError(
            f"fusion '{model.config.fusion.features}' does not tell what it reads",
            advice="take the maps occlusion or integrated_gradients",
        )
    inputs = {**variants.batch.inputs, name: variants.media(variants.values)}
    with _weights(model.encoders[name]) as layers:
        cond = model.condition(Batch(variants.batch.row_id_B, inputs))
    part = cond.parts[name]
    num = int(part.mask_BT[0].sum())
    if num <= 1 < _num(variants.places):
        raise UsageError(f"the encoder of '{name}' gives one vector, so no place is left to attend to")
    token_1T, mask_1T = model.sequences([variants.ids])
    read_TM = _scorer_reading(model, token_1T, mask_1T, cond)[0, :-1]
    read_MS = fusion.reading(cond.parts)[name][0][:, :num]
    read_TS = read_TM @ read_MS @ encoder_rollout(layers, num).to(read_MS.device)
    return _to_places(read_TS.cpu(), variants.places).double()


def encoder_rollout(layers: list[Tensor], num_positions: int) -> Tensor:
    """Multiply (A + I) / 2 of all layers, the first rightmost: (S, S); without layers, a position is its own."""
    together = torch.eye(num_positions)
    for weight_SS in layers:
        if weight_SS.shape[0] == num_positions:
            together = beside_residual(weight_SS.to(together)) @ together
    return together


def _scorer_reading(model: MultimodalLM, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
    for part in model.parts.values():
        if isinstance(part, ReadingScorer):
            reading_BTM = part.reading(token_BT, mask_BT, cond)
            if reading_BTM is not None:
                return reading_BTM
    real_BM = cond.memory.mask_BT.float()
    alike_BM = real_BM / real_BM.sum(1, keepdim=True).clamp_min(1)
    return alike_BM[:, None].expand(-1, token_BT.shape[1], -1)


@contextlib.contextmanager
def _weights(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the weights (S, S) of every self-attention, in the order in which they run."""
    found: list[Tensor] = []

    def keep(layer: nn.Module, args: tuple[Any, ...], _: Tensor) -> None:
        assert isinstance(layer, WeighingLayer)
        found.append(layer.attention_weights(*args)[0].mean(0))

    handles = [m.register_forward_hook(keep) for m in encoder.modules() if isinstance(m, WeighingLayer)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _num(places: tuple[int, ...]) -> int:
    return torch.Size(places).numel()


def _to_places(read_TS: Tensor, places: tuple[int, ...]) -> Tensor:
    """Lay positions over places: a grid of positions over pixels, strides over frames; leading extras are left out.

    A square grid may have extra positions in front of it (a class token), which have no place.
    """
    num = read_TS.shape[1]
    if len(places) == 1:
        return functional.interpolate(read_TS[:, None], places, mode="nearest")[:, 0] * (num / places[0])
    side = int(num**0.5)
    grid_THW = read_TS[:, num - side * side :].view(-1, side, side)
    scale = side * side / _num(places)
    return functional.interpolate(grid_THW[:, None], places, mode="bilinear", align_corners=False)[:, 0] * scale

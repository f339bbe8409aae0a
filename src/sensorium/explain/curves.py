"""Deletion and insertion (Petsiuk et al. 2018, RISE): does a map point at what the text rests on?

Enters: `Variants` and a map of its places.  Leaves: the value of the text while the tiles of the input are hidden
in the map's order, most important first (deletion), or shown so from nothing (insertion); and the same in random
orders.

    area = integral of the value over the share of tiles     deletion: low is good; insertion: high is good

Tiles are hidden whole, in random orders too, so that both differ in the order alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sensorium.explain.values import Value, probability
from sensorium.explain.variants import Variants
from sensorium.explain.windows import gather, windows

STEPS = 16
RANDOM_ORDERS = 8


@dataclass(frozen=True, slots=True)
class Check:
    """How good a map is.

    Attributes:
        share_S: share of tiles hidden (deletion) or shown (insertion), from 0 to 1.
        deletion_S, insertion_S: the value there, in the map's order.
        random_deletion_S, random_insertion_S: means over random orders.
    """

    share_S: tuple[float, ...]
    deletion_S: tuple[float, ...]
    insertion_S: tuple[float, ...]
    random_deletion_S: tuple[float, ...]
    random_insertion_S: tuple[float, ...]

    def area(self, curve_S: tuple[float, ...]) -> float:
        """Return the area under one of the curves, by trapezoids."""
        return float(torch.trapezoid(torch.tensor(curve_S), torch.tensor(self.share_S)))

    def facts(self) -> dict[str, Any]:
        """Return the four areas."""
        curves = ("deletion", "insertion", "random_deletion", "random_insertion")
        return {name: self.area(getattr(self, f"{name}_S")) for name in curves}


def check_map(variants: Variants, map_P: Tensor, *, value: Value = probability, seed: int = 0) -> Check:
    """Judge a map (*places) of the whole text; `value` takes log p of tokens (..., T) to what is watched."""
    tile = [max(1, size // 2) for size in variants.tile]
    tile_R = windows(variants.places, tile, tile)
    order_R = gather(map_P[None].double(), tile_R)[0].argsort(descending=True, stable=True)
    generator = torch.Generator().manual_seed(seed)
    orders = [order_R, *(torch.randperm(len(tile_R), generator=generator) for _ in range(RANDOM_ORDERS))]
    num_S = torch.linspace(0, len(tile_R), min(STEPS, len(tile_R)) + 1).round().long()
    gone_OS = torch.stack([_first(order, tile_R, num_S) for order in orders])
    hidden_X = torch.cat([gone_OS.flatten(0, 1), ~gone_OS.flatten(0, 1)])
    value_2OS = value(variants.log_p_hidden(hidden_X).double().cpu()).view(2, len(orders), -1)
    share_S = (num_S / len(tile_R)).tolist()
    deletion, insertion = value_2OS[:, 0].tolist()
    random_deletion, random_insertion = value_2OS[:, 1:].mean(1).tolist()
    return Check(*map(tuple, (share_S, deletion, insertion, random_deletion, random_insertion)))


def _first(order_R: Tensor, tile_R: Tensor, num_S: Tensor) -> Tensor:
    """Return the union of the first n tiles of an order, for every n: (S, *places) bool."""
    rank_R = torch.empty_like(order_R)
    rank_R[order_R] = torch.arange(len(order_R))
    taken_SR = rank_R < num_S[:, None]
    shape = tile_R.shape[1:]
    return ((taken_SR.float() @ tile_R.flatten(1).float()) > 0).view(-1, *shape)

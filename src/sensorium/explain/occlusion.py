"""Occlusion: what the text loses when a window of an input is hidden (Zeiler and Fergus 2014, section 4.2).

    m_t(place) = mean over scales, and over windows W of the scale that cover it, of
                 (log p_t(all) - log p_t(all but W)) * |tile| / |W|

A small window alone says nothing of what is told twice: a network that still sees the rest of a shape need not miss
a corner of it.  So windows of several scales are hidden, and each counts by its share of places.

Enters: `Variants`.  Leaves: nats a tile, by token and place (T, *places).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sensorium.explain.variants import Variants
from sensorium.explain.windows import spread, windows


def occlusion(variants: Variants) -> Tensor:
    """Return the map of each token (T, *places), float64 on the CPU.

    Windows are the input's own tile and its multiples, half a window apart.
    """
    maps = [_at_scale(variants, scale) for scale in variants.hiding.scales]
    return torch.stack(maps).mean(0)


def window_losses(variants: Variants, window_R: Tensor) -> Tensor:
    """Return what each token loses with each window: log p_t(all) - log p_t(all but R), (T, R) nats."""
    nothing_1 = torch.zeros_like(window_R[:1])
    log_p_XT = variants.log_p_hidden(torch.cat([nothing_1, window_R])).double().cpu()
    return (log_p_XT[:1] - log_p_XT[1:]).T


def _at_scale(variants: Variants, scale: int) -> Tensor:
    size = [min(scale * tile, length) for tile, length in zip(variants.tile, variants.places, strict=True)]
    window_R = windows(variants.places, size, [max(1, side // 2) for side in size])
    share = math.prod(variants.tile) / math.prod(size)
    return spread(window_losses(variants, window_R) * share, window_R)

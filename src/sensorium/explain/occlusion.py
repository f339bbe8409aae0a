"""Occlusion: what the text loses when a window of an input is hidden (Zeiler and Fergus 2014, section 4.2).

    m_t(place) = mean over windows W that cover it of log p_t(all) - log p_t(all but W)

Enters: `Variants`.  Leaves: nats by token and place (T, *places).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.explain.variants import Variants
from sensorium.explain.windows import spread, windows


def occlusion(variants: Variants) -> Tensor:
    """Return the map of each token (T, *places), float64 on the CPU.

    Windows are the input's own tile, half a tile apart.
    """
    tile = [variants.hiding.tile(length) for length in variants.places]
    window_R = windows(variants.places, tile, [max(1, size // 2) for size in tile])
    return spread(window_losses(variants, window_R), window_R)


def window_losses(variants: Variants, window_R: Tensor) -> Tensor:
    """Return what each token loses with each window: log p_t(all) - log p_t(all but R), (T, R) nats."""
    nothing_1 = torch.zeros_like(window_R[:1])
    log_p_XT = variants.log_p_hidden(torch.cat([nothing_1, window_R])).double().cpu()
    return (log_p_XT[:1] - log_p_XT[1:]).T

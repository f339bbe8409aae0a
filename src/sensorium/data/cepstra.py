"""Cepstra: log-mel frames turned so that their features are nearly uncorrelated, with slopes and curvatures.

Enters: log-mel frames (T, M).  Leaves: (T, 3 * num_cepstra), each feature of a clip at mean 0 and deviation 1:
the first coefficients of the cosine transform (Davis and Mermelstein 1980), their slopes over five frames, and
the slopes of those (Furui 1986).  Gaussians of independent features fit these, and do not fit log-mel frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_REACH = 2  # frames before and after, over which a slope is fitted
_LEAST_DEVIATION = 1e-2


def cepstra(log_mel_TM: Tensor, num_cepstra: int = 13) -> Tensor:
    """Return (T, 3 * num_cepstra) in float64."""
    static_TC = log_mel_TM.double() @ _cosines(log_mel_TM.shape[1], num_cepstra)
    slope_TC = _slopes(static_TC)
    x_TF = torch.cat([static_TC, slope_TC, _slopes(slope_TC)], 1)
    x_TF = x_TF - x_TF.mean(0)
    return x_TF / x_TF.square().mean(0).sqrt().clamp_min(_LEAST_DEVIATION)


def _cosines(num_in: int, num_out: int) -> Tensor:
    """Return the orthonormal cosine transform of type II, (num_in, num_out)."""
    angle_MC = (torch.arange(num_in).double()[:, None] + 0.5) * torch.arange(num_out).double() * math.pi / num_in
    scale_C = torch.full((num_out,), math.sqrt(2 / num_in), dtype=torch.float64)
    scale_C[0] = math.sqrt(1 / num_in)
    return angle_MC.cos() * scale_C


def _slopes(x_TC: Tensor) -> Tensor:
    """Return the slope of the straight line through the frames within reach, ends repeated."""
    padded_TC = torch.cat([x_TC[:1].expand(_REACH, -1), x_TC, x_TC[-1:].expand(_REACH, -1)])
    length = len(x_TC)
    steps = range(1, _REACH + 1)
    ahead = (k * (padded_TC[_REACH + k :][:length] - padded_TC[_REACH - k :][:length]) for k in steps)
    return torch.stack(list(ahead)).sum(0) / (2 * sum(k * k for k in steps))

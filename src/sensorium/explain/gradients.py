"""Integrated gradients (Sundararajan et al. 2017): a text's nats, shared out among the places of one input.

    m_t(i) = (x_i - x'_i) * integral over a from 0 to 1 of d log p_t(x' + a (x - x')) / d x_i

x' is the input with every place blank.  The map adds up, to log p_t(x) - log p_t(x') (completeness, proposition 1);
how far it falls short says how well the integral was taken.  Pixels and frames are differentiated by their values,
tokens by their embeddings; a place has the sum over its channels, bins or dimensions.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from sensorium.explain.variants import Variants

NODES = 32
"""Points of the Gauss-Legendre quadrature."""


def integrated_gradients(variants: Variants, nodes: int = NODES) -> Tensor:
    """Return the map of each token (T, *places), float64 on the CPU.

    Raises:
        UsageError: the input is read by counting, not by an embedding.
    """
    if variants.hiding.is_continuous:
        total_T = _integral(variants, variants.blank, variants.values, nodes, None)
    else:
        with variants.embedded_as(torch.empty(0)):  # asks whether there is an embedding
            embed = variants.embedding()
        with torch.no_grad():
            blank, values = embed(variants.blank), embed(variants.values)
        total_T = _integral(variants, blank, values, nodes, variants.values)
    places = {axis: axis for axis in variants.hiding.axes}
    summed = [axis for axis in range(1, total_T.ndim) if axis not in places]
    return total_T.sum(summed) if summed else total_T


def _integral(variants: Variants, blank_1: Tensor, values_1: Tensor, nodes: int, token_1T: Tensor | None) -> Tensor:
    """Return (x - x') * mean gradient, (T, ...) of the shape of the values; `token_1T` where x is embeddings."""
    at, weight = np.polynomial.legendre.leggauss(nodes)
    shape = [nodes] + [1] * (values_1.ndim - 1)
    at_A, weight_A = (torch.tensor(x, dtype=torch.float32).view(shape) for x in ((at + 1) / 2, weight / 2))
    path_A = (blank_1 + at_A.to(blank_1.device) * (values_1 - blank_1)).requires_grad_()
    # Recurrent layers of a GPU have no backward pass outside training but in plain kernels.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        if token_1T is None:
            log_p_AT = variants.log_p(path_A)
        else:
            with variants.embedded_as(path_A):
                log_p_AT = variants.log_p(token_1T.expand(nodes, -1))
        grad = functools.partial(torch.autograd.grad, inputs=path_A, retain_graph=True, allow_unused=True)
        gradients = [grad(log_p_A.sum())[0] if log_p_A.requires_grad else None for log_p_A in log_p_AT.unbind(1)]
    means = [torch.zeros_like(blank_1[0]) if g is None else (g * weight_A.to(g.device)).sum(0) for g in gradients]
    return ((values_1 - blank_1).detach() * torch.stack(means)).double().cpu()

"""Fit a gate on held-out tokens: the shares by EM, then the network by gradient, stopped where it no longer helps.

Enters: what the parts said of held-out tokens, and what the network reads before each.  Leaves: the gate, fitted.

The last fifth of the tokens judges; the network learns from the others, by full batches of Adam (the loss is cheap:
K numbers a token).  What is kept is the step that said most of the judging fifth, the linear mixture among them.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sensorium.language.mixture_weights import fit_mixture_weights

log = logging.getLogger(__name__)

JUDGING = 0.2
FEWEST_TOKENS = 500
"""With fewer held-out tokens a network would fit chance; the mixture stays linear."""
_STEPS, _JUDGED_EVERY, _PATIENCE = 600, 10, 10
_RATE, _DECAY = 1e-2, 1e-2
_MOST_TOKENS = 200_000


@dataclass(frozen=True)
class HeldOut:
    """What is known of N held-out tokens.

    Attributes:
        log_p_NK: what each part said of the token.
        x_NX: what the network reads before it.
    """

    log_p_NK: Tensor
    x_NX: Tensor

    def part(self, chosen: slice) -> HeldOut:
        """Return some of the tokens."""
        return HeldOut(self.log_p_NK[chosen], self.x_NX[chosen])


class Gated(Protocol):
    """What is fitted."""

    hidden: nn.Linear
    output: nn.Linear
    centre_X: Tensor
    scale_X: Tensor
    mean_share_K: Tensor

    def set_weights(self, weights: list[float]) -> object:
        """Fix the linear shares, and silence the network."""
        ...

    def log_shares(self, x: Tensor) -> Tensor:
        """Return log g."""
        ...


def fit_gate(gate: Gated, tokens: HeldOut) -> None:
    """Fit `gate` in place.  Raises DataError where there is no token that any part can produce."""
    device = gate.centre_X.device
    gate.set_weights(fit_mixture_weights(tokens.log_p_NK.T).tolist())
    num_judging = int(len(tokens.x_NX) * JUDGING)
    if len(tokens.x_NX) < FEWEST_TOKENS:
        log.info("%d held-out tokens are too few for a gate: the mixture stays linear", len(tokens.x_NX))
        return
    usable = HeldOut(tokens.log_p_NK.to(device), tokens.x_NX.to(device))
    learning = usable.part(slice(max(0, len(tokens.x_NX) - num_judging - _MOST_TOKENS), -num_judging))
    judging = usable.part(slice(-num_judging, None))
    gate.centre_X.copy_(learning.x_NX.mean(0))
    gate.scale_X.copy_(learning.x_NX.std(0).clamp_min(1e-3))
    linear = _value(gate, judging)
    reached = _descend(gate, learning, judging)
    gate.mean_share_K.copy_(gate.log_shares(usable.x_NX).exp().mean(0))
    log.info("gate: %.4f nats a token, linear mixture %.4f, on %d tokens", -reached, -linear, num_judging)


def _descend(gate: Gated, learning: HeldOut, judging: HeldOut) -> float:
    """Train the network, and leave it as it was at its best; returns its value there."""
    parameters = [*gate.hidden.parameters(), *gate.output.parameters()]
    modules = (gate.hidden, gate.output)
    best, value, since = [copy.deepcopy(m.state_dict()) for m in modules], _value(gate, judging), 0
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    for step in range(1, _STEPS + 1):
        with torch.enable_grad():
            loss = -_mixed(gate, learning).mean()
            gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        if step % _JUDGED_EVERY:
            continue
        now = _value(gate, judging)
        since = 0 if now > value else since + 1
        if now > value and math.isfinite(now):
            best, value = [copy.deepcopy(m.state_dict()) for m in modules], now
        if since >= _PATIENCE:
            break
    for module, state in zip(modules, best, strict=True):
        module.load_state_dict(state)
    for parameter in parameters:
        parameter.grad = None
        parameter.requires_grad_(False)
    return value


def _mixed(gate: Gated, tokens: HeldOut) -> Tensor:
    """Return log p of each token that any part can produce, (N,)."""
    mixed_N = (tokens.log_p_NK + gate.log_shares(tokens.x_NX)).logsumexp(-1)
    return mixed_N[mixed_N > -torch.inf]


def _value(gate: Gated, tokens: HeldOut) -> float:
    with torch.no_grad():
        return float(_mixed(gate, tokens).mean())

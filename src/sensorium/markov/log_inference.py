"""Forward-backward with logarithms: slower, and never short of range.

Enters and leaves what `inference` does, in logarithms.  It takes over the few sequences for which
probabilities, even scaled, would vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.core.logspace import logsumexp
from sensorium.markov.packing import Packing


@dataclass(frozen=True, slots=True)
class LogSmoothed:
    """As `inference.Smoothed`; sequences in packed order."""

    log_likelihood_B: Tensor
    gamma_NS: Tensor
    transition_SS: Tensor


def log_forward(
    log_start_S: Tensor, log_a_SS: Tensor, log_final_S: Tensor | None, log_e_NS: Tensor, packing: Packing
) -> tuple[Tensor, Tensor]:
    """Return log alpha (N, S), not normalised, and log P (B,) in packed order."""
    blocks = torch.split_with_sizes(log_e_NS, packing.num_active_T)
    alphas = [log_start_S + blocks[0]]
    for block_BS in blocks[1:]:
        reached_BS = logsumexp(alphas[-1][: len(block_BS), :, None] + log_a_SS, 1)
        alphas.append(reached_BS + block_BS)
    alpha_NS = torch.cat(alphas)
    last_BS = alpha_NS[packing.last_B]
    return alpha_NS, logsumexp(last_BS if log_final_S is None else last_BS + log_final_S, 1)


def log_smooth(
    log_start_S: Tensor, log_a_SS: Tensor, log_final_S: Tensor | None, log_e_NS: Tensor, packing: Packing
) -> LogSmoothed:
    """Run forward-backward."""
    alpha_NS, log_p_B = log_forward(log_start_S, log_a_SS, log_final_S, log_e_NS, packing)
    alphas, blocks = (torch.split_with_sizes(x_NS, packing.num_active_T) for x_NS in (alpha_NS, log_e_NS))
    end_S = torch.zeros_like(log_start_S) if log_final_S is None else log_final_S
    count_SS = torch.zeros_like(log_a_SS)
    betas = [end_S.expand(len(blocks[-1]), -1)]
    for t in range(len(blocks) - 1, 0, -1):
        num = len(blocks[t])
        weighted_BS = blocks[t] + betas[-1]
        joint_BSS = alphas[t - 1][:num, :, None] + log_a_SS + weighted_BS[:, None]
        possible_B = log_p_B[:num] > -torch.inf
        count_SS += (joint_BSS - log_p_B[:num, None, None])[possible_B].exp().sum(0)
        before_BS = logsumexp(log_a_SS + weighted_BS[:, None], 2)
        betas.append(torch.cat([before_BS, end_S.expand(len(blocks[t - 1]) - num, -1)]))
    joint_NS = alpha_NS + torch.cat(betas[::-1])
    log_p_N1 = log_p_B[packing.sequence_N][:, None]
    gamma_NS = torch.where(log_p_N1 > -torch.inf, (joint_NS - log_p_N1).exp(), 0.0)
    return LogSmoothed(log_p_B, gamma_NS, count_SS)

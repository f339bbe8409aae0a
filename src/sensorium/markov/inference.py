"""Forward-backward and Viterbi for many sequences at once.

Enters: a chain, and log p(x_n | state) (N, S) of packed frames (see `packing`).  Leaves: exact
log-likelihoods, state posteriors, expected transitions; the likeliest paths.

Forward-backward works with probabilities, each step normalised to sum 1 (Rabiner 1989, section V.A), so a step
is one matrix product; frames' emissions are first divided by their largest:

    alpha_t = (alpha_t-1 A) * e_t / c_t       beta_t = A (e_t+1 * beta_t+1 / c_t+1)       log P = sum_t log c_t

A sequence that loses nearly all its probability in one step, as when only a state of vanishing emission can be
reached, would lose precision: it is done again with logarithms (`log_inference`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.markov.log_inference import log_forward, log_smooth
from sensorium.markov.packing import Packing

_LEAST_SCALE = {torch.float64: 1e-100, torch.float32: 1e-10}
"""A step that keeps less than this is not trusted; a subnormal number, which has lost digits, is far below."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What forward-backward finds.

    Attributes:
        log_likelihood_B: (B,) log P of each sequence, in the given order; -inf where it is impossible.
        gamma_NS: (N, S) p(state | the whole sequence) of each packed frame; zeros for impossible sequences.
        start_S: (S,) expected number of sequences that begin in each state.
        transition_SS: (S, S) expected number of each transition.
    """

    log_likelihood_B: Tensor
    gamma_NS: Tensor
    start_S: Tensor
    transition_SS: Tensor


def log_likelihoods(
    start_S: Tensor, transition_SS: Tensor, final_S: Tensor | None, log_e_NS: Tensor, packing: Packing
) -> Tensor:
    """Return log P of each sequence, (B,), in the given order."""
    e_NS, top_N = _scaled(log_e_NS)
    alpha_NS, scale_N = _forward(start_S, transition_SS, e_NS, packing)
    end_B = _ends(alpha_NS, final_S, packing)
    log_likelihood_B = _total(scale_N, top_N, end_B, packing)
    weak_B = _weak(scale_N, end_B, packing)
    if weak_B.any():
        rows, inner = _subset(packing, weak_B)
        again_B = log_forward(start_S.log(), transition_SS.log(), _log(final_S), log_e_NS[rows], inner)[1]
        log_likelihood_B[weak_B] = again_B
    return packing.unorder(log_likelihood_B)


def smooth(
    start_S: Tensor, transition_SS: Tensor, final_S: Tensor | None, log_e_NS: Tensor, packing: Packing
) -> Smoothed:
    """Run forward-backward.

    Args:
        start_S: (S,).
        transition_SS: (S, S).
        final_S: (S,) weights of the last state; None = all 1.
        log_e_NS: (N, S) log p(x_n | state), packed.
        packing: where the frames stand.
    """
    e_NS, top_N = _scaled(log_e_NS)
    alpha_NS, scale_N = _forward(start_S, transition_SS, e_NS, packing)
    end_B = _ends(alpha_NS, final_S, packing)
    log_likelihood_B = _total(scale_N, top_N, end_B, packing)
    weighted_NS = e_NS.div_(scale_N[:, None])
    beta_NS = _backward(transition_SS, final_S, end_B, weighted_NS, packing)
    weak_B = _weak(scale_N, end_B, packing)
    weak_rows = None
    if weak_B.any():
        weak_rows, inner = _subset(packing, weak_B)
        alpha_NS[weak_rows] = weighted_NS[weak_rows] = beta_NS[weak_rows] = 0.0
    # weighted_NS now holds e * beta / c, so all transitions of all sequences are one product.
    num = packing.num_sequences
    transition_count_SS = alpha_NS[packing.before_N].T @ weighted_NS[num:] * transition_SS
    gamma_NS = alpha_NS.mul_(beta_NS)
    if weak_rows is not None:
        again = log_smooth(start_S.log(), transition_SS.log(), _log(final_S), log_e_NS[weak_rows], inner)
        log_likelihood_B[weak_B], gamma_NS[weak_rows] = again.log_likelihood_B, again.gamma_NS
        transition_count_SS = transition_count_SS + again.transition_SS
    return Smoothed(packing.unorder(log_likelihood_B), gamma_NS, gamma_NS[:num].sum(0), transition_count_SS)


def viterbi(
    start_S: Tensor, transition_SS: Tensor, final_S: Tensor | None, log_e_NS: Tensor, packing: Packing
) -> tuple[Tensor, Tensor]:
    """Return the likeliest state of each packed frame's path, (N,) int64, and each path's log P, (B,), given order.

    Source: Viterbi 1967; Rabiner 1989, equations 32-35.
    """
    log_a_SS, blocks = transition_SS.log(), torch.split_with_sizes(log_e_NS, packing.num_active_T)
    delta_BS = start_S.log() + blocks[0]
    ends, pointers = [], []
    for block_BS in blocks[1:]:
        num = len(block_BS)
        ends.append(delta_BS[num:])
        best = (delta_BS[:num, :, None] + log_a_SS).max(1)
        delta_BS = best.values + block_BS
        pointers.append(best.indices)
    ends.append(delta_BS)
    end_BS = torch.cat(ends[::-1])
    if final_S is not None:
        end_BS = end_BS + final_S.log()
    log_p_B, state_B = end_BS.max(1)
    return _trace(state_B, pointers, packing), packing.unorder(log_p_B)


def _trace(state_B: Tensor, pointers: list[Tensor], packing: Packing) -> Tensor:
    state_B, path = state_B.clone(), []
    for t in range(len(packing.num_active_T) - 1, -1, -1):
        num = packing.num_active_T[t]
        path.append(state_B[:num].clone())
        if t > 0:
            state_B[:num] = pointers[t - 1].gather(1, state_B[:num, None])[:, 0]
    return torch.cat(path[::-1])


def _scaled(log_e_NS: Tensor) -> tuple[Tensor, Tensor]:
    """Return e / max e (N, S) and log max e (N,)."""
    top_N = log_e_NS.amax(1)
    top_N = torch.where(top_N.isfinite(), top_N, 0.0)
    return (log_e_NS - top_N[:, None]).exp_(), top_N


def _forward(start_S: Tensor, transition_SS: Tensor, e_NS: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """Return alpha (N, S) and c (N,); NaN from where a sequence has become impossible."""
    alpha_NS, scale_N1 = torch.empty_like(e_NS), e_NS.new_empty(len(e_NS), 1)
    before_BS = None
    split = (torch.split_with_sizes(x, packing.num_active_T) for x in (alpha_NS, e_NS, scale_N1))
    for alpha_BS, e_BS, scale_B1 in zip(*split, strict=True):
        if before_BS is None:
            torch.mul(e_BS, start_S, out=alpha_BS)
        else:
            torch.mm(before_BS[: len(alpha_BS)], transition_SS, out=alpha_BS)
            alpha_BS.mul_(e_BS)
        torch.sum(alpha_BS, 1, keepdim=True, out=scale_B1)
        alpha_BS.div_(scale_B1)
        before_BS = alpha_BS
    return alpha_NS, scale_N1[:, 0]


def _backward(
    transition_SS: Tensor, final_S: Tensor | None, end_B: Tensor, weighted_NS: Tensor, packing: Packing
) -> Tensor:
    """Return beta (N, S); `weighted_NS`, e / c on entry, is multiplied by it in place."""
    beta_NS = torch.empty_like(weighted_NS)
    last_S = torch.ones_like(transition_SS[0]) if final_S is None else final_S
    beta_NS[packing.last_B] = last_S / end_B[:, None]
    back_SS = transition_SS.T.contiguous()
    betas, weights = (torch.split_with_sizes(x_NS, packing.num_active_T) for x_NS in (beta_NS, weighted_NS))
    for t in range(len(betas) - 1, 0, -1):
        weights[t].mul_(betas[t])
        torch.mm(weights[t], back_SS, out=betas[t - 1][: len(weights[t])])
    return beta_NS


def _ends(alpha_NS: Tensor, final_S: Tensor | None, packing: Packing) -> Tensor:
    """Return the share of each sequence's probability that may end where it stands, (B,) in packed order."""
    alpha_BS = alpha_NS[packing.last_B]
    return alpha_BS.sum(1) if final_S is None else alpha_BS @ final_S


def _total(scale_N: Tensor, top_N: Tensor, end_B: Tensor, packing: Packing) -> Tensor:
    """Add the logarithms of a sequence's scales, (B,) in packed order."""
    total_B = end_B.log()
    return total_B.index_add_(0, packing.sequence_N, scale_N.log() + top_N)


def _weak(scale_N: Tensor, end_B: Tensor, packing: Packing) -> Tensor:
    least = _LEAST_SCALE[scale_N.dtype]
    weak_B = ~(end_B >= least)
    weak_N = ~(scale_N >= least)
    if weak_N.any():
        weak_B[packing.sequence_N[weak_N]] = True
    return weak_B


def _subset(packing: Packing, chosen_B: Tensor) -> tuple[Tensor, Packing]:
    """Return which packed frames belong to the chosen sequences, (n,), and their own packing."""
    rows = chosen_B[packing.sequence_N].nonzero()[:, 0]
    length_B = torch.bincount(packing.sequence_N, minlength=packing.num_sequences)
    # Longest first already, so the chosen keep their order, and their frames theirs.
    return rows, Packing.of(length_B[chosen_B].tolist(), rows.device)


def _log(final_S: Tensor | None) -> Tensor | None:
    return None if final_S is None else final_S.log()

"""Forward-backward and Viterbi for many sequences at once.

Enters: a chain, and log p(x_n | state) (N, S) of packed frames (see `packing`).  Leaves: exact
log-likelihoods, state posteriors, expected transitions; the likeliest paths.

Forward-backward works with probabilities that are brought back to sum 1 now and then (Rabiner 1989, section V.A),
so a step is one matrix product (`recursion`); frames' emissions are first divided by their largest:

    alpha_t = (alpha_t-1 A) * e_t / c_t       beta_t = A (e_t+1 * beta_t+1 / d_t+1)       log P = sum_t log c_t
    p(s_t = i) ~ alpha_t(i) beta_t(i)         p(s_t = i, s_t+1 = j) ~ alpha_t(i) A_ij e_t+1(j) beta_t+1(j)

Both directions have scales c and d of their own, which drop out of the posteriors when those are normalised.
A sequence that loses nearly all its probability from one scaling to the next, as when only a state of vanishing
emission can be reached, would lose precision: it is done again with a scaling every step, and if that does not
suffice, with logarithms (`log_inference`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.markov.log_inference import LogSmoothed, log_forward, log_smooth
from sensorium.markov.packing import Packing
from sensorium.markov.recursion import Recursion, Workspace, recur, summed_products

_LEAST_SCALE = {torch.float64: 1e-100, torch.float32: 1e-10}
"""Steps that keep less than this are not trusted; a subnormal number, which has lost digits, is far below."""

_EVERY = {torch.float64: 8, torch.float32: 1}
"""Steps between scalings at first."""

_THEN = {8: 1, 1: 0}
"""What weak sequences are done with again: a scaling every step, then logarithms."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Start (S,), transitions (S, S) and weights of the last state (S,)."""

    start_S: Tensor
    transition_SS: Tensor
    final_S: Tensor

    def log(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logarithms."""
        return self.start_S.log(), self.transition_SS.log(), self.final_S.log()


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
    chain = Chain(start_S, transition_SS, torch.ones_like(start_S) if final_S is None else final_S)
    return packing.unorder(_likely(chain, log_e_NS, packing, _EVERY[log_e_NS.dtype]))


def smooth(
    start_S: Tensor,
    transition_SS: Tensor,
    final_S: Tensor | None,
    log_e_NS: Tensor,
    packing: Packing,
    workspace: Workspace | None = None,
) -> Smoothed:
    """Run forward-backward.

    Args:
        start_S: (S,).
        transition_SS: (S, S).
        final_S: (S,) weights of the last state; None = all 1.
        log_e_NS: (N, S) log p(x_n | state), packed.
        packing: where the frames stand.
        workspace: is written to, and then holds `gamma_NS`; None = memory of its own.
    """
    chain = Chain(start_S, transition_SS, torch.ones_like(start_S) if final_S is None else final_S)
    found = _smooth(chain, log_e_NS, packing, _EVERY[log_e_NS.dtype], workspace or Workspace())
    start_S = found.gamma_NS[: packing.num_sequences].sum(0)
    return Smoothed(packing.unorder(found.log_likelihood_B), found.gamma_NS, start_S, found.transition_SS)


def _likely(chain: Chain, log_e_NS: Tensor, packing: Packing, every: int) -> Tensor:
    """Return log P of each sequence, (B,) in packed order."""
    if not every:
        return log_forward(*chain.log(), log_e_NS, packing)[1]
    e_1NS = torch.empty_like(log_e_NS)[None]
    top_N = _scaled(log_e_NS, e_1NS[0])
    run = recur(chain.start_S[None], chain.transition_SS[None], e_1NS, packing, every, Workspace())
    log_likelihood_B, weak_B = _total(run, chain.final_S, top_N, packing)
    if weak_B.any():
        rows, inner = _subset(packing, weak_B)
        log_likelihood_B[weak_B] = _likely(chain, log_e_NS[rows], inner, _THEN[every])
    return log_likelihood_B


def _smooth(chain: Chain, log_e_NS: Tensor, packing: Packing, every: int, workspace: Workspace) -> LogSmoothed:
    """Run forward-backward; sequences in packed order."""
    if not every:
        return log_smooth(*chain.log(), log_e_NS, packing)
    e_2NS = workspace.take("emissions", (2, *log_e_NS.shape), log_e_NS)
    top_N = _scaled(log_e_NS, e_2NS[0])
    torch.index_select(e_2NS[0], 0, packing.reverse_N, out=e_2NS[1])
    first_2S = torch.stack([chain.start_S, chain.final_S])
    matrix_2SS = torch.stack([chain.transition_SS, chain.transition_SS.T])
    run = recur(first_2S, matrix_2SS, e_2NS, packing, every, workspace)
    log_likelihood_B, weak_B = _total(run, chain.final_S, top_N, packing)
    num, alpha_NS = packing.num_sequences, run.post_DNS[0]
    # What has been read for the last time is written over from here on.
    gamma_NS, after_NS, before_NS = e_2NS[0], e_2NS[1][num:], run.prior_DNS[0][num:]
    torch.index_select(run.prior_DNS[1], 0, packing.reverse_N, out=gamma_NS)
    share_N1 = gamma_NS.mul_(alpha_NS).sum(1, keepdim=True)
    # Rows of alpha and of beta are scaled as it happened; their product undoes it, here and in transitions.
    gamma_NS.div_(share_N1)
    alpha_NS.div_(share_N1)
    weak_B[packing.sequence_N[~(share_N1[:, 0] > 0)]] = True
    torch.index_select(alpha_NS, 0, packing.before_N, out=before_NS)
    torch.index_select(run.post_DNS[1], 0, packing.reverse_N[num:], out=after_NS)
    if not weak_B.any():
        return LogSmoothed(log_likelihood_B, gamma_NS, summed_products(before_NS, after_NS) * chain.transition_SS)
    rows, inner = _subset(packing, weak_B)
    again = _smooth(chain, log_e_NS[rows], inner, _THEN[every], Workspace())
    log_likelihood_B[weak_B], gamma_NS[rows] = again.log_likelihood_B, again.gamma_NS
    sound_N = ~weak_B[packing.sequence_N[num:]]
    transition_count_SS = summed_products(before_NS[sound_N], after_NS[sound_N]) * chain.transition_SS
    return LogSmoothed(log_likelihood_B, gamma_NS, transition_count_SS + again.transition_SS)


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


def _scaled(log_e_NS: Tensor, e_NS: Tensor) -> Tensor:
    """Write e / max e into (N, S); returns log max e (N,)."""
    top_N = log_e_NS.amax(1)
    top_N = torch.where(top_N.isfinite(), top_N, 0.0)
    torch.sub(log_e_NS, top_N[:, None], out=e_NS)
    e_NS.exp_()
    return top_N


def _total(run: Recursion, final_S: Tensor, top_N: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """Return log P of each sequence, (B,) in packed order, and whether it was near underflow, (B,)."""
    end_B = run.post_DNS[0][packing.last_B] @ final_S
    total_B = end_B.log() + run.log_scale_DB[0]
    least_B = torch.minimum(run.least_DB.amin(0), end_B)
    return total_B.index_add_(0, packing.sequence_N, top_N), ~(least_B >= _LEAST_SCALE[end_B.dtype])


def _subset(packing: Packing, chosen_B: Tensor) -> tuple[Tensor, Packing]:
    """Return which packed frames belong to the chosen sequences, (n,), and their own packing."""
    rows = chosen_B[packing.sequence_N].nonzero()[:, 0]
    length_B = torch.bincount(packing.sequence_N, minlength=packing.num_sequences)
    # Longest first already, so the chosen keep their order, and their frames theirs.
    return rows, Packing.of(length_B[chosen_B].tolist(), rows.device)

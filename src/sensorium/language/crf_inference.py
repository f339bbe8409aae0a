"""Inference in a linear chain: sums over all tag sequences, the best ones, and marginals.

Enters: a `Chain`, the scores of every tag at every position and of every pair of neighbours.
Leaves: messages, log Z, best sequences, marginals; all exact.

    score(y | x) = first[y_1] + sum_t emission_t[y_t] + sum_t step[y_{t-1}, y_t] + last[y_N]
    p(y | x)     = exp(score(y | x)) / Z(x)

Sources: Lafferty, McCallum and Pereira 2001 (the model); Rabiner 1989, section V.A (scaling); Forney 1973
(Viterbi); Soong and Huang 1991 (the N best).

Sums run in exponential space, where one step of a whole batch is one matrix product:

    beta_{t-1} = M (exp(emission_t) * beta_t) / c_t,   M = exp(step),  c_t so that beta sums to 1

A number smaller than 1e-38 is lost there.  No message is affected by more than 1e-8 of itself as long as
all are above 1e-30 before scaling; where one is not, the same sums are done anew in log space.

Letters beside the shared ones: S tags (states), K best sequences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sensorium.core.logspace import NEG_INF, logsumexp

_TRUSTED = 1e-30


@dataclass(frozen=True, slots=True)
class Chain:
    """The scores of B sentences.

    Attributes:
        emission_BTS: (B, T, S) score of each tag at each position.
        length_B: (B,) int64 how many positions are real; the rest is padding on the right.
        first_S: (S,) score of beginning in a tag.
        step_SS: (S, S) score of going from a tag (row) to a tag (column).
        last_S: (S,) score of ending in a tag.
        is_linked: False = the last three are zero, so that positions do not know each other.
    """

    emission_BTS: Tensor
    length_B: Tensor
    first_S: Tensor
    step_SS: Tensor
    last_S: Tensor
    is_linked: bool = True

    @property
    def mask_BT(self) -> Tensor:
        """Mark the real positions, (B, T) bool."""
        position_T = torch.arange(self.emission_BTS.shape[1], device=self.length_B.device)
        return position_T < self.length_B[:, None]


def messages(chain: Chain) -> tuple[Tensor, Tensor]:
    """Sum over all that may follow each tag: log beta_t[s] = log sum over y_{t+1..N} of exp(score | y_t = s).

    Returns:
        log beta scaled to sum to 1 over the tags, (B, T, S), and the log of what it was scaled by, (B, T);
        their sum is log beta.  Differentiable; padding holds finite numbers without meaning.
    """
    num_rows, length, num_tags = chain.emission_BTS.shape
    if length == 0:
        return chain.emission_BTS, chain.emission_BTS.new_zeros(num_rows, 0)
    if not chain.is_linked:
        return _unlinked_messages(chain)
    # Each row is read from its own end, so that no padding comes before a real position.
    order_BT = _from_the_end(chain)
    reversed_BTS = chain.emission_BTS.gather(1, order_BT[..., None].expand(-1, -1, num_tags))
    with torch.autocast(chain.emission_BTS.device.type, enabled=False):
        arguments = (reversed_BTS.transpose(0, 1), chain.step_SS, chain.last_S)
        shape_TBS, scale_TB, is_exact = _ScaledMessages.apply(*arguments)  # type: ignore[no-untyped-call]
        if not is_exact:
            shape_TBS, scale_TB = _log_space_messages(*arguments)
    shape_BTS = shape_TBS.transpose(0, 1).gather(1, order_BT[..., None].expand(-1, -1, num_tags))
    return shape_BTS, scale_TB.transpose(0, 1).gather(1, order_BT)


def _unlinked_messages(chain: Chain) -> tuple[Tensor, Tensor]:
    """Return what `messages` does where nothing links the positions: log beta is the same for every tag."""
    emitted_BT = torch.where(chain.mask_BT, logsumexp(chain.emission_BTS, -1), 0)
    after_BT = emitted_BT.flip(1).cumsum(1).flip(1) - emitted_BT
    log_num_tags = math.log(chain.emission_BTS.shape[-1])
    return torch.full_like(chain.emission_BTS, -log_num_tags), after_BT + log_num_tags


def log_partition(chain: Chain) -> Tensor:
    """Return log Z, (B,); 0 for a sentence of no positions."""
    shape_BTS, scale_BT = messages(chain)
    if chain.emission_BTS.shape[1] == 0:
        return chain.emission_BTS.new_zeros(len(chain.length_B))
    log_z_B = logsumexp(chain.first_S + chain.emission_BTS[:, 0] + shape_BTS[:, 0], -1) + scale_BT[:, 0]
    return torch.where(chain.length_B > 0, log_z_B, 0)


def path_score(chain: Chain, tag_BT: Tensor) -> Tensor:
    """Return score(y | x), (B,); tags (B, T) at padding are ignored."""
    if tag_BT.shape[1] == 0:
        return chain.emission_BTS.new_zeros(len(chain.length_B))
    mask_BT = chain.mask_BT
    emitted_BT = chain.emission_BTS.gather(-1, tag_BT[..., None]).squeeze(-1)
    stepped_BT = chain.step_SS[tag_BT[:, :-1], tag_BT[:, 1:]]
    end_B = tag_BT.gather(1, (chain.length_B - 1).clamp_min(0)[:, None]).squeeze(1)
    ends_B = torch.where(chain.length_B > 0, chain.first_S[tag_BT[:, 0]] + chain.last_S[end_B], 0)
    return torch.where(mask_BT, emitted_BT, 0).sum(1) + torch.where(mask_BT[:, 1:], stepped_BT, 0).sum(1) + ends_B


@torch.no_grad()
def marginals(chain: Chain) -> Tensor:
    """Return p(y_t = s | x), (B, T, S); zeros at padding."""
    length = chain.emission_BTS.shape[1]
    ahead_BTS = chain.emission_BTS + messages(chain)[0]
    found: list[Tensor] = []
    for t in range(length):
        if t == 0:
            p_BS = (chain.first_S + ahead_BTS[:, 0]).softmax(-1)
        else:
            going_BSS = (chain.step_SS + ahead_BTS[:, t, None]).softmax(-1)
            p_BS = torch.einsum("bi,bij->bj", found[-1], going_BSS)
        found.append(p_BS)
    p_BTS = torch.stack(found, 1) if found else ahead_BTS
    return torch.where(chain.mask_BT[..., None], p_BTS, 0)


@torch.no_grad()
def best_paths(chain: Chain, num_best: int = 1) -> tuple[Tensor, Tensor]:
    """Find the K sequences of highest score, best first.

    Viterbi's sums forward say how good the best beginning of each tag is; then the K best ends grow backward,
    ranked by the best sequence that each belongs to.  An end that K others beat there is beaten by K sequences,
    so nothing that is wanted is dropped, and a step ranks K S candidates a row instead of K S for every tag.
    (A* with an exact estimate: Soong and Huang 1991, "A tree-trellis based fast search".)

    Returns:
        tags (B, K, T) int64, 0 at padding, and scores (B, K); -inf where there are fewer than K sequences.
    """
    num_rows, length, num_tags = chain.emission_BTS.shape
    if length == 0:
        score_BK = chain.emission_BTS.new_full((num_rows, num_best), NEG_INF)
        score_BK[:, 0] = 0
        return chain.length_B.new_zeros(num_rows, num_best, 0), score_BK
    begun = _best_beginnings(chain)
    whole_BS = F.pad(begun[-1] + chain.last_S, (0, max(0, num_best - num_tags)), value=NEG_INF)
    score_BK, tag_BK = whole_BS.topk(num_best, dim=1)
    tag_BK = tag_BK.clamp_max(num_tags - 1)
    end_BK = torch.where(score_BK > NEG_INF, chain.last_S[tag_BK], NEG_INF)  # the score of all after the tag
    from_SS, rank_BK = chain.step_SS.t(), torch.arange(num_best, device=tag_BK.device).expand_as(tag_BK)
    grown: list[tuple[Tensor, Tensor]] = []  # tags, and which end each of those a position before came from
    for t in range(length - 1, 0, -1):
        grown_BK = end_BK + chain.emission_BTS[:, t].gather(1, tag_BK)
        end_BX = (grown_BK[..., None] + from_SS[tag_BK]).flatten(1)
        top_BK, place_BK = (end_BX + begun[t - 1].repeat(1, num_best)).topk(num_best, dim=1)
        is_real_B1 = (t < chain.length_B)[:, None]
        grown.append((tag_BK, torch.where(is_real_B1, place_BK // num_tags, rank_BK)))
        score_BK = torch.where(is_real_B1, top_BK, score_BK)
        tag_BK = torch.where(is_real_B1, place_BK % num_tags, tag_BK)
        end_BK = torch.where(is_real_B1, end_BX.gather(1, place_BK), end_BK)
    tags = [tag_BK]
    for later_BK, came_from_BK in reversed(grown):
        rank_BK = came_from_BK.gather(1, rank_BK)
        tags.append(later_BK.gather(1, rank_BK))
    only_K = torch.arange(num_best, device=tag_BK.device) == 0
    score_BK = torch.where((chain.length_B == 0)[:, None], torch.where(only_K, 0.0, NEG_INF), score_BK)
    return torch.where(chain.mask_BT[:, None], torch.stack(tags, -1), 0), score_BK


def _best_beginnings(chain: Chain) -> list[Tensor]:
    """Return for each position the best score of all up to it that ends in each tag, (B, S); held at padding."""
    begun = [chain.first_S + chain.emission_BTS[:, 0]]
    from_SS = chain.step_SS.t().contiguous()
    for t in range(1, chain.emission_BTS.shape[1]):
        grown_BS = (begun[-1][:, None] + from_SS).amax(-1) + chain.emission_BTS[:, t]
        begun.append(torch.where((t < chain.length_B)[:, None], grown_BS, begun[-1]))
    return begun


def _from_the_end(chain: Chain) -> Tensor:
    """Return the order (B, T) that reverses each row's real positions; applied twice it does nothing."""
    position_T = torch.arange(chain.emission_BTS.shape[1], device=chain.length_B.device)
    back_BT = chain.length_B[:, None] - 1 - position_T
    return torch.where(back_BT >= 0, back_BT, position_T)


class _ScaledMessages(torch.autograd.Function):
    """log beta of reversed sentences (T, B, S) by scaled sums; k = 0 is each row's last position.

    Written out because a step is three small operations, and recording them for autograd costs more than
    doing them: the backward pass below is three more.
    """

    @staticmethod
    def forward(ctx: Any, emission_TBS: Tensor, step_SS: Tensor, last_S: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Return log beta scaled to sum to 1, the log scale, and whether no number became too small."""
        num_tags = emission_TBS.shape[-1]
        top_TB = emission_TBS.amax(-1)
        sent_TBS = (emission_TBS - top_TB[..., None]).exp()  # becomes exp(emission_k) * beta_k
        matrix_SS = (step_SS - step_SS.max()).exp()
        # One more column of M' is the sum of the others, so that one product gives beta_k and its sum.
        wide_SX = torch.cat([matrix_SS.t(), matrix_SS.sum(0)[:, None]], 1)
        wide_TBX = emission_TBS.new_empty(*emission_TBS.shape[:2], num_tags + 1)
        raw_TBS, sum_TB1 = wide_TBX[..., :num_tags], wide_TBX[..., num_tags:]  # beta_k before scaling
        raw_TBS[0] = (last_S - last_S.max()).exp()
        sum_TB1[0] = raw_TBS[0].sum(-1, keepdim=True)
        wides, sents = wide_TBX.unbind(), sent_TBS.unbind()
        for k, (raw_BS, sum_B1) in enumerate(zip(raw_TBS.unbind(), sum_TB1.unbind(), strict=True)):
            if k:
                torch.mm(sents[k - 1], wide_SX, out=wides[k])
            sents[k].mul_(raw_BS).div_(sum_B1)
        ctx.save_for_backward(matrix_SS, raw_TBS, sum_TB1, sent_TBS)
        log_sum_TB = sum_TB1.squeeze(-1).log()
        log_sum_TB[0] += last_S.max()
        log_sum_TB[1:] += top_TB[:-1] + step_SS.max()
        shape_TBS = (raw_TBS / sum_TB1).log()
        is_exact = bool((raw_TBS >= _TRUSTED).all())
        return shape_TBS, log_sum_TB.cumsum(0), is_exact

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Send the gradient of log beta_k on to what it was summed from, k = T-1 to 1."""
        matrix_SS, raw_TBS, sum_TB1, sent_TBS = ctx.saved_tensors
        shape_grad_TBS, scale_grad_TB = grads[0], grads[1]
        # log beta = shape + scale, scale = logsumexp(log beta): the local gradient of log beta.
        surplus_TB1 = scale_grad_TB[..., None] - shape_grad_TBS.sum(-1, keepdim=True)
        local_TBS = torch.addcmul(shape_grad_TBS, raw_TBS / sum_TB1, surplus_TB1)
        total_TBS = local_TBS.clone()
        weight_TBS = torch.empty_like(raw_TBS)
        totals, weights = total_TBS.unbind(), weight_TBS.unbind()
        raws, sents = raw_TBS.unbind(), sent_TBS.unbind()
        spread_BS = torch.empty_like(raws[0])
        for k in range(len(raws) - 1, 0, -1):
            torch.div(totals[k], raws[k], out=weights[k])
            torch.mm(weights[k], matrix_SS, out=spread_BS)
            totals[k - 1].addcmul_(spread_BS, sents[k - 1])
        step_grad_SS = matrix_SS * (weight_TBS[1:].flatten(0, 1).t() @ sent_TBS[:-1].flatten(0, 1))
        return total_TBS - local_TBS, step_grad_SS, total_TBS[0].sum(0)


def _log_space_messages(emission_TBS: Tensor, step_SS: Tensor, last_S: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `_ScaledMessages` does, by sums in log space: slower, and safe at any size of score."""
    log_beta_BS = last_S.expand(emission_TBS.shape[1:])
    found = [log_beta_BS]
    for emission_BS in emission_TBS[:-1]:
        log_beta_BS = logsumexp(step_SS + (emission_BS + log_beta_BS)[:, None], -1)
        found.append(log_beta_BS)
    log_beta_TBS = torch.stack(found)
    scale_TB = logsumexp(log_beta_TBS, -1)
    return log_beta_TBS - scale_TB[..., None], scale_TB

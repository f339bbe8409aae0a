"""A linear chain as a scorer of tokens: from scores of whole tag sequences to log p of each tag given those before.

Enters: a `Chain` (`crf_inference`).  Leaves: log p of each tag; EOS has probability 1 right after the last
position, and 0 before it.  A tag's token id is its number plus UNK: the tags are UNK and the ordinary tokens.

    log p(y_t | y_<t, x) = log softmax_s(step[y_{t-1}, s] + emission_t[s] + log beta_t[s])

beta_t are the backward messages: all that the rest of the sentence says about y_t.  So the product over t is
exactly p(y | x).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.core.logspace import NEG_INF
from sensorium.core.vocabulary import EOS, UNK
from sensorium.language.crf_inference import Chain, best_paths, log_partition, messages


@dataclass(frozen=True, slots=True)
class ChainState:
    """Where each row stands.

    Attributes:
        ahead_BTS: (B, T, S) what each position and all after it say about its tag.
        length_B: (B,) positions of the sentence.
        position_B: (B,) the next one to be tagged; -1 before BOS.
        last_B: (B,) the token before it.
    """

    ahead_BTS: Tensor
    length_B: Tensor
    position_B: Tensor
    last_B: Tensor


@torch.no_grad()
def start(chain: Chain) -> ChainState:
    """Begin B rows."""
    none_B = torch.full_like(chain.length_B, -1)
    return ChainState(_ahead(chain), chain.length_B, none_B, torch.zeros_like(none_B))


@torch.no_grad()
def extend(
    state: ChainState, token_BT: Tensor, mask_BT: Tensor, first_S: Tensor, step_SS: Tensor
) -> tuple[Tensor, ChainState]:
    """Feed T tokens; returns log p(next) (B, V) and the new state.

    Args:
        first_S, step_SS: the chain's scores of beginning and of going on.
    """
    num_B = mask_BT.sum(1)
    position_B = state.position_B + num_B
    last_B = token_BT.gather(1, (num_B - 1)[:, None]).squeeze(1)
    ahead_BS = _positions_at(state.ahead_BTS, position_B[:, None])[:, 0]
    is_inside_B1 = (position_B < state.length_B)[:, None]
    tag_BS = (_going_on(first_S, step_SS, last_B) + ahead_BS).log_softmax(-1)
    log_p_BV = F.pad(torch.where(is_inside_B1, tag_BS, NEG_INF), (UNK, 0), value=NEG_INF)
    log_p_BV[:, EOS] = torch.where(is_inside_B1[:, 0], NEG_INF, 0.0)
    return log_p_BV, ChainState(state.ahead_BTS, state.length_B, position_B, last_B)


def score(chain: Chain, token_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return log p(token_t | before t) (B, T); -inf for a sequence that is not as long as the sentence."""
    before_BT, token_BT = token_BT[:, :-1], token_BT[:, 1:]
    position_T = torch.arange(token_BT.shape[1], device=token_BT.device)
    ahead_BTS = _positions_at(_ahead(chain), position_T.expand(token_BT.shape))
    tag_BTS = (_going_on(chain.first_S, chain.step_SS, before_BT) + ahead_BTS).log_softmax(-1)
    log_p_BT = tag_BTS.gather(-1, (token_BT - UNK).clamp_min(0)[..., None]).squeeze(-1)
    is_inside_BT = position_T < chain.length_B[:, None]
    log_p_BT = torch.where(is_inside_BT & (token_BT >= UNK), log_p_BT, NEG_INF)
    log_p_BT = torch.where(~is_inside_BT & (token_BT == EOS), 0.0, log_p_BT)
    return F.pad(torch.where(mask_BT[:, 1:], log_p_BT, 0.0), (1, 0))


@torch.no_grad()
def best(chain: Chain, num_best: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Find the likeliest tag sequences, UNK not among the tags (Viterbi).

    Returns:
        token ids (B, K, T), PAD at padding; log p (B, K), -inf where there are fewer than K; lengths (B,).
    """
    emission_BTS = chain.emission_BTS.clone()
    emission_BTS[..., 0] = NEG_INF
    tag_BKT, score_BK = best_paths(
        Chain(emission_BTS, chain.length_B, chain.first_S, chain.step_SS, chain.last_S), num_best
    )
    token_BKT = torch.where(chain.mask_BT[:, None], tag_BKT + UNK, 0)
    return token_BKT, score_BK - log_partition(chain)[:, None], chain.length_B


def _ahead(chain: Chain) -> Tensor:
    return chain.emission_BTS + messages(chain)[0]


def _going_on(first_S: Tensor, step_SS: Tensor, token: Tensor) -> Tensor:
    """Return the scores of going on from `token`: (..., S); from BOS, those of beginning."""
    return F.embedding((token - (UNK - 1)).clamp_min(0), torch.cat([first_S[None], step_SS]))


def _positions_at(ahead_BTS: Tensor, position_BT: Tensor) -> Tensor:
    """Return the rows' positions; beyond the end, finite numbers without meaning."""
    if ahead_BTS.shape[1] == 0:
        ahead_BTS = F.pad(ahead_BTS, (0, 0, 0, 1))
    index_BT1 = position_BT.clamp(0, ahead_BTS.shape[1] - 1)[..., None]
    return ahead_BTS.gather(1, index_BT1.expand(-1, -1, ahead_BTS.shape[2]))

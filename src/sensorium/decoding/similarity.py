"""How like each other two texts are: smoothed sentence BLEU between all texts of one row.

Enters: N texts as token ids.  Leaves: (N, N), in 0..1.

    s(c, e) = min(1, exp(1 - |e| / |c|)) (prod_n p_n)^(1/4),   n = 1..4
    p_1 = m_1 / t_1,   p_n = (m_n + 1) / (t_n + 1)

t_n: n-grams of c; m_n: how many of them e has too, each at most as often as e has it.  Smoothing by one is of Lin
and Och 2004, "ORANGE", section 4: two texts rarely have a 4-gram in common, and still some are nearer than others.

Letters beside the shared ones: G distinct n-grams.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_ORDER = 4


def sentence_bleu(token_NT: Tensor, length_N: Tensor) -> Tensor:
    """Return how near each text comes to each other one as its reference, (N, N) float32: candidates by references.

    Args:
        token_NT: (N, T) int64 ids, the first length_N of them real.
        length_N: (N,) number of words; a text without words is like none.
    """
    words_N = length_N.float()
    log_p_NN = torch.zeros(len(token_NT), len(token_NT), device=token_NT.device)
    for order in range(1, MAX_ORDER + 1):
        match_NN, smoothing = clipped_matches(token_NT, length_N, order), float(order > 1)
        total_N1 = (words_N[:, None] - order + 1).clamp_min(0)
        log_p_NN += ((match_NN + smoothing) / (total_N1 + smoothing).clamp_min(1)).log() / MAX_ORDER
    brevity_NN = (1 - words_N[None] / words_N[:, None].clamp_min(1)).clamp_max(0)
    return (log_p_NN + brevity_NN).exp()


def clipped_matches(token_NT: Tensor, length_N: Tensor, order: int) -> Tensor:
    """Count the n-grams that each two texts have in common, sum_g min(count_1(g), count_2(g)): (N, N) float32."""
    if token_NT.shape[1] < order:
        return torch.zeros(len(token_NT), len(token_NT), device=token_NT.device)
    gram_NPO = token_NT.unfold(1, order, 1)
    real_NP = torch.arange(gram_NPO.shape[1], device=token_NT.device) <= (length_N[:, None] - order)
    text_Q, _ = real_NP.nonzero(as_tuple=True)
    kinds_GO, gram_Q = torch.unique(gram_NPO[real_NP], dim=0, return_inverse=True)
    count_NG = torch.zeros(len(token_NT), len(kinds_GO), device=token_NT.device)
    count_NG.index_put_((text_Q, gram_Q), torch.ones(len(text_Q), device=token_NT.device), accumulate=True)
    # min(a, b) is the number of levels l = 1, 2, ... that both a and b reach.
    match_NN = torch.zeros(len(token_NT), len(token_NT), device=token_NT.device)
    for level in range(1, int(count_NG.max()) + 1 if count_NG.numel() else 1):
        reaches_NG = (count_NG >= level).float()
        reached_G = reaches_NG.sum(0) > 1
        match_NN += reaches_NG[:, reached_G] @ reaches_NG[:, reached_G].T
    own_N = torch.zeros_like(match_NN[0]).index_add_(0, text_Q, torch.ones_like(text_Q, dtype=match_NN.dtype))
    return match_NN.diagonal_scatter(own_N)

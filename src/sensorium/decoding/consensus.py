"""Minimum Bayes risk: of many texts, choose the one that is likest to all that might be said.

Enters: the texts that a search found, a scorer to draw more from, and texts that a memory recalls.
Leaves: the same kind of result, its texts ordered by

    worth(c) = (1 - r) mean over draws d of s(c, d)  +  r sum_k a_k s(c, e_k)

s: smoothed sentence BLEU (`similarity`); d: texts drawn from the scorer, so that the mean estimates the
expectation under it; e_k: what was said of the training rows most like this one, a_k how near they are, summing
to 1; r: the share of memory.  Where nothing was drawn, the n best stand for draws, each as probable as the scorer
says.  The likeliest text is the best guess at the whole text, and often a short one; this one is the best guess
where n-grams are judged.

Sources: Kumar and Byrne 2004, "Minimum Bayes-risk decoding for statistical machine translation", equation 4;
evidence by draws: Eikema and Aziz 2022 (arXiv 2108.04718), equation 5; the consensus of what was said of the
nearest photos: Devlin et al. 2015 (arXiv 1505.04467), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Section
from sensorium.core.logspace import NEG_INF
from sensorium.core.protocols import Scorer
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import EOS, PAD
from sensorium.decoding.filters import Filter
from sensorium.decoding.generate import generate
from sensorium.decoding.generated import Generated, trimmed
from sensorium.decoding.search import Sample
from sensorium.decoding.similarity import sentence_bleu

_MOST_PATHS = 1024  # drawn at a time, which bounds memory

Recalled = tuple[Tensor, Tensor]
"""Texts (B, K, S), EOS and PAD behind, and what each weighs (B, K) >= 0."""


class Consensus(Section):
    """`[decoding.consensus]`: choose the text likest to all that might be said; see `consensus`."""

    draws: int = Field(32, ge=0, description="texts drawn from the model; 0 takes the n best for them")
    temperature: float = Field(1.0, gt=0, description="of the draws; below 1, the likely becomes likelier")
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0)
    memory: str | None = Field(None, description="a scorer that recalls what was said of similar rows, by name")
    memory_share: float = Field(0.5, ge=0, le=1, description="of the evidence")


@torch.no_grad()
def drawn(
    scorer: Scorer,
    cond: Conditioning,
    config: Consensus,
    *,
    filters: Sequence[Filter] = (),
    max_tokens: int,
) -> Generated:
    """Draw `config.draws` texts for every row; a row's do not depend on the rows beside it."""
    size = max(1, _MOST_PATHS // config.draws)
    cond = replace(cond, row_id_B=cond.numbers())
    search = Sample(temperature=config.temperature, top_p=config.top_p, seed=config.seed, draws=config.draws)
    pieces = []
    for first in range(0, max(1, cond.num_rows), size):
        row_N = torch.arange(first, min(first + size, cond.num_rows), device=cond.memory.x_BTD.device)
        pieces.append(generate(scorer, select(cond, row_N), search=search, filters=filters, max_tokens=max_tokens))
    return _joined(pieces, 0)


def agreed(found: Generated, draws: Generated | None, recalled: Recalled | None, share: float) -> Generated:
    """Return the texts found and drawn, each row's worthiest first; its `score_BK` is what a text is worth, 0..1.

    Args:
        found: the n best of a search.
        draws: what was drawn; None lets `found` stand for it, by its log p.
        recalled: what a memory says; a row of weights 0 goes without.
        share: r, how much memory counts.
    """
    every = found if draws is None else _joined([found, draws], 1)
    weight_BK = _evidence(found, draws)
    told = [None] * len(weight_BK) if recalled is None else list(zip(*recalled, strict=True))
    worth = [_worth(*row, share) for row in zip(every.token_BKT, weight_BK, told, strict=True)]
    if not worth:
        return every
    is_text_BK = every.score_BK != NEG_INF
    score_BK = torch.where(is_text_BK, torch.stack(worth), NEG_INF)
    order_BK = score_BK.argsort(dim=1, descending=True, stable=True)
    order_BKT = order_BK[..., None].expand_as(every.token_BKT)
    return Generated(
        every.token_BKT.gather(1, order_BKT), every.log_p_BKT.gather(1, order_BKT), score_BK.gather(1, order_BK)
    )


def _evidence(found: Generated, draws: Generated | None) -> Tensor:
    """Return what each text weighs as evidence, (B, K), summing to 1: draws alike, or the n best by their log p."""
    if draws is None:
        return torch.softmax(found.total_BK.float(), 1).nan_to_num(0.0)
    weight_BK = (draws.score_BK != NEG_INF).float()
    weight_BK = weight_BK / weight_BK.sum(1, keepdim=True).clamp_min(1)
    return F.pad(weight_BK, (found.score_BK.shape[1], 0))


def _worth(token_KT: Tensor, weight_K: Tensor, recalled: Recalled | None, share: float) -> Tensor:
    """Return what each text of one row is worth, (K,)."""
    num_texts = len(token_KT)
    if recalled is not None and bool(recalled[1].any()):
        told_KS, told_K = recalled
        longest = max(token_KT.shape[1], told_KS.shape[1])
        token_KT = torch.cat([_padded(token_KT, longest), _padded(told_KS.to(token_KT), longest)])
        weight_K = torch.cat([(1 - share) * weight_K, share * told_K.float() / told_K.sum()])
    length_K = ((token_KT != EOS) & (token_KT != PAD)).sum(1)
    return sentence_bleu(token_KT, length_K)[:num_texts] @ weight_K


def _padded(token_KT: Tensor, length: int) -> Tensor:
    return F.pad(token_KT, (0, length - token_KT.shape[1]), value=PAD)


def _joined(pieces: Sequence[Generated], dim: int) -> Generated:
    """Put rows below rows (dim 0), or the texts of each row beside each other (dim 1)."""
    longest = max((piece.token_BKT.shape[2] for piece in pieces), default=0)

    def wide(of: Callable[[Generated], Tensor], value: float) -> Tensor:
        return torch.cat([F.pad(of(p), (0, longest - p.token_BKT.shape[2]), value=value) for p in pieces], dim)

    scores = torch.cat([piece.score_BK for piece in pieces], dim)
    return trimmed(wide(lambda p: p.token_BKT, PAD), wide(lambda p: p.log_p_BKT, 0.0), scores)

"""Which scorer an answer came from: for every token, what each said of it, and its share.

Enters: a model, rows and the tokens of their answers.  Leaves: one `Explanation` a row, plain numbers.
How shares are meant: `sensorium.language.shares`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sensorium.core.types import Batch, Conditioning
from sensorium.core.vocabulary import EOS
from sensorium.language.pieces import pieces, score_in_pieces
from sensorium.language.shares import Shares, joined
from sensorium.model.multimodal import MultimodalLM


@dataclass(frozen=True, slots=True)
class ScorerShare:
    """What one scorer has to do with one token.

    Attributes:
        scorer: its name in the config.
        log_p: its own log p of the token, nats; -inf where it rules the token out.
        weight: its weight before the token: a mixture's or a gate's share, a product's exponent.
        share: its share in the token, 0..1; all scorers' sum to 1.
    """

    scorer: str
    log_p: float
    weight: float
    share: float


@dataclass(frozen=True, slots=True)
class TokenExplanation:
    """One token, its log p in nats by all scorers together, and by each."""

    token: str
    log_p: float
    scorers: tuple[ScorerShare, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One answer, token by token, the end of the text included where the text has one.

    Attributes:
        text: the answer.
        mix: how the scorers are composed: linear, product, gate; "alone" where there is one.
        tokens: in order; special tokens as the vocabulary spells them.
        cut: the inputs whose item was longer than they take: nothing beyond that length was explained.
    """

    text: str
    mix: str
    tokens: tuple[TokenExplanation, ...]
    cut: tuple[str, ...] = ()

    @property
    def log_p(self) -> float:
        """Return log p of the whole text in nats."""
        return math.fsum(token.log_p for token in self.tokens)

    def mean_shares(self) -> dict[str, float]:
        """Return each scorer's share, averaged over the tokens."""
        totals: dict[str, float] = {}
        for token in self.tokens:
            for part in token.scorers:
                totals[part.scorer] = totals.get(part.scorer, 0.0) + part.share / len(self.tokens)
        return totals

    def facts(self) -> dict[str, Any]:
        """Return plain values for JSON, in which a log p of -inf is None."""
        facts = {"mix": self.mix, "log_p": _finite(self.log_p), "tokens": [_token_facts(t) for t in self.tokens]}
        return facts | ({"cut": list(self.cut)} if self.cut else {})


def explain(
    model: MultimodalLM, batch: Batch, texts: Sequence[str], ids: Sequence[Sequence[int]]
) -> list[Explanation]:
    """Explain one answer a row: `texts`, whose tokens are `ids` (without BOS; with EOS where the text ended).

    `batch` need not have targets.  The model is used as it is, so put it into `eval()` first.
    """
    token_BT, mask_BT = model.sequences(ids)
    with torch.inference_mode():
        cond = model.condition(batch)
        shares = _shares(model, token_BT, mask_BT, cond)
    names, mix = list(model.parts), "alone" if len(model.parts) == 1 else model.config.language.mix
    columns = [x.movedim(0, -1).tolist() for x in (shares.log_p_KBT, shares.weight_KBT, shares.share_KBT)]
    totals, tokens = shares.together_BT.tolist(), model.vocab.tokens
    explanations = []
    for row, (text, chosen) in enumerate(zip(texts, ids, strict=True)):
        told = [
            TokenExplanation(
                tokens[token],
                totals[row][t],
                tuple(map(ScorerShare, names, *(column[row][t] for column in columns))),
            )
            for t, token in enumerate(chosen, start=1)
        ]
        explanations.append(Explanation(text, mix, tuple(told)))
    return explanations


def _shares(model: MultimodalLM, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Shares:
    """Ask every scorer once, within bounded memory."""
    if len(model.parts) == 1:
        log_p_BT = score_in_pieces(model.scorer, token_BT, mask_BT, cond)
        return Shares(log_p_BT[None], torch.ones_like(log_p_BT)[None], torch.ones_like(log_p_BT)[None], log_p_BT)
    cut = pieces(token_BT, mask_BT, cond, len(model.vocab))
    return joined([model.scorer.shares(*piece) for piece in cut], token_BT.shape[1])


def answer_ids(model: MultimodalLM, text: str) -> list[int]:
    """Return the ids of a text as training targets have them, with EOS."""
    return [*model.tokenizer.encode(text), EOS]


def _token_facts(token: TokenExplanation) -> dict[str, Any]:
    scorers = {
        part.scorer: {"log_p": _finite(part.log_p), "weight": part.weight, "share": part.share}
        for part in token.scorers
    }
    return {"token": token.token, "log_p": _finite(token.log_p), "scorers": scorers}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

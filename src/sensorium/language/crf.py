"""The linear-chain CRF: a scorer of tag sequences, one tag a position of an input.

Enters: encodings of the tagged inputs (`Conditioning.parts`), one position a token.  Leaves: log p of each
tag given the tags before it and the whole sentence; EOS has probability 1 right after the last position,
and 0 before it.  Source: Lafferty, McCallum and Pereira 2001; over a network, Huang, Xu and Yu 2015.

    emission_t = W x_t + b
    log p(y_t | y_<t, x) = log softmax_s(step[y_{t-1}, s] + emission_t[s] + log beta_t[s])

beta_t are the backward messages (`crf_inference`): all that the rest of the sentence says about y_t.  So
the product over t is exactly p(y | x), and a CRF is a language model of tags, to be mixed with any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.logspace import NEG_INF
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import EOS, UNK, Vocab
from sensorium.language.crf_inference import Chain, best_paths, log_partition, marginals, messages
from sensorium.language.emission import pack_left


@dataclass(frozen=True, slots=True)
class CrfState:
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


class Crf(nn.Module):
    """Score tags by a linear chain over the positions of an input.

    The tags are UNK (a tag that training never showed) and every ordinary token of `vocab`.

    Args:
        config: what the scores are computed from.
        vocab: the tags.
        width: D of the encodings.
    """

    fitted_by = "gradient"

    class Config(Section):
        """What a tag's score is computed from."""

        inputs: tuple[str, ...] = ()
        """The inputs whose positions are tagged, all of one length; their encodings are added up.
        None named: the only input there is."""
        transitions: bool = True
        """Score pairs of neighbouring tags; without, each position is a softmax of its own."""
        project: bool = True
        """Map encodings to tags by W, b; without, their first channels are the scores themselves."""
        hidden: int = Field(0, ge=0, le=65_536)
        """Units of a layer before W; 0 = none."""
        context: Literal["none", "memory"] = "none"
        """Add the averaged fused memory (a photo, say) to every position."""
        dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab, self.width = config, vocab, width
        self.num_tags = len(vocab) - UNK
        if not config.project and (config.hidden or width < self.num_tags):
            raise ModelError(
                f"{self.num_tags} tags cannot be read off encodings of width {width}"
                if not config.hidden
                else "a hidden layer needs a projection after it",
                where="language.crf.project",
                advice=f"set project = true, or hidden = 0 and fusion.width = {self.num_tags} or more",
            )
        self.context = nn.Linear(width, width, bias=False) if config.context == "memory" else None
        self.hidden = nn.Linear(width, config.hidden) if config.hidden else None
        self.emit = nn.Linear(config.hidden or width, self.num_tags) if config.project else None
        shape = self.num_tags if config.transitions else 0
        self.first_S = nn.Parameter(torch.zeros(shape))
        self.step_SS = nn.Parameter(torch.zeros(shape, shape))
        self.last_S = nn.Parameter(torch.zeros(shape))

    def tagged_inputs(self, names: Iterable[str]) -> list[str]:
        """Return which of the inputs `names` are tagged.

        Raises:
            ModelError: none of those in the config is there, or the config names none and there are several.
        """
        names = list(names)
        chosen = [name for name in self.config.inputs if name in names] if self.config.inputs else names
        if chosen and (self.config.inputs or len(names) == 1):
            return chosen
        raise ModelError(
            f"cannot tell which of {', '.join(names)} to tag",
            where="language.crf.inputs",
            advice=f'name the tagged ones, such as inputs = ["{names[0]}"]',
        )

    def chain(self, cond: Conditioning) -> Chain:
        """Score every tag at every position: a Chain of float32 (or float64) scores."""
        x_BTD, length_B = self._positions(cond)
        if self.context is not None and cond.memory.mask_BT.shape[1]:
            x_BTD = x_BTD + self.context(cond.memory.mean_BD())[:, None]
        x_BTD = F.dropout(x_BTD, self.config.dropout, self.training)
        if self.hidden is not None:
            x_BTD = F.dropout(F.gelu(self.hidden(x_BTD)), self.config.dropout, self.training)
        emission_BTS = self.emit(x_BTD) if self.emit is not None else x_BTD[..., : self.num_tags]
        if emission_BTS.dtype in (torch.float16, torch.bfloat16):
            emission_BTS = emission_BTS.float()
        if self.config.transitions:
            return Chain(emission_BTS, length_B, self.first_S, self.step_SS, self.last_S)
        none_SS = emission_BTS.new_zeros(self.num_tags, self.num_tags)
        return Chain(emission_BTS, length_B, none_SS[0], none_SS, none_SS[0])

    def start(self, cond: Conditioning) -> CrfState:
        """Begin B rows."""
        with torch.no_grad():
            chain = self.chain(cond)
            none_B = torch.full_like(chain.length_B, -1)
            return CrfState(self._ahead(chain), chain.length_B, none_B, torch.zeros_like(none_B))

    @torch.no_grad()
    def extend(self, state: CrfState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, CrfState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        num_B = mask_BT.sum(1)
        position_B = state.position_B + num_B
        last_B = token_BT.gather(1, (num_B - 1)[:, None]).squeeze(1)
        ahead_BS = _positions_at(state.ahead_BTS, position_B[:, None])[:, 0]
        is_inside_B1 = (position_B < state.length_B)[:, None]
        tag_BS = (self._steps(last_B) + ahead_BS).log_softmax(-1)
        log_p_BV = tag_BS.new_full((len(num_B), len(self.vocab)), NEG_INF)
        log_p_BV[:, UNK:] = torch.where(is_inside_B1, tag_BS, NEG_INF)
        log_p_BV[:, EOS] = torch.where(is_inside_B1[:, 0], NEG_INF, 0.0)
        return log_p_BV, CrfState(state.ahead_BTS, state.length_B, position_B, last_B)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T); -inf for a sequence that is not as long as the sentence."""
        chain = self.chain(cond)
        before_BT, token_BT = token_BT[:, :-1], token_BT[:, 1:]
        position_T = torch.arange(token_BT.shape[1], device=token_BT.device)
        ahead_BTS = _positions_at(self._ahead(chain), position_T.expand(token_BT.shape))
        tag_BTS = (self._steps(before_BT) + ahead_BTS).log_softmax(-1)
        log_p_BT = tag_BTS.gather(-1, (token_BT - UNK).clamp_min(0)[..., None]).squeeze(-1)
        is_inside_BT = position_T < chain.length_B[:, None]
        log_p_BT = torch.where(is_inside_BT & (token_BT >= UNK), log_p_BT, NEG_INF)
        log_p_BT = torch.where(~is_inside_BT & (token_BT == EOS), 0.0, log_p_BT)
        return F.pad(torch.where(mask_BT[:, 1:], log_p_BT, 0.0), (1, 0))

    @torch.no_grad()
    def best(self, cond: Conditioning, num_best: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Find the likeliest tag sequences, UNK not among the tags (Viterbi).

        Returns:
            token ids (B, K, T), PAD at padding; log p (B, K), -inf where there are fewer than K; lengths (B,).
        """
        chain = self.chain(cond)
        log_z_B = log_partition(chain)
        emission_BTS = chain.emission_BTS.clone()
        emission_BTS[..., 0] = NEG_INF
        known = Chain(emission_BTS, chain.length_B, chain.first_S, chain.step_SS, chain.last_S)
        tag_BKT, score_BK = best_paths(known, num_best)
        token_BKT = torch.where(chain.mask_BT[:, None], tag_BKT + UNK, 0)
        return token_BKT, score_BK - log_z_B[:, None], chain.length_B

    @torch.no_grad()
    def marginals(self, cond: Conditioning) -> Tensor:
        """Return p(tag at t | x), (B, T, V); zeros at padding."""
        p_BTS = marginals(self.chain(cond))
        return F.pad(p_BTS, (UNK, 0))

    def _ahead(self, chain: Chain) -> Tensor:
        if not self.config.transitions:
            return chain.emission_BTS
        return chain.emission_BTS + messages(chain)[0]

    def _steps(self, token: Tensor) -> Tensor:
        """Return the scores of going on from `token`: (..., S); from BOS, those of beginning."""
        if not self.config.transitions:
            return self.step_SS.new_zeros(self.num_tags)
        table = torch.cat([self.first_S[None], self.step_SS])
        return F.embedding((token - (UNK - 1)).clamp_min(0), table)

    def _positions(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Add up the encodings of the tagged inputs: (B, T, D), and the lengths (B,)."""
        if not cond.parts:
            weight = self.step_SS
            none_B = torch.zeros(cond.num_rows, dtype=torch.int64, device=weight.device)
            return weight.new_zeros(cond.num_rows, 0, self.width), none_B
        parts = [cond.parts[name] for name in self.tagged_inputs(cond.parts)]
        longest = max(part.mask_BT.shape[1] for part in parts)
        summed_BTD = torch.stack([F.pad(_real(part), (0, 0, 0, longest - part.x_BTD.shape[1])) for part in parts])
        return summed_BTD.sum(0), torch.stack([tagged_length(part) for part in parts]).amax(0)


def tagged_length(part: Encoded) -> Tensor:
    """Return how many positions each row has to be tagged, (B,); none where the input is absent."""
    return torch.where(part.present_B, part.mask_BT.sum(1), 0)


def _real(part: Encoded) -> Tensor:
    """Return the real positions first and zeros after them, (B, T, D)."""
    x_BTD, mask_BT = part.x_BTD, part.mask_BT
    if (mask_BT[:, 1:] > mask_BT[:, :-1]).any():  # padding stands before something real
        x_BTD, mask_BT = pack_left(x_BTD, mask_BT)
    return torch.where((mask_BT & part.present_B[:, None])[..., None], x_BTD, 0)


def _positions_at(ahead_BTS: Tensor, position_BT: Tensor) -> Tensor:
    """Return the rows' positions; beyond the end, finite numbers without meaning."""
    if ahead_BTS.shape[1] == 0:
        ahead_BTS = F.pad(ahead_BTS, (0, 0, 0, 1))
    index_BT1 = position_BT.clamp(0, ahead_BTS.shape[1] - 1)[..., None]
    return ahead_BTS.gather(1, index_BT1.expand(-1, -1, ahead_BTS.shape[2]))

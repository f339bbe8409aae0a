"""The linear-chain CRF: a scorer of tag sequences, one tag a position of an input.

Enters: encodings of the tagged inputs (`Conditioning.parts`), one position a token.  Leaves: log p of each
tag given the tags before it and the whole sentence; EOS has probability 1 right after the last position,
and 0 before it.  Source: Lafferty, McCallum and Pereira 2001; over a network, Huang, Xu and Yu 2015.

    emission_t = W x_t + b
    score(y | x) = first[y_1] + sum_t emission_t[y_t] + sum_t step[y_{t-1}, y_t] + last[y_N]

`chain_scoring` makes of these scores p(y_t | y_<t, x), so that a CRF is a language model of tags, to be mixed with
any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.language.chain_scoring import ChainState, best, extend, score, start
from sensorium.language.crf_inference import Chain, marginals
from sensorium.language.emission import pack_left


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
        return Chain(emission_BTS, length_B, *self.links(), self.config.transitions)

    def start(self, cond: Conditioning) -> ChainState:
        """Begin B rows."""
        return start(self.chain(cond))

    def extend(self, state: ChainState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, ChainState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        first_S, step_SS, _ = self.links()
        return extend(state, token_BT, mask_BT, first_S, step_SS)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T); -inf for a sequence that is not as long as the sentence."""
        return score(self.chain(cond), token_BT, mask_BT)

    def best(self, cond: Conditioning, num_best: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Find the likeliest tag sequences; see `chain_scoring.best`."""
        return best(self.chain(cond), num_best)

    @torch.no_grad()
    def marginals(self, cond: Conditioning) -> Tensor:
        """Return p(tag at t | x), (B, T, V); zeros at padding."""
        return F.pad(marginals(self.chain(cond)), (UNK, 0))

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of beginning in a tag, of going on, and of ending; zeros without transitions."""
        if self.config.transitions:
            return self.first_S, self.step_SS, self.last_S
        none_SS = self.step_SS.new_zeros(self.num_tags, self.num_tags)
        return none_SS[0], none_SS, none_SS[0]

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

"""Connectionist temporal classification as a scorer: texts spelled by the frames of one input.

Enters: one input's encodings, a position a frame.  Leaves: log p(next token), exact under the model

    p(text | frames) = sum over alignments of prod_t y_t,   y_t = softmax(W h_t) over blank and tokens

where h_t is x_t, the input's encoding, and beside it what `layers` bidirectional recurrent layers make of it

(Graves et al. 2006; as prefix probabilities, Watanabe et al. 2017; see `ctc_lattice`).  Tokens come only from
frames: what has been written changes where they can stand, not what they are, so a product with an
n-gram adds what CTC lacks.

A row without the input has no frames; it is scored by a learned distribution that knows no context.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.pytree import select
from sensorium.core.recurrence import Recurrence
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language.ctc_lattice import BLANK, LEAST, Prefix, empty_prefix, extended, following, next_tokens
from sensorium.language.emission import emission_bias

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Emissions:
    """What each frame says of blank and tokens, B rows.

    Attributes:
        log_y_BFV: (B, F, V) float32 log-probabilities; class PAD is the blank.  Real frames come first,
            frames after a row's end are sure to be blank, which changes no probability.
        length_B: (B,) int64 real frames.
        present_B: (B,) bool, False where the row lacks the input.
    """

    log_y_BFV: Tensor
    length_B: Tensor
    present_B: Tensor


@dataclass(frozen=True, slots=True)
class CTCState:
    """The text so far as a prefix; `begun_B` says whether BOS has been fed."""

    log_y_BFV: Tensor
    present_B: Tensor
    begun_B: Tensor
    prefix: Prefix


class CTC(nn.Module):
    """Score texts by the frames of one input.

    Args:
        config: which input, and the layers above it.
        vocab: what is written; the class of PAD is the blank, those of BOS and EOS are never emitted.
        width: of the input's encodings.
    """

    fitted_by = "gradient"

    class Config(Section):
        """Which input is listened to, and what is learned above it."""

        input: str | None = None
        """An input's name; None: the only one there is."""
        layers: int = Field(0, ge=0, le=32)
        """Bidirectional GRU layers whose output the classes read beside the input's encodings; a frozen encoder, or
        one that sees each frame alone, wants some."""
        hidden: int = Field(256, ge=2, le=65_536, multiple_of=2)
        """Units of such a layer, over both directions together."""
        dropout: float = Field(0.1, ge=0.0, lt=1.0)
        """Chance that a value before and between the layers is dropped."""

    class_bias_V: Tensor
    next_bias_V: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        depth = (config.hidden, config.layers, True, config.dropout)
        self.layers = Recurrence("gru", width, *depth) if config.layers else None
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(width + (config.hidden if config.layers else 0), len(vocab))
        self.unheard_V = nn.Parameter(torch.zeros(len(vocab)))
        class_bias_V = torch.zeros(len(vocab))
        class_bias_V[[BOS, EOS]] = -torch.inf
        self.register_buffer("class_bias_V", class_bias_V, persistent=False)
        self.register_buffer("next_bias_V", emission_bias(vocab), persistent=False)
        self.num_too_long = 0
        """Training rows met so far with more tokens than their frames can spell."""

    def emissions(self, cond: Conditioning) -> Emissions:
        """Return what each frame says.  Raises ModelError: several inputs and none named, or not that one."""
        part = self._part(cond)
        if part is None:
            log_y_BFV = self.unheard_V.new_zeros(cond.num_rows, 0, len(self.vocab))
            nothing_B = torch.zeros_like(cond.memory.present_B)
            return Emissions(log_y_BFV, nothing_B.long(), nothing_B)
        order_BF = (~part.mask_BT).long().argsort(dim=1, stable=True)
        x_BFD = part.x_BTD.gather(1, order_BF[..., None].expand_as(part.x_BTD))
        is_real_BF = part.mask_BT.gather(1, order_BF) & part.present_B[:, None]
        x_BFD = torch.where(is_real_BF[..., None], x_BFD, 0)
        if self.layers is not None:
            x_BFD = torch.cat([x_BFD, self.layers(self.dropout(x_BFD), is_real_BF)], dim=-1)
        log_y_BFV = (self.classes(x_BFD) + self.class_bias_V).log_softmax(-1, dtype=torch.float32)
        blank_V = log_y_BFV.new_full(log_y_BFV.shape[2:], LEAST)
        blank_V[BLANK] = 0
        log_y_BFV = torch.where(is_real_BF[..., None], log_y_BFV.clamp_min(LEAST), blank_V)
        return Emissions(log_y_BFV, is_real_BF.sum(1), part.present_B)

    @torch.no_grad()
    def start(self, cond: Conditioning) -> CTCState:
        """Begin B rows."""
        heard = self.emissions(cond)
        prefix = empty_prefix(heard.log_y_BFV.double())
        return CTCState(heard.log_y_BFV, heard.present_B, torch.zeros_like(heard.present_B), prefix)

    @torch.no_grad()
    def extend(self, state: CTCState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, CTCState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        log_y_BFV, prefix, begun_B = state.log_y_BFV.double(), state.prefix, state.begun_B
        for token_B, is_real_B in zip(token_BT.unbind(1), mask_BT.unbind(1), strict=True):
            prefix = _choose(is_real_B & begun_B, extended(prefix, token_B, log_y_BFV), prefix)
            begun_B = begun_B | is_real_B
        heard_BV = next_tokens(prefix, log_y_BFV).float()
        log_p_BV = torch.where(state.present_B[:, None], heard_BV, self._unheard())
        return log_p_BV, CTCState(state.log_y_BFV, state.present_B, begun_B, prefix)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T); over a text with its EOS they sum to its CTC log-likelihood.

        In training the sum is put at the EOS, because training reads the sum alone and that is many times
        faster; there, a text that its frames are too few to spell gives 0 and no gradient, and is counted.
        """
        heard = self.emissions(cond)
        if (
            self.training
            and len(token_BT)
            and bool((token_BT.gather(1, mask_BT.sum(1, keepdim=True) - 1) == EOS).all())
        ):
            heard_BT = self._total_at_end(token_BT, mask_BT, heard)
        else:
            heard_BT = self._token_by_token(token_BT, heard.log_y_BFV.double())
        unheard_BT = self._unheard()[token_BT.clamp_min(EOS)]
        is_predicted_BT = mask_BT & (torch.arange(token_BT.shape[1], device=token_BT.device) > 0)
        score_BT = torch.where(heard.present_B[:, None], heard_BT, unheard_BT)
        return torch.where(is_predicted_BT, score_BT, 0.0)

    def _token_by_token(self, token_BT: Tensor, log_y_BFV: Tensor) -> Tensor:
        prefix, columns = empty_prefix(log_y_BFV), [torch.zeros_like(token_BT[:, 0], dtype=torch.float32)]
        for token_B in token_BT.unbind(1)[1:]:
            longer = extended(prefix, token_B, log_y_BFV)
            columns.append(following(prefix, longer, token_B).float())
            prefix = longer
        return torch.stack(columns, 1)

    def _total_at_end(self, token_BT: Tensor, mask_BT: Tensor, heard: Emissions) -> Tensor:
        end_B1 = mask_BT.sum(1, keepdim=True) - 1
        num_tokens_B = (end_B1.squeeze(1) - 1).clamp_min(0)
        target_BT = token_BT[:, 1:].clamp_min(1)
        loss_B = F.ctc_loss(
            heard.log_y_BFV.transpose(0, 1),
            target_BT,
            heard.length_B,
            num_tokens_B,
            BLANK,
            reduction="none",
            zero_infinity=True,
        )
        self._count_too_long(target_BT, num_tokens_B, heard)
        return torch.zeros_like(token_BT, dtype=torch.float32).scatter(1, end_B1, -loss_B[:, None])

    def _count_too_long(self, target_BT: Tensor, num_tokens_B: Tensor, heard: Emissions) -> None:
        # A blank must stand between equal tokens, so a text needs a frame a token and one a repetition.
        is_real_BT = torch.arange(target_BT.shape[1], device=target_BT.device) < num_tokens_B[:, None]
        is_repeat_BT = (target_BT[:, 1:] == target_BT[:, :-1]) & is_real_BT[:, 1:]
        is_too_long_B = (num_tokens_B + is_repeat_BT.sum(1) > heard.length_B) & heard.present_B
        if bool(is_too_long_B.any()):
            if not self.num_too_long:
                log.warning("a text has more tokens than its frames can spell; such rows teach nothing")
            self.num_too_long += int(is_too_long_B.sum())

    def _unheard(self) -> Tensor:
        return (self.unheard_V + self.next_bias_V).log_softmax(-1)

    def _part(self, cond: Conditioning) -> Encoded | None:
        if not cond.parts:
            return None
        name = self.config.input
        if name is None and len(cond.parts) > 1:
            given = ", ".join(cond.parts)
            raise ModelError("CTC listens to one input", advice=f"set language.ctc.input to one of {given}")
        if name is not None and name not in cond.parts:
            raise ModelError(
                f"CTC listens to '{name}', which is no input", advice=f"inputs: {', '.join(cond.parts)}"
            )
        return cond.parts[name or next(iter(cond.parts))]


def _choose(is_new_B: Tensor, new: Prefix, old: Prefix) -> Prefix:
    row_B = torch.arange(len(is_new_B), device=is_new_B.device)
    if bool(is_new_B.all()):
        return new
    both = Prefix(
        torch.cat([new.log_n_BF, old.log_n_BF]),
        torch.cat([new.log_b_BF, old.log_b_BF]),
        torch.cat([new.log_p_B, old.log_p_B]),
        torch.cat([new.last_B, old.last_B]),
    )
    chosen: Prefix = select(both, torch.where(is_new_B, row_B, row_B + len(row_B)))
    return chosen

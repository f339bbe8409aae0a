"""Multinomial logistic regression on the averaged memory: the lightest neural scorer of labels.

Enters: a memory of any width (or none).  Leaves: log p(label), and EOS after it; a label is a text of one word.

    P(v | m) = softmax_v( W dropout(mean_t m_t) + b )

Every position after the label has a distribution of its own, P(v) = softmax(a), which learns that EOS follows.
Source: the output layer of Kim 2014, "Convolutional neural networks for sentence classification", equation 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language.emission import emission_bias

_SURE_OF_END = 8.0  # nats: what is not learned from data, so it starts where it will end


@dataclass(frozen=True, slots=True)
class ReadoutState:
    """log p(label) (B, V), and whether the label has been said (B,)."""

    log_p_BV: Tensor
    is_said_B: Tensor


class Readout(nn.Module):
    """Score labels by a linear map of the averaged memory.

    Args:
        config: dropout.
        vocab: the labels.
        width: of the memory.
    """

    fitted_by = "gradient"

    class Config(Section):
        """What is dropped in training."""

        dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.vocab = vocab
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(width, len(vocab))
        self.after_V = nn.Parameter(torch.zeros(len(vocab)).index_fill_(0, torch.tensor([EOS]), _SURE_OF_END))
        self.register_buffer("emission_V", emission_bias(vocab), persistent=False)
        self.emission_V: Tensor

    def start(self, cond: Conditioning) -> ReadoutState:
        """Begin B rows: read the memory."""
        memory = cond.memory
        if memory.x_BTD.shape[1]:
            x_BD = memory.mean_BD().to(self.out.weight.dtype)
        else:  # a memory of nothing may have any width
            x_BD = self.out.weight.new_zeros(cond.num_rows, self.out.in_features)
        logit_BV = self.out(self.dropout(x_BD)) + self.emission_V
        is_said_B = torch.zeros(cond.num_rows, dtype=torch.bool, device=logit_BV.device)
        return ReadoutState(logit_BV.log_softmax(1), is_said_B)

    def extend(self, state: ReadoutState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, ReadoutState]:
        """Feed T tokens; returns log p(next) (B, V), the label's before it is said, EOS after."""
        is_said_B = state.is_said_B | ((token_BT != BOS) & mask_BT).any(1)
        log_p_BV = torch.where(is_said_B[:, None], self._after_V(), state.log_p_BV)
        return log_p_BV, ReadoutState(state.log_p_BV, is_said_B)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        first_BT = torch.arange(token_BT.shape[1], device=token_BT.device).expand_as(token_BT) == 1
        label_BT = self.start(cond).log_p_BV.gather(1, token_BT)
        log_p_BT = torch.where(first_BT, label_BT, self._after_V()[token_BT])
        predicted_BT = mask_BT.clone()
        predicted_BT[:, 0] = False
        return torch.where(predicted_BT, log_p_BT, 0.0)

    def _after_V(self) -> Tensor:
        return (self.after_V + self.emission_V).log_softmax(0)

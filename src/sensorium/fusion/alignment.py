"""Contrastive alignment: inputs of one row mean the same, so they are brought to the same place.

Enters: the encodings of two inputs or more, and which medium each row has.  Leaves: a loss a row, (B,), that
training adds to the language model's; rows without two of the inputs have none.  For inputs a and b, with unit
vectors u_i = norm(pool_a(x_i)), v_j = norm(pool_b(y_j)), s_ij = scale u_i' v_j, over the rows that have both:

    infonce   -1/2 mean_{j in P(i)} [log softmax_j s_ij + log softmax_j s_ji]   (van den Oord et al. 2018)
    sigmoid   -sum_j log sigmoid(z_ij (s_ij + bias)), z = 1 in P(i), else -1    (Zhai et al. 2023, SigLIP)

P(i) holds i, and every row that shares a medium with it: two rows with one question are no negatives of each other,
though a plain InfoNCE would push them apart (Khosla et al. 2020, equation 2, with media as labels).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.core.types import Encoded
from sensorium.fusion.pooling import AttentionPooling

_SCALE_MAX = 100.0  # CLIP clips there too


class Alignment(nn.Module):
    """Pool each input to a unit vector, and score how well the rows' inputs find each other.

    Args:
        config: which inputs, which loss.
        width: D.
    """

    class Config(Section):
        """`[fusion.alignment]`."""

        inputs: tuple[str, ...] = Field(min_length=2)
        """The inputs that mean the same, such as a question typed and spoken, or a photo and its caption."""
        loss: Literal["infonce", "sigmoid"] = "infonce"
        weight: float = Field(1.0, gt=0.0, le=1000.0)
        """Of a row's alignment beside its language modelling loss in nats."""
        scale: float = Field(10.0, gt=0.0, le=_SCALE_MAX)
        """Inverse temperature at the start; it is learned."""
        heads: int = Field(4, ge=1, le=64)
        """Queries of the attention that pools an input."""

        @field_validator("inputs")
        @classmethod
        def _distinct(cls, inputs: tuple[str, ...]) -> tuple[str, ...]:
            if len(set(inputs)) != len(inputs):
                raise ValueError("name each input once")
            return inputs

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.names = config.inputs
        self.loss, self.weight = config.loss, config.weight
        self.pools = nn.ModuleDict({name: AttentionPooling(width, config.heads) for name in self.names})
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.bias = nn.Parameter(torch.tensor(-config.scale)) if config.loss == "sigmoid" else None

    def embed(self, name: str, part: Encoded) -> Tensor:
        """Return the unit vector of one input, (B, D)."""
        return functional.normalize(self.pools[name](part).float(), dim=-1)

    def scores(self, u_BD: Tensor, v_BD: Tensor) -> Tensor:
        """Return how well each row of u finds each row of v, scale u_i' v_j, (B, B)."""
        return self.log_scale.exp().clamp_max(_SCALE_MAX) * (u_BD @ v_BD.T)

    def forward(self, parts: Mapping[str, Encoded], media: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted loss of each row, float32 (B,): the mean over its pairs of inputs.

        Args:
            parts: the encodings, by input.
            media: which medium each row has, row_B (B,) of the batch, -1 = none.
        """
        embedding = {name: self.embed(name, parts[name]) for name in self.names}
        losses = [self._pair(embedding[a], embedding[b], media[a], media[b]) for a, b in self._pairs()]
        num_pairs = math.comb(len(self.names), 2)
        return self.weight * torch.stack(losses).sum(0) / num_pairs

    def _pairs(self) -> Iterator[tuple[str, str]]:
        return itertools.combinations(self.names, 2)

    def _pair(self, u_BD: Tensor, v_BD: Tensor, medium_a_B: Tensor, medium_b_B: Tensor) -> Tensor:
        has_both_B = (medium_a_B >= 0) & (medium_b_B >= 0)
        both_BB = has_both_B[:, None] & has_both_B
        same_BB = (medium_a_B[:, None] == medium_a_B) | (medium_b_B[:, None] == medium_b_B)
        score_BB = self.scores(u_BD, v_BD)
        if self.bias is None:
            loss_B = (_infonce(score_BB, same_BB & both_BB) + _infonce(score_BB.T, same_BB & both_BB)) / 2
        else:
            sign_BB = torch.where(same_BB, 1.0, -1.0)
            loss_B = -torch.where(both_BB, functional.logsigmoid(sign_BB * (score_BB + self.bias)), 0).sum(1)
        return torch.where(has_both_B, loss_B, 0)


def _infonce(score_BB: Tensor, positive_BB: Tensor) -> Tensor:
    """Return -mean over positives j of log softmax_j, (B,); columns that are nobody's positive are left out."""
    counted_B = positive_BB.any(0)
    log_p_BB = score_BB.masked_fill(~counted_B, torch.finfo(score_BB.dtype).min).log_softmax(1)
    return -torch.where(positive_BB, log_p_BB, 0).sum(1) / positive_BB.sum(1).clamp_min(1)

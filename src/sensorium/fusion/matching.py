"""Image-text matching, of any two inputs: does this pair belong together?

Enters: the encodings of a batch's rows, which medium each row has, and the fusion.  Leaves: a loss a row, (B,).
Each row is read twice, as it is and with its second input taken from another row:

    loss = -1/2 [log sigmoid(s(fuse(a_i, b_i, ...))) + log sigmoid(-s(fuse(a_i, b_j, ...)))]
    s(memory) = w' LN(mean(memory)) + c

j is drawn among the rows that share no medium of the pair with i (they would be no negatives), all alike, or, with
`hard`, in proportion to exp of how well the alignment finds them to fit (Li et al. 2021, ALBEF, section 3.2): pairs
that are easy to mistake teach more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.core.types import Encoded
from sensorium.fusion.alignment import Alignment

Fuse = Callable[[Mapping[str, Encoded]], Encoded]


class Matching(nn.Module):
    """Tell true pairs from pairs of different rows, by the fused memory.

    Args:
        config: which pair.
        width: D.
    """

    class Config(Section):
        """`[objectives.matching]`."""

        inputs: tuple[str, str]
        """The two inputs of a pair; the second one is exchanged."""
        weight: float = Field(1.0, gt=0.0, le=1000.0)
        """Of a row's matching beside other losses."""
        hard: bool = False
        """Prefer negatives that the alignment mistakes; needs [fusion.alignment] of both inputs."""

        @field_validator("inputs")
        @classmethod
        def _distinct(cls, inputs: tuple[str, str]) -> tuple[str, str]:
            if inputs[0] == inputs[1]:
                raise ValueError("a pair is of two inputs")
            return inputs

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.names, self.weight, self.is_hard = config.inputs, config.weight, config.hard
        self.score = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(
        self,
        parts: Mapping[str, Encoded],
        media: Mapping[str, Tensor],
        fuse: Fuse,
        alignment: Alignment | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of each row, and how many of its two pairs were judged rightly, float (B,) both.

        Rows without both inputs, and rows that find no other row to exchange with, have loss 0 and count -1.

        Args:
            parts: the encodings, by input.
            media: which medium each row has, row_B (B,) of the batch, -1 = none.
            fuse: from parts to the memory.
            alignment: how hard negatives are found.
        """
        second = self.names[1]
        weight_BB = self._weights(parts, media, alignment)
        row_R = weight_BB.any(1).nonzero()[:, 0]
        num_rows = len(weight_BB)
        loss_B, right_B = weight_BB.new_zeros(num_rows), weight_BB.new_full((num_rows,), -1.0)
        if not len(row_R):
            return loss_B, right_B
        other_R = torch.multinomial(weight_BB[row_R], 1)[:, 0]
        true = {name: part.rows(row_R) for name, part in parts.items()}
        score_2R = torch.stack([self._score(fuse(p)) for p in (true, true | {second: parts[second].rows(other_R)})])
        sign_21 = score_2R.new_tensor([[1.0], [-1.0]])
        loss_R = -functional.logsigmoid(sign_21 * score_2R).mean(0)
        right_R = (sign_21 * score_2R > 0).float().sum(0)
        return self.weight * loss_B.index_add(0, row_R, loss_R), right_B.index_copy(0, row_R, right_R)

    def _score(self, memory: Encoded) -> Tensor:
        score_B1: Tensor = self.score(memory.mean_BD())
        return score_B1[:, 0].float()

    @torch.no_grad()
    def _weights(
        self, parts: Mapping[str, Encoded], media: Mapping[str, Tensor], alignment: Alignment | None
    ) -> Tensor:
        """Return how likely each other row is to be drawn, (B, B) unnormalised; 0 where it may not be."""
        first_B, second_B = (media[name] for name in self.names)
        has_both_B = (first_B >= 0) & (second_B >= 0)
        is_same_BB = (first_B[:, None] == first_B) | (second_B[:, None] == second_B)
        is_other_BB = has_both_B[:, None] & has_both_B & ~is_same_BB
        if alignment is None or not self.is_hard:
            return is_other_BB.float()
        score_BB = alignment.scores(*(alignment.embed(name, parts[name]) for name in self.names))
        score_BB = score_BB.masked_fill(~is_other_BB, -torch.inf)
        highest_B1 = score_BB.amax(1, keepdim=True).clamp_min(torch.finfo(score_BB.dtype).min)
        # The smallest weight keeps a row drawable that is far from the best: exp would round it to 0.
        return torch.where(is_other_BB, (score_BB - highest_B1).exp().clamp_min(1e-6), 0)

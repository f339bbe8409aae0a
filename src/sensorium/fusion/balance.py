"""Balance between inputs: each learns to answer alone as well, so that a strong one does not silence the others.

    L = sum_k w_k L_k / sum_k w_k        k: each input alone, and all of them fused (Wang et al. 2020, equation 2)

An input alone goes through the same fusion and scorer, the others absent.  The weights are fixed, or follow the
overfitting-to-generalisation ratio, measured anew whenever the run validates ("gradient blending"):

    w_k ~ G_k / O_k^2,   G = V_0 - V,   O = (V - T) - (V_0 - T_0)

with T, V the mean losses on training and validation rows, and _0 those before training (Wang et al. 2020, "What
makes training multi-modal classification networks hard?", proposition 1).  O is 0.05 nats at least: where nothing
overfits yet, weights follow what generalises.  Estimates span the run so far rather than one stretch of it (the
paper's offline variant), since differences of short stretches are noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section

LEAST_OVERFITTING = 0.05
"""Nats a token."""

Weight = Annotated[float, Field(ge=0.0, le=1e6)]


class Balance(nn.Module):
    """Blend the losses of each input alone and of all together.

    Args:
        config: which inputs, and how they are weighed.
        names: the inputs of the model's rows.
    """

    weight_K: Tensor
    first_2K: Tensor

    class Config(Section):
        """`[fusion.balance]`."""

        inputs: tuple[str, ...] | None = Field(None, min_length=1)
        """The inputs that also answer alone; None = each."""
        method: Literal["blending", "fixed"] = "blending"
        """Weights by overfitting and generalisation, measured at every validation, or as given."""
        weights: dict[str, Weight] = {}
        """Fixed weights by input; 1 unless given."""
        fused: float = Field(1.0, gt=0.0, le=1e6)
        """Fixed weight of all inputs together."""

    def __init__(self, config: Config, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(name for name in config.inputs or names if name in names)
        self.adapts = config.method == "blending"
        num_losses = len(self.names) + 1
        fixed = [*(config.weights.get(name, 1.0) for name in self.names), config.fused]
        weights = [1.0] * num_losses if self.adapts else fixed
        self.register_buffer("weight_K", torch.tensor(weights) / sum(weights))
        self.register_buffer("first_2K", torch.full((2, num_losses), float("nan")))

    @property
    def weights(self) -> dict[str, float]:
        """Return the weights by input, and that of all of them as 'fused'; they sum to 1."""
        return dict(zip([*self.names, "fused"], self.weight_K.tolist(), strict=True))

    def forward(self, alone: Mapping[str, tuple[Tensor, Tensor]], fused_B: Tensor) -> Tensor:
        """Return each row's blended loss, (B,).

        Args:
            alone: by input, the loss of each row with it alone (B,), and which rows have it (B,) bool; the weight
                of an input that a row lacks goes to its others, and where they have none, to the fused loss.
            fused_B: the loss with all inputs.
        """
        loss_KB = torch.stack([*(alone[name][0] for name in self.names), fused_B])
        counts_KB = torch.stack(
            [*(alone[name][1] for name in self.names), torch.ones_like(fused_B, dtype=torch.bool)]
        )
        weight_KB = torch.where(counts_KB, self.weight_K[:, None].to(loss_KB.dtype), 0)
        # Where all that has a weight is what the row lacks, the loss of what it has is all that there is.
        left_B = torch.where(weight_KB.sum(0) > 0, weight_KB[-1], 1)
        weight_KB = torch.cat([weight_KB[:-1], left_B[None]])
        # A loss that does not count may be infinite: it must not meet a weight of 0.
        return (weight_KB * torch.where(weight_KB > 0, loss_KB, 0)).sum(0) / weight_KB.sum(0)

    @torch.no_grad()
    def follow(self, train_K: Tensor, validation_K: Tensor) -> None:
        """Set the weights by what was measured now; the first measurement is what later ones are held against.

        Args:
            train_K, validation_K: mean losses in nats a token, in the order of `weights`.
        """
        measured_2K = torch.stack([train_K, validation_K]).to(self.first_2K)
        if bool(self.first_2K.isnan().any()):
            self.first_2K.copy_(measured_2K)
            return
        self.weight_K.copy_(blending_weights(self.first_2K, measured_2K))


def blending_weights(first_2K: Tensor, now_2K: Tensor) -> Tensor:
    """Return G_k / O_k^2 by loss, (K,), summing to 1; equal where nothing generalises.

    Args:
        first_2K: losses on training and validation rows before training.
        now_2K: the same now.
    """
    gain_K = (first_2K[1] - now_2K[1]).clamp_min(0)
    overfitting_K = ((now_2K[1] - now_2K[0]) - (first_2K[1] - first_2K[0])).clamp_min(LEAST_OVERFITTING)
    ratio_K = gain_K / overfitting_K.square()
    if not bool(ratio_K.isfinite().all()) or not bool(ratio_K.sum() > 0):
        return torch.full_like(ratio_K, 1 / len(ratio_K))
    return ratio_K / ratio_K.sum()

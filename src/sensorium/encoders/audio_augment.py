"""Make each training clip sound like another speaker: shift its spectrum, and hide a band of it.

Enters: (U, T, F) log-mel frames in training.  Leaves: the same shape.
Shift: a longer or shorter vocal tract scales frequencies, which on the mel axis is nearly a shift (Jaitly and
Hinton 2013, vocal tract length perturbation).  Mask: one band of up to `mask_bins` bins is set to the mean of
normalised frames, zero (Park et al. 2019, SpecAugment, frequency masking).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpectrumAugment(nn.Module):
    """Shift and mask mel bins, each clip by its own draw; nothing outside training.

    Args:
        shift_bins: largest shift, up or down; 0 = none.
        mask_bins: widest masked band; 0 = none.
    """

    def __init__(self, shift_bins: int, mask_bins: int) -> None:
        super().__init__()
        self.shift_bins, self.mask_bins = shift_bins, mask_bins

    def forward(self, x_UTF: Tensor) -> Tensor:
        """Return (U, T, F)."""
        if not self.training or not (self.shift_bins or self.mask_bins):
            return x_UTF
        num_media, _, num_bins = x_UTF.shape
        bin_F = torch.arange(num_bins, device=x_UTF.device)
        if self.shift_bins:
            shift_U1 = torch.randint(-self.shift_bins, self.shift_bins + 1, (num_media, 1), device=x_UTF.device)
            source_UF = (bin_F + shift_U1).clamp(0, num_bins - 1)
            x_UTF = x_UTF.gather(2, source_UF[:, None].expand_as(x_UTF))
        if self.mask_bins:
            width_U1 = torch.randint(0, self.mask_bins + 1, (num_media, 1), device=x_UTF.device)
            first_U1 = (torch.rand(num_media, 1, device=x_UTF.device) * (num_bins - width_U1)).long()
            is_hidden_UF = (bin_F >= first_U1) & (bin_F < first_U1 + width_U1)
            x_UTF = x_UTF.masked_fill(is_hidden_UF[:, None], 0.0)
        return x_UTF

"""Batch normalisation that one lone value does not stop.

Source: Ioffe and Szegedy 2015, algorithm 1.  The variance of one value is 0, and torch refuses it in training; a
batch whose rows share one small picture has no more than that in the last layers.  Such a batch is normalised, as
in use, by the running statistics, and does not change them.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class BatchNorm2d(nn.BatchNorm2d):
    """Normalise (U, C, H, W) by channel: over U x H x W values, or by running statistics where that is one."""

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return (U, C, H, W)."""
        if not self.training or x_UCHW.numel() > x_UCHW.shape[1]:
            return super().forward(x_UCHW)
        return functional.batch_norm(
            x_UCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

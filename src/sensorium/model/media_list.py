"""Several media in a row as one part: the positions of all, and which one each is of.

    part = [x_1 + e_1 ; ... ; x_K + e_K],   x_k the positions of the row's k-th medium

Enters: an encoder and a batch's distinct media with the lists that rows have of them.  Leaves: Encoded (B, K T, D).
Each distinct medium is encoded once, whatever the number of lists it is in; a row without a list has the encoder's
own absent token.  e_k is learned (as the segment embedding of Devlin et al. 2019).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.types import Encoded, MediaBatch, per_row


class MediaList(nn.Module):
    """Line up the encodings of a row's media.

    Args:
        most: how many media a row may have.
        width: D.
    """

    def __init__(self, most: int, width: int) -> None:
        super().__init__()
        self.index_KD = nn.Parameter(torch.randn(most, width) * 0.02)

    def forward(self, encoder: Any, media: MediaBatch) -> Encoded:
        """Encode: (B, K T, D).  Raises ModelError: the batch has no lists, or longer ones than `most`."""
        if media.list_SK is None or media.list_SK.shape[1] > len(self.index_KD):
            raise ModelError(f"an input of several media needs lists of at most {len(self.index_KD)}")
        each = self._each(encoder, media)
        absent_D = each.x_BTD[-1, 0]
        x_SMD, mask_SM = self._lined_up(each, media.list_SK)
        # A list whose media say nothing (empty texts) is absent, as one such medium is.
        says_S = torch.cat([mask_SM.any(1), mask_SM.new_zeros(1)])
        row_B = torch.where(says_S[media.row_B], media.row_B, -1)
        return per_row(x_SMD, mask_SM, row_B, absent_D)

    @staticmethod
    def _each(encoder: Any, media: MediaBatch) -> Encoded:
        """Encode every medium as a row of its own, and behind them a row that lacks one."""
        unit_U = torch.arange(len(media.values), device=media.row_B.device)
        row_B = torch.cat([unit_U, unit_U.new_full((1,), -1)])
        encoded: Encoded = encoder(MediaBatch(media.values, media.mask_UT, row_B))
        return encoded

    def _lined_up(self, each: Encoded, list_SK: Tensor) -> tuple[Tensor, Tensor]:
        num_lists, longest = list_SK.shape
        length, width = each.x_BTD.shape[1:]
        x_SKTD = each.x_BTD[list_SK] + self.index_KD[:longest, None]
        real_SK = (list_SK >= 0) & each.present_B[list_SK]
        mask_SKT = each.mask_BT[list_SK] & real_SK[..., None]
        return x_SKTD.reshape(num_lists, longest * length, width), mask_SKT.reshape(num_lists, longest * length)

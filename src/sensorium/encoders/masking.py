"""Hide pieces of media, so that a model learns to say what stood there.

Enters: a batch of prepared media.  Leaves: the same media with pieces hidden, what they held, and a loss for what
is predicted in their place.  Each kind of value has its own pieces:

    words     15 % as in BERT (Devlin et al. 2019, section 3.1): of the chosen ones 80 % are read as unknown, 10 %
              as a random word, 10 % as they are; loss: -log p(word)
    pixels    square patches set to the mean colour (He et al. 2022, MAE, section 3); loss: mean squared error of
              the normalised values of hidden patches
    frames    runs of spectrogram frames set to the mean, zero (after Huang et al. 2022, Audio-MAE); loss: mean
              squared error of hidden frames

BERT has a token of its own for what is hidden; here it is UNK, so that no vocabulary has to know of pretraining,
and unknown words, which training texts seldom have, get a meaning: "some word".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import ConfigError
from sensorium.core.types import Hidden, MediaBatch
from sensorium.core.vocabulary import SPECIAL_TOKENS, UNK

READ_AS_UNKNOWN, READ_AS_RANDOM = 0.8, 0.1


def chosen(is_real_UP: Tensor, rate: float) -> Tensor:
    """Choose round(rate x n) of each row's n real places, one at least and never all of several: (U, P) bool."""
    num_real_U1 = is_real_UP.sum(1, keepdim=True)
    most_U1 = (num_real_U1 - 1).clamp_min(1)
    count_U1 = (num_real_U1 * rate).round().long().clamp_min(1).minimum(most_U1)
    draw_UP = torch.rand(is_real_UP.shape, device=is_real_UP.device).masked_fill(~is_real_UP, 2.0)
    rank_UP = draw_UP.argsort(1).argsort(1)
    return (rank_UP < count_U1) & is_real_UP


def mean_over(value_UP: Tensor, hidden_UP: Tensor) -> Tensor:
    """Average over the hidden pieces of each medium, (U,); 0 where there is none."""
    return torch.where(hidden_UP, value_UP, 0).sum(1) / hidden_UP.sum(1).clamp_min(1)


class TokenMasking:
    """Hide words of a text, or of what a codebook made one.

    Args:
        num_tokens: V of the vocabulary, special tokens included.
    """

    num_coordinates = 1

    def __init__(self, num_tokens: int) -> None:
        self.num_outputs = num_tokens

    def hide(self, media: MediaBatch, rate: float) -> Hidden:
        """Hide words of each text; targets are ids (U, T)."""
        token_UT = media.values
        is_real_UT = torch.ones_like(token_UT, dtype=torch.bool) if media.mask_UT is None else media.mask_UT
        hidden_UT = chosen(is_real_UT, rate)
        draw_UT = torch.rand(token_UT.shape, device=token_UT.device)
        first = min(len(SPECIAL_TOKENS), self.num_outputs - 1)
        random_UT = torch.randint(first, self.num_outputs, token_UT.shape, device=token_UT.device)
        read_UT = torch.where(draw_UT < READ_AS_UNKNOWN + READ_AS_RANDOM, random_UT, token_UT)
        read_UT = torch.where(draw_UT < READ_AS_UNKNOWN, UNK, read_UT)
        values_UT = torch.where(hidden_UT, read_UT, token_UT)
        return Hidden(replace(media, values=values_UT), token_UT, hidden_UT)

    def coordinates(self, num_pieces: int) -> Tensor:
        """Return the places in the text, (T, 1)."""
        return torch.arange(float(num_pieces))[:, None]

    def loss(self, output_UTV: Tensor, hidden: Hidden) -> Tensor:
        """Return -log p of the hidden words in nats, averaged over each text, (U,)."""
        nll_UT = functional.cross_entropy(output_UTV.float().transpose(1, 2), hidden.target, reduction="none")
        return mean_over(nll_UT, hidden.hidden_UP)


class PatchMasking:
    """Hide square patches of images (U, 3, S, S) uint8.

    Args:
        size: S.
        patch: side of a patch; divides S.
        mean, std: of each channel, of values 0..1; hidden is the mean, and what is predicted is normalised by both.

    Raises:
        ConfigError: it does not.
    """

    num_coordinates = 2

    def __init__(self, size: int, patch: int, mean: Sequence[float], std: Sequence[float]) -> None:
        if patch < 1 or size % patch:
            raise ConfigError(f"patches of {patch} pixels do not fill {size}", advice="choose a span that divides")
        self.patch, self.side = patch, size // patch
        self.num_outputs = 3 * patch * patch
        self._mean_C11, self._std_C11 = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))

    def hide(self, media: MediaBatch, rate: float) -> Hidden:
        """Hide patches; targets are normalised pixels (U, P, 3 * patch²), read row by row."""
        values = media.values
        everywhere_UP = torch.ones(len(values), self.side**2, dtype=torch.bool, device=values.device)
        hidden_UP = chosen(everywhere_UP, rate)
        hidden_U1YX = hidden_UP.view(-1, 1, self.side, self.side)
        hidden_U1HW = hidden_U1YX.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)
        mean_C11, std_C11 = self._mean_C11.to(values.device), self._std_C11.to(values.device)
        colour_C11 = (255 * mean_C11).round().to(values.dtype)
        normal_UCHW = (values.float() / 255 - mean_C11) / std_C11
        shown = replace(media, values=torch.where(hidden_U1HW, colour_C11, values))
        return Hidden(shown, self._patches(normal_UCHW), hidden_UP)

    def _patches(self, x_UCHW: Tensor) -> Tensor:
        return functional.unfold(x_UCHW, self.patch, stride=self.patch).transpose(1, 2)

    def coordinates(self, num_pieces: int) -> Tensor:
        """Return row and column of each patch, (P, 2)."""
        place_P = torch.arange(num_pieces)
        return torch.stack([place_P // self.side, place_P % self.side], dim=1).float()

    def loss(self, output_UPO: Tensor, hidden: Hidden) -> Tensor:
        """Return the mean squared error of hidden patches, (U,)."""
        return mean_over((output_UPO.float() - hidden.target).square().mean(2), hidden.hidden_UP)


class FrameMasking:
    """Hide runs of frames of sounds (U, T, F), whose frames have mean 0.

    Args:
        num_mels: F.
        span: frames of a run.
    """

    num_coordinates = 1

    def __init__(self, num_mels: int, span: int) -> None:
        self.span = span
        self.num_outputs = span * num_mels

    def hide(self, media: MediaBatch, rate: float) -> Hidden:
        """Hide runs of frames; targets are (U, P, span * F), padding as NaN, which `loss` leaves out."""
        x_UTF = media.values
        num, length, _ = x_UTF.shape
        num_runs = math.ceil(length / self.span)
        is_real_UT = x_UTF.new_ones(num, length, dtype=torch.bool) if media.mask_UT is None else media.mask_UT
        hidden_UP = chosen(is_real_UT[:, :: self.span], rate)
        hidden_UT = hidden_UP.repeat_interleave(self.span, 1)[:, :length]
        target_UTF = x_UTF.float().masked_fill(~is_real_UT[..., None], math.nan)
        target_UTF = functional.pad(target_UTF, (0, 0, 0, num_runs * self.span - length), value=math.nan)
        shown = replace(media, values=x_UTF.masked_fill(hidden_UT[..., None], 0))
        return Hidden(shown, target_UTF.unflatten(1, (num_runs, self.span)).flatten(2), hidden_UP)

    def coordinates(self, num_pieces: int) -> Tensor:
        """Return the places of the runs, (P, 1)."""
        return torch.arange(float(num_pieces))[:, None]

    def loss(self, output_UPO: Tensor, hidden: Hidden) -> Tensor:
        """Return the mean squared error of hidden real frames, (U,)."""
        is_real_UPO = ~hidden.target.isnan()
        error_UPO = torch.where(is_real_UPO, output_UPO.float() - hidden.target.nan_to_num(), 0).square()
        return mean_over(error_UPO.sum(2) / is_real_UPO.sum(2).clamp_min(1), hidden.hidden_UP)

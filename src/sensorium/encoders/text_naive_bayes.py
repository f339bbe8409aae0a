"""What naive Bayes thinks of a text, as a feature of a network: stacking.

Enters: (U, T) int64 token ids.  Leaves: one position a text, log P(c | text) for the commonest targets c,

    log P(c | text) = log softmax_c( log P(c) + sum_{w in text} log p(w | c) ),
    p(w | c) = (n_wc + a) / (n_c + a V)

with n_wc the texts of target c that hold the word w (binarised multinomial naive Bayes; Wang and Manning 2012).
In training a text is judged by counts that leave its fold out, or the network would trust them as far as they
remember; afterwards by all.  A text's fold is a hash of its words, so that equal texts are in one fold.
Sources: Wolpert 1992, "Stacked generalization"; McCallum and Nigam 1998.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.errors import DataError
from sensorium.core.types import Encoded, MediaBatch
from sensorium.core.vocabulary import PAD, UNK
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.text_input import TextInput, VocabPreparer, full_mask

log = logging.getLogger(__name__)

_LEAST_LOG_P = -20.0
_PRIME = (1 << 31) - 1


class TextNaiveBayes(nn.Module):
    """Encode a text by naive Bayes' log-posteriors of the targets.

    Letters beside the shared ones: C classes, K folds.

    Args:
        config: sizes.
        preparer: the fitted text preparer; its words are counted.
        width: D of the result.

    Attributes:
        weight_: (1, V, C) log p(word | class); zero for special tokens.
        prior_: (1, C) log P(class), -inf for classes that there are not.
        left_out_weight_, left_out_prior_: (K, V, C), (K, C) the same without each fold; not saved.
    """

    class Config(TextInput):
        """Options of `text.naive_bayes`."""

        classes: int = Field(32, ge=2, le=4096)
        """The commonest targets of training; rows of others are not counted."""
        smoothing: float = Field(1.0, gt=0.0)
        """Added to every count."""
        folds: int = Field(5, ge=2, le=100)
        """Into how many folds training texts are parted."""

    modality = "text"
    fitted_by = "counting"

    weight_: Tensor
    prior_: Tensor
    left_out_weight_: Tensor
    left_out_prior_: Tensor

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.config, self.width, self.feature_width = config, width, config.classes
        num_words, num_classes = len(preparer.vocab), config.classes
        self.register_buffer("weight_", torch.zeros(1, num_words, num_classes))
        self.register_buffer("prior_", torch.zeros(1, num_classes))
        self.register_buffer("left_out_weight_", torch.zeros(0, num_words, num_classes), persistent=False)
        self.register_buffer("left_out_prior_", torch.zeros(0, num_classes), persistent=False)
        self.outlet = Outlet(num_classes, width, norm=False)  # normalising two classes would leave a sign

    def fit(self, examples: Iterable[tuple[MediaBatch, Tensor]]) -> Self:
        """Count the words of each row's text with its target.  Raises DataError: no row has a text."""
        rows = [row for media, token_BT in examples for row in _rows(media, token_BT)]
        if not rows:
            raise DataError("there are no texts to fit naive Bayes to")
        common = [target for target, _ in Counter(target for _, target in rows).most_common(self.config.classes)]
        number = {target: c for c, target in enumerate(common)}
        counted = [(word_T, number[target]) for word_T, target in rows if target in number]
        log.info(
            "naive Bayes: %d rows of %d targets, %d of others", len(counted), len(common), len(rows) - len(counted)
        )
        class_N = torch.tensor([c for _, c in counted])
        fold_N = torch.cat(
            [self.fold(word_T[None], torch.ones_like(word_T[None], dtype=torch.bool)) for word_T, _ in counted]
        )
        words = [torch.unique(word_T) for word_T, _ in counted]
        row_E = torch.repeat_interleave(torch.tensor([len(word_W) for word_W in words]))
        self._estimate(torch.cat(words).cpu(), row_E, class_N, fold_N.cpu())
        return self

    def _estimate(self, word_E: Tensor, row_E: Tensor, class_N: Tensor, fold_N: Tensor) -> None:
        """Turn counts into tables, of all rows and of all but each fold's."""
        num_folds, (_, num_words, num_classes) = self.config.folds, self.weight_.shape
        cell_E = (fold_N[row_E] * num_words + word_E) * num_classes + class_N[row_E]
        shape = (num_folds, num_words, num_classes)
        count_KVC = torch.bincount(cell_E, minlength=num_folds * num_words * num_classes).view(shape).double()
        count_KVC[:, : UNK + 1] = 0
        rows_KC = torch.bincount(fold_N * num_classes + class_N, minlength=num_folds * num_classes)
        rows_KC = rows_KC.view(num_folds, num_classes).double()
        device = self.weight_.device
        self.weight_ = self._weights(count_KVC.sum(0, keepdim=True)).to(device)
        self.prior_ = _priors(rows_KC.sum(0, keepdim=True)).to(device)
        self.left_out_weight_ = self._weights(count_KVC.sum(0) - count_KVC).to(device)
        self.left_out_prior_ = _priors(rows_KC.sum(0) - rows_KC).to(device)

    def _weights(self, count_XVC: Tensor) -> Tensor:
        smoothed_XVC = count_XVC + self.config.smoothing
        smoothed_XVC[:, : UNK + 1] = 0
        weight_XVC = (smoothed_XVC / smoothed_XVC.sum(1, keepdim=True)).log()
        weight_XVC[:, : UNK + 1] = 0
        return weight_XVC.float()

    def fold(self, token_UT: Tensor, mask_UT: Tensor) -> Tensor:
        """Return each text's fold, (U,) int64: a hash of its words in order, the same wherever it is padded."""
        place_T = torch.arange(1, token_UT.shape[1] + 1, device=token_UT.device)
        mixed_UT = (token_UT + 1) * ((place_T * 2_654_435_761) % _PRIME) % _PRIME
        return torch.where(mask_UT, mixed_UT, 0).sum(1) % _PRIME % self.config.folds

    @torch.no_grad()
    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return the log-posteriors (U, 1, C), at least -20, and (U, 1) whether a text has any token."""
        mask_UT = full_mask(token_UT, mask_UT)
        leaves_out = self.training and len(self.left_out_weight_) > 0
        weight_XVC = self.left_out_weight_ if leaves_out else self.weight_
        prior_XC = self.left_out_prior_ if leaves_out else self.prior_
        table_U = self.fold(token_UT, mask_UT) if leaves_out else torch.zeros_like(token_UT[:, 0])
        # Sorted, a word that occurs again stands behind itself: it counts once a text.
        word_UT = torch.where(mask_UT, token_UT, PAD).sort(1).values
        first_UT = torch.ones_like(mask_UT)
        first_UT[:, 1:] = word_UT[:, 1:] != word_UT[:, :-1]
        weight_UTC = weight_XVC.flatten(0, 1)[table_U[:, None] * weight_XVC.shape[1] + word_UT]
        counts_UT = first_UT & (word_UT > UNK)
        value_UC = prior_XC[table_U] + torch.where(counts_UT[..., None], weight_UTC, 0).sum(1)
        log_p_UC = value_UC.log_softmax(1).clamp_min(_LEAST_LOG_P)
        return log_p_UC[:, None].to(self.outlet.absent_D.dtype), mask_UT.any(1, keepdim=True)

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, 1, width)."""
        return encode(self, media)


def _priors(rows_XC: Tensor) -> Tensor:
    """Return log P(class): by rows; even where there is none at all."""
    even_XC = torch.where(rows_XC.sum(1, keepdim=True) > 0, rows_XC, torch.ones_like(rows_XC))
    return (even_XC / even_XC.sum(1, keepdim=True)).log().float()


def _rows(media: MediaBatch, token_BT: Tensor) -> Iterable[tuple[Tensor, tuple[int, ...]]]:
    """Yield the words of each row's text, and the row's target."""
    mask_UT = full_mask(media.values, media.mask_UT)
    for u, target in zip(media.row_B.tolist(), token_BT.tolist(), strict=True):
        if u >= 0 and bool(mask_UT[u].any()):
            yield media.values[u][mask_UT[u]], tuple(id_ for id_ in target if id_ != PAD)

"""Term frequency times inverse document frequency, mapped linearly (Sparck Jones 1972; Salton and Buckley 1988).

    idf_v = ln((1 + N) / (1 + n_v)) + 1        x = (c * idf) E / ||c * idf||

with c_v how often token v stands in the text, n_v in how many of N training texts: the smoothed form of
scikit-learn's TfidfVectorizer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.encoders.text_bag import TextBag, counts_in_text
from sensorium.encoders.text_input import VocabPreparer


class TextTfidf(TextBag):
    """Encode a text as a linear map of its tf-idf vector, which has length 1: (B, 1, width)."""

    class Config(TextBag.Config):
        """Options of `text.tfidf`."""

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__(config, preparer, width)
        count_V = torch.tensor(list(preparer.document_counts), dtype=torch.get_default_dtype())
        self.register_buffer("idf_", ((1 + preparer.num_documents) / (1 + count_V)).log() + 1)
        self.idf_: Tensor

    def weights(self, token_UT: Tensor, mask_UT: Tensor) -> Tensor:
        """Return idf / ||c * idf||; the norm is over distinct tokens: sum_v c_v² idf_v² = sum_t c_t idf_t²."""
        idf_UT = self.idf_[token_UT]
        square_UT = torch.where(mask_UT, counts_in_text(token_UT, mask_UT) * idf_UT.square(), 0)
        return idf_UT / square_UT.sum(1, keepdim=True).sqrt().clamp_min(1e-6)

"""Texts through a published network whose weights ship in a Python package.

Enters: (U, T) int64 ids of a published WordPiece vocabulary.  Leaves: 384 features a token, BOS and EOS among them,
or one vector a text.  `encoder = "packaged:minilm"`; see `media.packaged` for what the weights are.
"""

from __future__ import annotations

import zipfile
from typing import Literal, Self

from pydantic import Field
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.core.types import Encoded, MediaBatch
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.tokenizers.wordpiece import PUBLISHED_NAMES, WordPieceTokenizer, published_ids
from sensorium.encoders.bert import Bert, BertSizes, named_as_here
from sensorium.encoders.masking import TokenMasking
from sensorium.encoders.outlet import Features, Outlet, encode
from sensorium.encoders.pretrained import assign
from sensorium.encoders.text_input import VocabPreparer, full_mask, token_masking
from sensorium.media.packaged import packaged_files

_SIZES = BertSizes()
_MOST_TOKENS = _SIZES.max_positions - 2


class TextPackaged(nn.Module):
    """Encode texts with MiniLM-L6.

    Args:
        config: what is made of a text.
        preparer: the fitted text preparer; its vocabulary is the published one.
        width: D of the result.
    """

    class Config(Section):
        """Options of `text.packaged`."""

        source: Literal["minilm"] = "minilm"
        """Which packaged weights."""
        max_tokens: int = Field(128, ge=1, le=_MOST_TOKENS)
        pool: Literal["none", "mean"] = "none"
        """"mean": one vector a text, the mean over its tokens at length 1, by which sentences were trained to be
        alike (Reimers and Gurevych 2019)."""
        dropout: float = Field(0.1, ge=0.0, lt=1.0)

        def preparer(self) -> TextPreparer:
            """Make the preparer of these texts; fitting it reads the published vocabulary."""
            tokenizer = WordPieceTokenizer(WordPieceTokenizer.Config(source=self.source))
            return TextPreparer(tokenizer=tokenizer, max_tokens=self.max_tokens)

        def masking(self, preparer: VocabPreparer, span: int | None = None) -> TokenMasking:
            """Say how words are hidden, one by one.  Raises ConfigError: a `span`."""
            return token_masking(preparer, span)

    modality = "text"

    def __init__(self, config: Config, preparer: VocabPreparer, width: int) -> None:
        super().__init__()
        self.width = width
        self.source, self.pool = config.source, config.pool
        self.vocab = preparer.vocab
        self.trunk = Bert(_SIZES, len(preparer.vocab), config.dropout)
        self.feature_width = self.trunk.width
        self.outlet = Outlet(self.feature_width, width)

    def load_pretrained(self) -> Self:
        """Load the packaged weights into the trunk; returns self.  Raises MissingExtraError, ModelError."""
        path = packaged_files(self.source)["model.zip"]
        with zipfile.ZipFile(path) as archive:
            published = load_tensors(archive.read("model.safetensors"))
        tensors = named_as_here(published, self.vocab, published_ids(self.source), PUBLISHED_NAMES)
        assign(self.trunk, tensors, where=str(path))
        return self

    def features(self, token_UT: Tensor, mask_UT: Tensor | None) -> Features:
        """Return vectors of the tokens (U, T + 2, 384) and their mask, or (U, 1, 384) where they are pooled."""
        x_UTF, mask_UT = self.trunk(token_UT, full_mask(token_UT, mask_UT))
        if self.pool == "none":
            return x_UTF, mask_UT
        total_U1F = (x_UTF * mask_UT[..., None]).sum(1, keepdim=True)
        return functional.normalize(total_U1F, dim=2), None

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T + 2, width), or (B, 1, width)."""
        return encode(self, media)

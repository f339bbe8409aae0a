"""What all text encoders share: how a text is prepared.

Enters: (U, T) int64 token ids from the preparer, and their mask.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.protocols import Preparer
from sensorium.core.vocabulary import Vocab
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.word_vectors import WordVectors

log = logging.getLogger(__name__)


class TextInput(Section):
    """How a text is prepared: its tokenizer, and how many tokens of it are read."""

    tokenizer: str = "word"
    max_tokens: int = Field(64, ge=1, le=100_000)
    tokenizer_options: dict[str, str | bool | int | float] = Field(default_factory=dict)
    """Options of the tokenizer, such as { lowercase = false, min_count = 2, segmenter = "jieba" }."""

    vectors: Path | None = None
    """A file of word vectors (word2vec, GloVe, fastText) that the word embedding begins with."""

    def preparer(self) -> TextPreparer:
        """Make the (unfitted) preparer of these texts.  Raises ConfigError: an option that there is not."""
        return TextPreparer(tokenizer=self.tokenizer, max_tokens=self.max_tokens, **self.tokenizer_options)


class VocabPreparer(Preparer, Protocol):
    """A preparer that has learned a vocabulary, and in how many texts each token stands."""

    vocab: Vocab
    document_counts: Sequence[int]
    num_documents: int


def load_vectors(embed: nn.Embedding, vocab: Vocab, path: Path | None) -> None:
    """Copy the file's vectors of the vocabulary's words into `embed`, if there is a file; the log says how many.

    Raises:
        DataError: not readable, no such word in it, or of another width.
    """
    if path is not None:
        num_found = WordVectors.read(path, keep=vocab).fill(embed.weight, vocab)
        log.info("%s: vectors of %d of %d words", path, num_found, len(vocab))


def full_mask(token_UT: Tensor, mask_UT: Tensor | None) -> Tensor:
    """Return the mask, all real where there is none."""
    return torch.ones_like(token_UT, dtype=torch.bool) if mask_UT is None else mask_UT

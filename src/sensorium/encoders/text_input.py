"""What all text encoders share: how a text is prepared.

Enters: (U, T) int64 token ids from the preparer, and their mask.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ConfigError
from sensorium.core.protocols import Preparer
from sensorium.core.types import MediaBatch
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorTraining
from sensorium.encoders.masking import TokenMasking

log = logging.getLogger(__name__)


class TextInput(Section):
    """How a text is prepared: its tokenizer, and how many tokens of it are read."""

    tokenizer: str = "word"
    max_tokens: int = Field(64, ge=1, le=100_000)
    tokenizer_options: dict[str, str | bool | int | float] = Field(default_factory=dict)
    """Options of the tokenizer, such as { lowercase = false, min_count = 2, segmenter = "jieba" }."""

    def preparer(self) -> TextPreparer:
        """Make the (unfitted) preparer of these texts.  Raises ConfigError: an option that there is not."""
        return TextPreparer(tokenizer=self.tokenizer, max_tokens=self.max_tokens, **self.tokenizer_options)

    def masking(self, preparer: VocabPreparer, span: int | None = None) -> TokenMasking:
        """Say how words are hidden, one by one.  Raises ConfigError: a `span`."""
        return token_masking(preparer, span)


class EmbeddingInput(TextInput):
    """How a text is prepared, and what its word embedding begins with; else that is random."""

    vectors: Path | None = None
    """A file of word vectors (word2vec, GloVe, fastText) that the word embedding begins with."""

    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Chance, in training, that a word is read as unknown: without it the unknown word is never met."""

    learned_vectors: WordVectorTraining | None = None
    """Learn vectors from the training rows' own texts before anything descends, and begin with them; `true`
    takes the defaults."""

    @property
    def augments(self) -> bool:
        """Say whether training changes anything."""
        return self.word_dropout > 0

    @field_validator("learned_vectors", mode="before")
    @classmethod
    def _by_default(cls, training: Any) -> Any:
        return {True: WordVectorTraining(), False: None}[training] if isinstance(training, bool) else training

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.vectors is not None and self.learned_vectors is not None:
            raise ValueError("an embedding begins with a file's vectors or with learned_vectors, not both")
        return self


class WordDropout(nn.Module):
    """Read words as unknown in training (Iyyer et al. 2015, section 4, drops them whole); nothing outside training.

    Args:
        rate: chance of each word.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, token_UT: Tensor) -> Tensor:
        """Return ids (U, T)."""
        return self.changed(token_UT) if self.training else token_UT

    def media(self, media: MediaBatch) -> MediaBatch:
        """Return texts changed as in training."""
        return replace(media, values=self.changed(media.values))

    def changed(self, token_UT: Tensor) -> Tensor:
        """Read each word as unknown by chance; padding may be, too, and stays padding by its mask."""
        if not self.rate:
            return token_UT
        is_hidden_UT = torch.rand(token_UT.shape, device=token_UT.device) < self.rate
        return torch.where(is_hidden_UT, UNK, token_UT)


class VocabPreparer(Preparer, Protocol):
    """A preparer that has learned a vocabulary, and in how many texts each token stands."""

    vocab: Vocab
    document_counts: Sequence[int]
    num_documents: int


def token_masking(preparer: VocabPreparer, span: int | None) -> TokenMasking:
    """Hide tokens of the preparer's vocabulary one by one.  Raises ConfigError: a `span`."""
    if span is not None:
        raise ConfigError("words are hidden one by one", advice="leave 'span' out")
    return TokenMasking(len(preparer.vocab))


def load_vectors(embed: nn.Embedding, vocab: Vocab, path: Path | None) -> None:
    """Copy the file's vectors of the vocabulary's words into `embed`, if there is a file; the log says how many.

    Raises:
        DataError: not readable, no such word in it, or of another width.
    """
    if path is not None:
        num_found = WordVectors.read(path, keep=vocab).fill(embed.weight, vocab)
        log.info("%s: vectors of %d of %d words", path, num_found, len(vocab))


class EmbedsWords(Protocol):
    """An encoder whose embedding can begin with word vectors."""

    vocab: Vocab
    embed: nn.Embedding


def begin_with(encoder: EmbedsWords, vectors: WordVectors) -> int:
    """Copy `vectors` into the encoder's embedding, around 0 and as spread as it was made; returns how many.

    Vectors of little text have much in common, which says nothing of any word, so their mean is taken away (Mu
    and Viswanath 2018, "All-but-the-top").  Encoders are made with the spread that suits what follows, and words
    without a vector keep theirs.

    Raises:
        DataError: vectors of another width.
    """
    centred_VD = vectors.x_VD - vectors.x_VD.mean(0)
    spread = encoder.embed.weight.detach().std().cpu()
    scaled = WordVectors(vectors.words, centred_VD * (spread / centred_VD.std().clamp_min(1e-12)))
    return scaled.fill(encoder.embed.weight, encoder.vocab)


def full_mask(token_UT: Tensor, mask_UT: Tensor | None) -> Tensor:
    """Return the mask, all real where there is none."""
    return torch.ones_like(token_UT, dtype=torch.bool) if mask_UT is None else mask_UT

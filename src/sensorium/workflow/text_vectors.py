"""Word vectors of a text file.

Enters: UTF-8 text, one sentence a line (gzip if it ends in `.gz`).  Leaves: `WordVectors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.data import tokenizers
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorConfig, train_word_vectors
from sensorium.workflow.text_ngram import lines_of


def train_text_vectors(
    text: Path, config: WordVectorConfig, *, tokenizer: str = "whitespace", options: Mapping[str, Any] | None = None
) -> WordVectors:
    """Fit a tokenizer on the lines of `text`, then learn a vector for each of its words.

    Args:
        options: the tokenizer's settings.

    Raises:
        DataError: no such file, an empty one, a line that is not UTF-8, or no two words side by side.
        ConfigError: an unknown tokenizer, or an option out of range.
    """
    fitted = tokenizers.build(tokenizer, options).fit(lines_of(text))
    try:
        return train_word_vectors((fitted.encode(line) for line in lines_of(text)), fitted.vocab, config)
    except DataError as error:
        raise error.at(str(text)) from None

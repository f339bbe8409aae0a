"""One token a stretch without white space: text that is tokenised already, as KenLM and SRILM read it.

Enters: text whose tokens are parted by blanks.  Leaves: ids; decoding joins them by one blank.  White
space is ASCII's alone, so that a no-break space stays part of its word; case and form are left as they are.
The word `<unk>` is the unknown word, as it is for them.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field

from sensorium.core.config import Section
from sensorium.core.vocabulary import SPECIAL_TOKENS, UNK, Vocab
from sensorium.data.tokenizers.characters import split_at_blanks
from sensorium.data.tokenizers.lexical import LexicalTokenizer
from sensorium.data.tokenizers.lexicon import Lexicon


class WhitespaceTokenizer(LexicalTokenizer):
    """Split at white space."""

    name = "whitespace"
    unknown = frozenset({SPECIAL_TOKENS[UNK]})

    class Config(Section):
        """Settings; `vocabulary_size` includes the four special tokens."""

        vocabulary_size: int = Field(default=10_000_000, ge=5)
        min_count: int = Field(default=1, ge=1)

    @classmethod
    def of(cls, vocab: Vocab) -> Self:
        """Build over a vocabulary that is known already, as an ARPA file's is."""
        tokenizer = cls()
        tokenizer._lexicon = Lexicon(vocab)
        return tokenizer

    def split(self, text: str) -> list[str]:
        """Return the stretches between ASCII's blanks."""
        return split_at_blanks(text, as_c_does=True)

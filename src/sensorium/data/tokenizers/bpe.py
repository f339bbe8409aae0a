"""Byte-level byte-pair encoding: any text in, the same text out, no unknown tokens.

Enters: text, kept exactly as it is (no normalisation).  Leaves: ids; `decode(encode(text)) == text`.

Source: Sennrich, Haddow and Birch 2016 (merging the most frequent pair), over UTF-8 bytes as in GPT-2
(Radford et al. 2019, section 2.2), by the `tokenizers` library.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import SPECIAL_TOKENS, Vocab
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import encodable, lowered
from sensorium.data.tokenizers.lexicon import NUM_SPECIAL, FitReport

_NUM_BYTES = 256


class BpeTokenizer:
    """Split into the byte sequences that the fitted texts repeat most."""

    name = "bpe"

    class Config(Section):
        """Settings; `vocabulary_size` includes 4 special tokens and 256 bytes.

        `min_count`: pairs rarer than that are not merged.  `max_token_bytes` keeps whole sentences of
        scripts without blanks from becoming one token (a Chinese character has 3 bytes).
        """

        vocabulary_size: int = Field(default=8_000, ge=NUM_SPECIAL + _NUM_BYTES)
        min_count: int = Field(default=2, ge=1)
        max_token_bytes: int = Field(default=24, ge=2)
        lowercase: bool = False

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.report_ = FitReport()
        self.num_unknown = 0  # stays 0: every byte is in the vocabulary
        self._vocab: Vocab | None = None
        self._merges: list[tuple[str, str]] = []
        self._engine: Engine | None = None

    @property
    def vocab(self) -> Vocab:
        """The fitted vocabulary, in GPT-2's spelling of bytes.  Raises ModelError before `fit` or `load`."""
        if self._vocab is None:
            raise ModelError(
                "the 'bpe' tokenizer has no vocabulary yet", advice="fit it on texts, or load a saved one"
            )
        return self._vocab

    def fit(self, texts: Iterable[str]) -> Self:
        """Learn merges; memory grows with the different words of the texts, not with their number."""
        engine = _engine(BPE())
        trainer = BpeTrainer(
            vocab_size=self.config.vocabulary_size,
            min_frequency=self.config.min_count,
            max_token_length=self.config.max_token_bytes,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        num_texts = 0

        def counted() -> Iterator[str]:
            nonlocal num_texts
            for text in texts:
                num_texts += 1
                yield self._text(text)

        engine.train_from_iterator(counted(), trainer)
        model = json.loads(engine.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        self._set(tokens, model["merges"], "fit")
        self.report_ = FitReport(num_texts=num_texts, num_kept=len(tokens) - NUM_SPECIAL)
        return self

    def encode(self, text: str) -> list[int]:
        """Return the ids of the byte sequences; none is unknown."""
        ids: list[int] = self._ready().encode(self._text(text)).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; bytes that are no UTF-8 become U+FFFD, special ids are skipped."""
        text: str = self._ready().decode([i for i in ids if i >= NUM_SPECIAL])
        return text

    def normalised(self, text: str) -> str:
        """Return `text` as `decode` would write it."""
        return self._text(text)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens, "merges": self._merges})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        merges = saved.learned(folder, self.name, self.config, "merges")
        self._set(tokens, merges, str(folder / saved.FILE))
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Plain data only; the engine is built again where it is first used.
        return {**self.__dict__, "_engine": None}

    def _text(self, text: str) -> str:
        text = encodable(text)
        return lowered(text) if self.config.lowercase else text

    def _set(self, tokens: Any, merges: Any, where: str) -> None:
        try:
            self._vocab = Vocab(tuple(tokens))
            self._merges = [(str(left), str(right)) for left, right in merges]
        except (TypeError, ValueError):
            raise ModelError("has no list of tokens and merges", where=where) from None
        self._engine = None
        try:
            self._ready()
        except Exception as error:  # the library raises bare Exceptions
            raise ModelError(f"has merges outside its vocabulary: {error}", where=where) from None

    def _ready(self) -> Engine:
        if self._engine is None:
            # Without "added" tokens: a text that spells <s> is three signs, not BOS.
            ids = {token: i for i, token in enumerate(self.vocab.tokens)}
            self._engine = _engine(BPE(vocab=ids, merges=self._merges))
        return self._engine


def _engine(model: BPE) -> Engine:
    engine = Engine(model)
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    return engine

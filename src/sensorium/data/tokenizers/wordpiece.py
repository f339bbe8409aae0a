"""WordPiece with a published vocabulary: nothing is learned, so that published word vectors fit their tokens.

Enters: text.  Leaves: ids; letters are lowered and lose their accents, as the vocabulary's network was trained.
The vocabulary is that of a packaged network, whose four special tokens go to the front under our names.

Source: Schuster and Nakajima 2012; Devlin et al. 2019, section 3; by the `tokenizers` library.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import SPECIAL_TOKENS, Vocab
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import encodable
from sensorium.data.tokenizers.engine import written
from sensorium.data.tokenizers.lexicon import NUM_SPECIAL
from sensorium.media.packaged import packaged_files

PUBLISHED_NAMES = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
"""What the published vocabulary calls PAD, BOS, EOS and UNK."""


class WordPieceTokenizer:
    """Split words into the longest pieces that the published vocabulary has, from left to right.

    A text that spells "[SEP]" is three signs, not the special token.
    """

    name = "wordpiece"

    class Config(Section):
        """Settings: whose vocabulary."""

        source: Literal["minilm"] = "minilm"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self.num_unknown = 0
        self._vocab: Vocab | None = None
        self._engine: Engine | None = None

    @property
    def vocab(self) -> Vocab:
        """The published vocabulary.  Raises ModelError before `fit` or `load`."""
        if self._vocab is None:
            raise ModelError("the 'wordpiece' tokenizer has no vocabulary yet", advice="fit or load it")
        return self._vocab

    def fit(self, texts: Iterable[str]) -> Self:
        """Read the packaged vocabulary; the texts are gone through, for those who count them, and teach nothing.

        Raises:
            MissingExtraError: the package is not installed.
            ModelError: it is another one.
        """
        for _ in texts:
            pass
        published = published_ids(self.config.source)
        tokens = sorted(set(published) - set(PUBLISHED_NAMES), key=published.__getitem__)
        self._vocab, self._engine = Vocab.of(tokens), None
        return self

    def encode(self, text: str) -> list[int]:
        """Return the ids of the pieces; a word without any is UNK."""
        ids: list[int] = self._ready().encode(encodable(text)).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text, lower case; special ids are skipped."""
        text: str = self._ready().decode([i for i in ids if i >= NUM_SPECIAL])
        return text

    def normalised(self, text: str) -> str:
        """Return `text` as `decode` would write it; where a word has no pieces, only in lower case."""
        return written(self._ready(), encodable(text), SPECIAL_TOKENS[3])

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        saved.write(folder, self.name, self.config, {"tokens": self.vocab.tokens})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; the package is not needed.  Raises ModelError."""
        tokens = saved.learned(folder, self.name, self.config, "tokens")
        try:
            self._vocab, self._engine = Vocab(tuple(tokens)), None
        except TypeError:
            raise ModelError("has no list of tokens", where=str(folder / saved.FILE)) from None
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Plain data only; the engine is built again where it is first used.
        return {**self.__dict__, "_engine": None}

    def _ready(self) -> Engine:
        if self._engine is None:
            ids = {token: i for i, token in enumerate(self.vocab.tokens)}
            engine = Engine(WordPiece(vocab=ids, unk_token=SPECIAL_TOKENS[3], max_input_chars_per_word=100))
            engine.normalizer = normalizers.BertNormalizer(lowercase=True)
            engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            engine.decoder = decoders.WordPiece()
            self._engine = engine
        return self._engine


def published_ids(source: str) -> dict[str, int]:
    """Return the packaged network's own ids by token.  Raises MissingExtraError, ModelError."""
    path = packaged_files(source)["model.zip"]
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("tokenizer.json"))
    vocab: dict[str, int] = content["model"]["vocab"]
    return vocab

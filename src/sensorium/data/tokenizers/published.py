"""The tokenizer that a language model was published with, its special signs mapped to ours.

Enters: text, and a folder with `tokenizer.json`, a GGUF file, or packaged weights.  Leaves: ids of a
`BorrowedVocab`: our four special tokens, then its tokens in its order.  What it calls padding, beginning, end and
unknown is ours of that name, so counts over these ids and the published network score the same sequences.

Special signs that a text spells are text: "<|im_end|>" in a caption does not end it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from tokenizers import Tokenizer as Engine

from sensorium.core import text_file
from sensorium.core.config import Section
from sensorium.core.errors import DataError, ModelError
from sensorium.core.vocabulary import SPECIAL_TOKENS, UNK, BorrowedVocab
from sensorium.data.language_source import published_path
from sensorium.data.published import require_vocabulary
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import encodable
from sensorium.data.tokenizers.engine import written
from sensorium.data.tokenizers.gguf_bpe import engine_of
from sensorium.data.tokenizers.lexicon import NUM_SPECIAL, FitReport
from sensorium.media.gguf import Gguf

_ROLES = ("pad", "bos", "eos", "unk")


class PublishedTokenizer:
    """Split as a published language model does."""

    name = "published"

    class Config(Section):
        """Where the tokenizer is published: a folder, a .gguf file, or packaged weights ("smollm2-135m").

        With `keep = "seen"` the tokens that the fitted texts never use are left out, and the network's word vectors
        and output layer shrink with them.
        """

        source: str
        keep: Literal["all", "seen"] = "all"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.report_ = FitReport()
        self.num_unknown = 0
        self._content, self._special = "", dict[str, int]()
        self._kept: list[int] | None = None
        self._vocab: BorrowedVocab | None = None
        self._engine: Engine | None = None
        self._ours: dict[int, int] = {}

    @property
    def vocab(self) -> BorrowedVocab:
        """The vocabulary.  Raises ModelError before `fit` or `load`."""
        if self._vocab is None:
            raise _unread()
        return self._vocab

    def fit(self, texts: Iterable[str] = ()) -> Self:
        """Read the published tokenizer; of the texts it learns at most which tokens they use.

        Raises:
            ConfigError, MissingExtraError: no such source.
            ModelError: no tokenizer in it that is understood here.
        """
        path = published_path(self.config.source)
        content, special = _from_folder(path) if path.is_dir() else _from_gguf(path)
        self._set(content, special, None, str(path))
        num_texts, num_published, seen = 0, len(self.vocab), set[int]()
        for text in texts:
            num_texts += 1
            if self.config.keep == "seen":
                seen.update(self._numbers(text))
        if self.config.keep == "seen":
            self._set(content, special, sorted(seen), str(path))
        left_out = num_published - len(self.vocab)
        self.report_ = FitReport(num_texts, num_kept=len(self.vocab) - NUM_SPECIAL, num_left_out=left_out)
        return self

    def encode(self, text: str) -> list[int]:
        """Return ids without BOS and EOS; what the vocabulary lacks becomes UNK and is counted."""
        ids = [self._ours.get(number, UNK) for number in self._numbers(text)]
        self.num_unknown += ids.count(UNK)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; special signs, ours and theirs, are skipped."""
        source_ids = self.vocab.source_ids
        theirs = [source_ids[i] for i in ids if i >= NUM_SPECIAL]
        text: str = self._ready().decode(theirs, skip_special_tokens=True)
        return text

    def normalised(self, text: str) -> str:
        """Return `text` as `decode` would write it if the vocabulary lacked nothing of it."""
        unknown = self._special.get("unk", -1)
        return written(self._ready(), encodable(text), self._ready().id_to_token(unknown) if unknown >= 0 else None)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into `folder`: all of it, so that the source is not needed again."""
        self._ready()
        learned = {"engine": self._content, "special_ids": self._special, "kept": self._kept}
        saved.write(folder, self.name, self.config, learned)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        content, special, kept = (
            saved.learned(folder, self.name, self.config, key) for key in ("engine", "special_ids", "kept")
        )
        self._set(content, special, kept, str(folder / saved.FILE))
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Plain data only; the engine is built again where it is first used.
        return {**self.__dict__, "_engine": None}

    def _numbers(self, text: str) -> list[int]:
        found: list[int] = self._ready().encode(encodable(text), add_special_tokens=False).ids
        return found

    def _set(self, content: Any, special: Any, kept: Any, where: str) -> None:
        self._content, self._special, self._kept, self._engine = content, special, kept, None
        try:
            numbers = self._ready().get_vocab(with_added_tokens=True)
            by_role = [int(special.get(role, -1)) for role in _ROLES]
            wanted = set(numbers.values() if kept is None else kept)
        except Exception as error:  # the library raises bare Exceptions
            raise ModelError(f"is no readable tokenizer: {error}", where=where) from None
        if by_role[2] < 0:
            raise ModelError("has no sign to end a text with", where=where)
        ordinary = [
            (number, token)
            for token, number in sorted(numbers.items(), key=lambda pair: pair[1])
            if number not in by_role and token not in SPECIAL_TOKENS and number in wanted
        ]
        tokens = SPECIAL_TOKENS + tuple(token for _, token in ordinary)
        self._vocab = BorrowedVocab(tokens, source_ids=(*by_role, *(number for number, _ in ordinary)))
        self._ours = {number: NUM_SPECIAL + i for i, (number, _) in enumerate(ordinary)}

    def _ready(self) -> Engine:
        if self._engine is None:
            if not self._content:
                raise _unread()
            engine = Engine.from_str(self._content)
            engine.no_padding()
            engine.no_truncation()
            engine.encode_special_tokens = True
            self._engine = engine
        return self._engine


def _unread() -> ModelError:
    return ModelError("the 'published' tokenizer has not been read yet", advice="fit it, or load a saved one")


def _from_gguf(path: Path) -> tuple[str, dict[str, int]]:
    engine, special = engine_of(Gguf(path).metadata, str(path))
    return engine.to_str(), special


def _from_folder(folder: Path) -> tuple[str, dict[str, int]]:
    """Read `tokenizer.json`, and the special signs from the files beside it that name them."""
    where = str(folder / saved.FILE)
    try:
        content = text_file.whole(folder / saved.FILE)
        numbers = Engine.from_str(content).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises bare Exceptions
        raise ModelError(f"no tokenizer can be read: {error}", where=where) from None
    named = _json(folder / "tokenizer_config.json")
    numbered = _json(folder / "config.json")
    special = {}
    for role in _ROLES:
        sign: Any = named.get(f"{role}_token")
        sign = sign.get("content") if isinstance(sign, Mapping) else sign
        number: Any = numbers.get(sign) if isinstance(sign, str) else numbered.get(f"{role}_token_id")
        number = number[0] if isinstance(number, list) and number else number
        if type(number) is int:
            special[role] = number
    require_vocabulary(set(numbers.values()) - set(special.values()), numbered, str(folder))
    return content, special


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(text_file.whole(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, DataError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path)) from None
    return found if isinstance(found, dict) else {}

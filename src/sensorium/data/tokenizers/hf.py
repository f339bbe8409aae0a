"""A published model's tokenizer, its special signs mapped to ours.

Enters: text, and a folder that transformers saved (or a name on the hub).  Leaves: ids of a `BorrowedVocab`: our
four special tokens, then its tokens in its order.  What it calls padding, beginning, end and unknown is ours of
that name, so an n-gram counted on these ids and the published network score the same sequences.

Special signs spelled in a text are text: "</s>" in a caption does not end it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from tokenizers import Tokenizer as Engine

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import SPECIAL_TOKENS, UNK, BorrowedVocab
from sensorium.data.published import Published, import_transformers, pinned_revision
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.characters import encodable
from sensorium.data.tokenizers.engine import written

NUM_SPECIAL = len(SPECIAL_TOKENS)
_ROLES = ("pad", "bos", "eos", "unk")


class HfTokenizer:
    """Split as a published model does."""

    name = "hf"

    class Config(Section):
        """Settings; with `keep = "seen"` the tokens that the fitted texts never use are left out.

        The network's word vectors and output layer shrink with it: a tenth of the work where texts are captions.
        """

        source: str
        revision: str | None = None
        keep: Literal["all", "seen"] = "all"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.num_unknown = 0
        self._content = ""
        self._special: dict[str, int] = {}
        self._kept: list[int] | None = None
        self._vocab: BorrowedVocab | None = None
        self._ours: dict[int, int] = {}
        self._engine: Engine | None = None

    @property
    def vocab(self) -> BorrowedVocab:
        """The vocabulary.  Raises ModelError before `fit` or `load`."""
        if self._vocab is None:
            raise ModelError("the 'hf' tokenizer has not been read yet", advice="fit it, or load a saved one")
        return self._vocab

    @property
    def engine_json(self) -> str:
        """The whole published tokenizer, as the `tokenizers` library writes it."""
        return self._content

    @property
    def special_ids(self) -> dict[str, int]:
        """The published numbers of the signs for padding, beginning, end and unknown that there are, by role."""
        return dict(self._special)

    @property
    def keeps_all(self) -> bool:
        """Say whether every published token is in the vocabulary."""
        return self._kept is None

    def fit(self, texts: Iterable[str]) -> Self:
        """Read the published tokenizer; of the texts it learns at most which tokens they use.

        Raises:
            ModelError: no such folder, or no tokenizer in it that the `tokenizers` library runs.
            MissingExtraError: transformers is not installed.
        """
        content, special = _read(self.config)
        self._set(content, special, None, self.config.source)
        if self.config.keep == "seen":
            engine = self._ready()
            seen = {i for text in texts for i in engine.encode(encodable(text), add_special_tokens=False).ids}
            self._set(content, special, sorted(seen), self.config.source)
        return self

    def encode(self, text: str) -> list[int]:
        """Return ids without BOS and EOS; what was left out of the vocabulary becomes UNK and is counted."""
        found = self._ready().encode(encodable(text), add_special_tokens=False).ids
        ids = [self._ours.get(i, UNK) for i in found]
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

    def _set(self, content: Any, special: Any, kept: Any, where: str) -> None:
        self._content, self._special, self._kept, self._engine = content, special, kept, None
        try:
            numbers = self._ready().get_vocab(with_added_tokens=True)
            by_role = [int(special.get(role, -1)) for role in _ROLES]
            wanted = None if kept is None else set(kept)
        except Exception as error:  # the library raises bare Exceptions
            raise ModelError(f"is no readable tokenizer: {error}", where=where) from None
        ordinary = [
            (number, token)
            for token, number in sorted(numbers.items(), key=lambda pair: pair[1])
            if number not in by_role and token not in SPECIAL_TOKENS and (wanted is None or number in wanted)
        ]
        tokens = SPECIAL_TOKENS + tuple(token for _, token in ordinary)
        self._vocab = BorrowedVocab(tokens, source_ids=(*by_role, *(number for number, _ in ordinary)))
        self._ours = {number: NUM_SPECIAL + i for i, (number, _) in enumerate(ordinary)}

    def _ready(self) -> Engine:
        if self._engine is None:
            if not self._content:
                raise ModelError("the 'hf' tokenizer has not been read yet", advice="fit it, or load a saved one")
            engine = Engine.from_str(self._content)
            engine.no_padding()
            engine.no_truncation()
            engine.encode_special_tokens = True
            self._engine = engine
        return self._engine


def _read(config: HfTokenizer.Config) -> tuple[str, Mapping[str, int]]:
    """Return the engine, as JSON, and the numbers of the special signs that there are, by role."""
    import_transformers()
    published = Published.read(config.source, pinned_revision(config.source, config.revision))
    found = published.tokenizer()
    if not found.is_fast:
        what = f"has a {type(found).__name__}, which the 'tokenizers' library does not run"
        raise ModelError(what, where=config.source, advice="choose a network that has a tokenizer.json")
    numbers = {role: getattr(found, f"{role}_token_id", None) for role in _ROLES}
    special = {role: int(number) for role, number in numbers.items() if number is not None}
    if special.get("unk") in [special.get(role) for role in ("pad", "bos", "eos")]:
        special.pop("unk", None)  # GPT-2 names its end sign for it, and never needs one
    return found.backend_tokenizer.to_str(), special

"""Texts as ids of the vocabulary that a network which Keras saved was trained with.

Enters: str.  Leaves: int64 (T,), 1 <= T <= max_tokens, never more than the network reads.

A network reads ids, and what word each is stands beside it: a text file of one token a line, the first one id 0
(`TextVectorization.get_vocabulary()`, whose id 0 is padding and id 1 "[UNK]"), or a JSON file that gives each word
its id (`Tokenizer.word_index`).  Texts are cleaned as `TextVectorization` does it by default.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from sensorium.core import text_file
from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Item
from sensorium.data.hiding import HiddenTokens
from sensorium.data.keras_preparer import KerasPreparer
from sensorium.data.preparation import fingerprint_of
from sensorium.data.text_preparer import padded_ids

Cleaning = Literal["lower_and_strip_punctuation", "lower", "strip_punctuation", "none"]
Side = Literal["after", "before"]

UNKNOWN = ("[UNK]", "<OOV>", "<UNK>", "<unk>")
"""What a word that the vocabulary lacks is read as, the first that there is; without any it is left out."""
PADDING = 0

_SAVED = "vocabulary.json"
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


class KerasTextPreparer(KerasPreparer):
    """Turn text into ids as the network was trained with.

    Args:
        source: the network's file.
        layer: whose output is wanted; None = what the network itself puts out.
        vocabulary: the file of words and ids.
        cleaning: what is done to a text before it is split at blanks.
        max_tokens: the most tokens of a text; a network of a fixed length reads no more than that.
        padding: where a network of a fixed length is filled up; "before" also keeps the end of a longer text,
            as Keras's `pad_sequences` does both by default.

    Attributes:
        truncated: texts cut so far, in this process.
        left_out: words left out so far because the vocabulary has neither them nor a word for unknown ones.
    """

    modality = "text"

    def __init__(
        self,
        source: str,
        layer: str | None = None,
        *,
        vocabulary: Path,
        cleaning: Cleaning = "lower_and_strip_punctuation",
        max_tokens: int = 64,
        padding: Side = "after",
    ) -> None:
        super().__init__(source, layer)
        self.vocabulary, self.cleaning, self.padding = vocabulary, cleaning, padding
        self.max_tokens = max_tokens
        self.hiding = HiddenTokens()
        self.truncated, self.left_out = 0, 0
        self._ids: dict[str, int] = {}
        self._unknown: int | None = None

    def _settle(self) -> None:
        shape = self.network.shape
        if len(shape) != 1:
            raise self._refused("texts (ids,)")
        if shape[0] is not None:
            self.max_tokens = min(self.max_tokens, shape[0])
        self._unknown = next((self._ids[word] for word in UNKNOWN if word in self._ids), None)
        self.hiding = HiddenTokens(unknown=PADDING if self._unknown is None else self._unknown)

    def fit(self, items: Iterable[Item]) -> Self:
        """Read network and vocabulary; nothing is learned from `items`.  Raises ModelError, MissingExtraError."""
        self._ids = _read_vocabulary(self.vocabulary)
        return super().fit(items)

    def item(self, cell: str, folder: Path) -> Item:
        """Return the text as it is; None where it is blank."""
        return cell if cell.strip() else None

    def __call__(self, item: Item) -> Tensor:
        """Return ids, int64 (T,).  A text of no known words is padding alone.  Raises DataError."""
        if not isinstance(item, str):
            raise DataError(f"a text input holds text, not {type(item).__name__}")
        found = [self._ids.get(word, self._unknown) for word in self._cleaned(item).split()]
        ids = [i for i in found if i is not None]
        self.left_out += len(found) - len(ids)
        if len(ids) > self.max_tokens:
            self.truncated += 1
            ids = ids[: self.max_tokens] if self.padding == "after" else ids[-self.max_tokens :]
        return torch.tensor(ids or [PADDING], dtype=torch.int64)

    def _cleaned(self, text: str) -> str:
        text = text.lower() if self.cleaning.startswith("lower") else text
        return _PUNCTUATION.sub("", text) if self.cleaning.endswith("strip_punctuation") else text

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad to int64 (U, T); mask (U, T) bool."""
        return padded_ids(values)

    @property
    def fingerprint(self) -> str:
        """Name this preparation and the network.  Raises ModelError before `fit`."""
        return fingerprint_of(
            "keras_text.1",
            file=self.file.digest,
            layer=self.layer,
            words=json.dumps(self._ids, sort_keys=True),
            cleaning=self.cleaning,
            max_tokens=self.max_tokens,
            padding=self.padding,
        )

    def save(self, folder: Path) -> None:
        """Write network and vocabulary into `folder`."""
        super().save(folder)
        (folder / _SAVED).write_text(json.dumps(self._ids, ensure_ascii=False), encoding="utf-8")

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; the source is not needed.  Raises ModelError."""
        self._ids = _read_vocabulary(folder / _SAVED)
        return super().load(folder)


def _read_vocabulary(path: Path) -> dict[str, int]:
    """Read words and their ids.  Raises ModelError."""
    try:
        text = text_file.whole(path)
        ids = json.loads(text) if path.suffix == ".json" else {w: i for i, w in enumerate(text.split("\n"))}
    except (OSError, ValueError, DataError) as error:
        advice = "write one: Path('words.txt').write_text('\\n'.join(vectorize.get_vocabulary()))"
        raise ModelError(f"cannot be read as a vocabulary: {error}", where=str(path), advice=advice) from None
    if not isinstance(ids, dict) or not all(type(i) is int and i >= 0 for i in ids.values()):
        advice = 'write {"word": 2, ...}, as Tokenizer.word_index'
        raise ModelError("does not give each word an id from 0", where=str(path), advice=advice)
    ids.pop("", None)  # padding, and the end of the last line
    if not ids:
        raise ModelError("holds no words", where=str(path))
    return {str(word): int(i) for word, i in ids.items()}

"""Texts as ids of a vocabulary that is fitted on the training texts.

Enters: str.  Leaves: int64 (T,), 1 <= T <= max_tokens, without BOS and EOS.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.core.types import Item
from sensorium.core.vocabulary import PAD, UNK, Vocab
from sensorium.data import tokenizers
from sensorium.data.hiding import HiddenTokens
from sensorium.data.preparation import fingerprint_of
from sensorium.data.tokenizers import Tokenizer

FILE = "text.json"


class TextPreparer:
    """Turn text into ids; texts longer than `max_tokens` keep their beginning and are counted.

    Args:
        tokenizer: a name in `TOKENIZERS`, or a tokenizer that is none of the user's choice.
        max_tokens: the most tokens of a text.
        options: fields of the tokenizer's Config (vocabulary_size, min_count, lowercase, ...).

    Attributes:
        truncated: texts cut so far, in this process.
        unknown: tokens outside the vocabulary so far, in this process.
        document_counts: by id, how many different fitted texts hold the token.
        num_documents: how many different texts were fitted.

    Raises:
        ConfigError: an unknown tokenizer or option.
    """

    modality = "text"
    hiding = HiddenTokens()

    def __init__(self, *, tokenizer: str | Tokenizer = "word", max_tokens: int = 128, **options: Any) -> None:
        if max_tokens < 1:
            raise ConfigError(f"max_tokens is {max_tokens}, a text needs 1 at least")
        self.tokenizer = tokenizers.build(tokenizer, options) if isinstance(tokenizer, str) else tokenizer
        self.max_tokens = max_tokens
        self.truncated = 0
        self.unknown = 0
        self.document_counts: list[int] = []
        self.num_documents = 0

    @property
    def vocab(self) -> Vocab:
        """The fitted vocabulary.  Raises ModelError before `fit` or `load`."""
        return self.tokenizer.vocab

    def item(self, cell: str, folder: Path) -> Item:
        """Return the text as it is; None where it is blank."""
        return cell if cell.strip() else None

    def fit(self, items: Iterable[Item]) -> Self:
        """Fit the tokenizer on all texts, then count the different texts that hold each token.

        One pass over `items`, which may be a stream: different texts wait in a temporary file, so that
        memory grows by a few bytes a text.

        Raises:
            DataError: an item is not text, or there is none.
        """
        with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
            self.tokenizer.fit(_spooled(items, spool))
            spool.seek(0)
            counts = [0] * len(self.vocab)
            self.num_documents = 0
            for line in spool:
                self.num_documents += 1
                for token in set(self._ids(json.loads(line))):
                    counts[token] += 1
        self.document_counts = counts
        if not self.num_documents:
            raise DataError("there is no text to fit a vocabulary on", advice="check the column's name and cells")
        return self

    def __call__(self, item: Item) -> Tensor:
        """Return ids, int64 (T,).  A text of no tokens becomes one UNK.  Raises DataError."""
        if not isinstance(item, str):
            raise DataError(f"a text input holds text, not {type(item).__name__}")
        ids = self._ids(item)
        if len(ids) > self.max_tokens:
            self.truncated += 1
            ids = ids[: self.max_tokens]
        self.unknown += ids.count(UNK)
        return torch.tensor(ids, dtype=torch.int64)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad to int64 (U, T); mask (U, T) bool."""
        return padded_ids(values)

    @property
    def fingerprint(self) -> str:
        """Name this preparation: tokenizer, settings and vocabulary.  Raises ModelError before `fit`."""
        settings = json.dumps(self.tokenizer.config.model_dump(mode="json"), sort_keys=True)
        return fingerprint_of(
            "text.1",
            tokenizer=self.tokenizer.name,
            settings=settings,
            vocab=self.vocab.fingerprint,
            max_tokens=self.max_tokens,
        )

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and the document counts into `folder`."""
        self.tokenizer.save(folder)
        counts = {"num_documents": self.num_documents, "document_counts": self.document_counts}
        (folder / FILE).write_text(json.dumps(counts), encoding="utf-8")

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        self.tokenizer.load(folder)
        try:
            counts = json.loads((folder / FILE).read_text(encoding="utf-8"))
            num_documents, document_counts = (
                int(counts["num_documents"]),
                [int(n) for n in counts["document_counts"]],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"holds no readable document counts: {error}", where=str(folder / FILE)) from None
        if len(document_counts) != len(self.vocab):
            raise ModelError(
                f"counts {len(document_counts)} tokens, the vocabulary has {len(self.vocab)}",
                where=str(folder / FILE),
            )
        self.num_documents, self.document_counts = num_documents, document_counts
        return self

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text) or [UNK]


def padded_ids(values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad sequences of ids to int64 (U, T); mask (U, T) bool."""
    if not values:
        return torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0, dtype=torch.bool)
    length_U = torch.tensor([len(value) for value in values])
    mask_UT = torch.arange(int(length_U.max())) < length_U[:, None]
    return pad_sequence(list(values), batch_first=True, padding_value=PAD), mask_UT


def _spooled(items: Iterable[Item], spool: IO[str]) -> Iterator[str]:
    """Yield every text, and write each different one to `spool` as a line of JSON."""
    seen: set[int] = set()
    for item in items:
        if item is None:
            continue
        if not isinstance(item, str):
            raise DataError(f"a text input holds text, not {type(item).__name__}")
        digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "little")
        if key not in seen:
            seen.add(key)
            spool.write(json.dumps(item) + "\n")
        yield item

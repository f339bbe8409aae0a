"""Texts as ids of a published tokenizer.

Enters: str.  Leaves: int64 (T,), 1 <= T <= max_tokens, with the special tokens that the tokenizer adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.types import Item
from sensorium.data.hiding import HiddenTokens
from sensorium.data.preparation import fingerprint_of
from sensorium.data.published_preparer import PublishedPreparer
from sensorium.data.text_preparer import padded_ids


class PublishedTextPreparer(PublishedPreparer):
    """Turn text into ids as the network was trained with; longer texts keep their beginning and are counted.

    Args:
        source: a folder, or a name on the hub.
        revision: a commit on the hub.
        max_tokens: the most tokens of a text, special ones included; never more than the network reads.

    Attributes:
        truncated: texts cut so far, in this process.
    """

    modality = "text"

    def __init__(self, source: str, revision: str | None = None, *, max_tokens: int = 64) -> None:
        super().__init__(source, revision)
        self.max_tokens = max_tokens
        self.hiding = HiddenTokens()
        self.truncated = 0

    def _open(self) -> Any:
        return self.published.tokenizer()

    def _settle(self) -> None:
        tokenizer, config = self.processor, self.published.config
        limits = [tokenizer.model_max_length, config.get("max_position_embeddings"), config.get("n_positions")]
        self.max_tokens = min(self.max_tokens, *(limit for limit in limits if isinstance(limit, int)))
        self.hiding = HiddenTokens(unknown=_first(tokenizer.mask_token_id, self._blank_id))

    @property
    def _blank_id(self) -> int:
        tokenizer = self.processor
        return _first(tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)

    def item(self, cell: str, folder: Path) -> Item:
        """Return the text as it is; None where it is blank."""
        return cell if cell.strip() else None

    def __call__(self, item: Item) -> Tensor:
        """Return ids, int64 (T,).  A text of no tokens becomes one unknown.  Raises DataError."""
        if not isinstance(item, str):
            raise DataError(f"a text input holds text, not {type(item).__name__}")
        ids = self.processor(item, verbose=False)["input_ids"]
        if len(ids) > self.max_tokens:
            self.truncated += 1
            ids = self.processor(item, truncation=True, max_length=self.max_tokens)["input_ids"]
        return torch.tensor(ids or [self._blank_id], dtype=torch.int64)

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad to int64 (U, T); mask (U, T) bool."""
        return padded_ids(values)

    def example(self) -> Tensor:
        """Return ids as the network may be given, (1, 3)."""
        return torch.full((1, 3), self._blank_id)

    @property
    def fingerprint(self) -> str:
        """Name this preparation.  Raises ModelError before `fit`."""
        return fingerprint_of("published_text.1", files=self.published.digest, max_tokens=self.max_tokens)


def _first(*ids: int | None) -> int:
    return next(i for i in ids if i is not None)

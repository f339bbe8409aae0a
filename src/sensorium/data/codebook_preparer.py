"""Sounds and images as words: each frame or patch is named by the nearest code of a codebook.

Enters: what another preparer makes of a medium.  Leaves: int64 (T,) ids of a vocabulary of codes, so that
whatever reads texts (naive Bayes, bags of words) reads sounds and images too.
Sources: Sivic and Zisserman 2003, "Video Google"; Csurka et al. 2004, "Visual categorization with bags of
keypoints".
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.core.errors import DataError, ModelError, SensoriumError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item
from sensorium.core.vocabulary import SPECIAL_TOKENS, Vocab
from sensorium.data.codebook import Codebook
from sensorium.data.hiding import HiddenTokens
from sensorium.data.preparation import fingerprint_of, num_cut
from sensorium.data.text_preparer import padded_ids

logger = logging.getLogger(__name__)

FILE = "codebook.safetensors"
_MOST_VECTORS = 50_000


class CodebookPreparer:
    """Turn a medium into code words.

    Args:
        preparer: makes a tensor of a medium.
        describe: makes vectors (T, F) of that tensor; a frozen dataclass, since its repr names what it does.
        num_codes: the size of the codebook.
        max_items: how many media, drawn by chance, the codebook is fitted on.

    Attributes:
        document_counts: by id, how many of those media hold the code.
        num_documents: how many those were.
    """

    hiding = HiddenTokens()

    def __init__(
        self,
        preparer: Preparer,
        describe: Callable[[Tensor], Tensor],
        *,
        num_codes: int = 256,
        max_items: int = 1000,
    ) -> None:
        self.preparer, self.describe = preparer, describe
        self.num_codes, self.max_items = num_codes, max_items
        self.modality = preparer.modality
        self.document_counts: list[int] = []
        self.num_documents = 0
        self._codebook: Codebook | None = None

    @property
    def vocab(self) -> Vocab:
        """The names of the codes.  Raises ModelError before `fit` or `load`."""
        return Vocab.of(f"code{i}" for i in range(len(self.codebook.code_CF)))

    @property
    def codebook(self) -> Codebook:
        """The fitted codebook.  Raises ModelError before `fit` or `load`."""
        if self._codebook is None:
            raise ModelError("the codebook is not fitted yet")
        return self._codebook

    @property
    def truncated(self) -> int:
        """Count the media that the other preparer cut so far, in this process."""
        return num_cut(self.preparer)

    @property
    def policy(self) -> Any:
        """What may be opened, as the other preparer is told."""
        return getattr(self.preparer, "policy", None)

    @policy.setter
    def policy(self, policy: Any) -> None:
        self.preparer.policy = policy  # type: ignore[attr-defined]

    def item(self, cell: str, folder: Path) -> Item:
        """Read a table cell as the other preparer does."""
        return self.preparer.item(cell, folder)

    def fit(self, items: Iterable[Item]) -> Self:
        """Fit the codebook on media drawn by chance; those that cannot be read are counted in the log.

        Raises:
            DataError: none can be read.
        """
        kept, described = list(itertools.islice(_shuffled(items), self.max_items)), []
        for item in kept:
            try:
                described.append(self.describe(self.preparer(item)))
            except SensoriumError as error:
                logger.warning("left out of the codebook: %s", error)
        if not described:
            raise DataError(f"none of {len(kept)} media can be read, so there is nothing to fit a codebook on")
        x_NF = torch.cat(described)
        generator = torch.Generator().manual_seed(0)
        drawn_N = torch.randperm(len(x_NF), generator=generator)[:_MOST_VECTORS]
        self._codebook = Codebook.fitted(x_NF[drawn_N], self.num_codes)
        seen = [torch.unique(self._ids(x_TF)) for x_TF in described]
        self.document_counts = torch.bincount(torch.cat(seen), minlength=len(self.vocab)).tolist()
        self.num_documents = len(described)
        return self

    def __call__(self, item: Any) -> Tensor:
        """Return code ids, int64 (T,).  Raises MediaError, DataError."""
        return self._ids(self.describe(self.preparer(item)))

    def collate(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Pad to int64 (U, T); mask (U, T) bool."""
        return padded_ids(values)

    @property
    def fingerprint(self) -> str:
        """Name this preparation: the other preparer and the codebook.  Raises ModelError before `fit`."""
        digest = hashlib.sha256()
        for tensor in (self.codebook.mean_F, self.codebook.deviation_F, self.codebook.code_CF):
            digest.update(tensor.contiguous().numpy().tobytes())
        return fingerprint_of(
            "codebook.1", preparer=self.preparer.fingerprint, describe=repr(self.describe), codes=digest.hexdigest()
        )

    def save(self, folder: Path) -> None:
        """Write `codebook.safetensors` and what the other preparer learned."""
        self.preparer.save(folder)
        counts = {"document_counts": self.document_counts, "num_documents": self.num_documents}
        tensors = {name: tensor.contiguous() for name, tensor in vars(self.codebook).items()}
        save_file(tensors | {name: torch.tensor(count) for name, count in counts.items()}, folder / FILE)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        self.preparer.load(folder)
        try:
            tensors = load_file(folder / FILE)
            self._codebook = Codebook(*(tensors[name] for name in ("mean_F", "deviation_F", "code_CF")))
            self.document_counts = tensors["document_counts"].tolist()
            self.num_documents = int(tensors["num_documents"])
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"holds no readable codebook: {error}", where=str(folder / FILE)) from None
        return self

    def _ids(self, x_TF: Tensor) -> Tensor:
        return self.codebook.encode(x_TF) + len(SPECIAL_TOKENS)


def _shuffled(items: Iterable[Item]) -> Iterator[Item]:
    """Go through different media in an order of chance (names alone are held, not media)."""
    different = list(dict.fromkeys(item for item in items if item is not None))
    random.Random(0).shuffle(different)
    return iter(different)

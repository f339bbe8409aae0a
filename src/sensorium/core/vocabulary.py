"""A vocabulary: an ordered set of tokens whose first four are special, with a fingerprint.

Two scorers can be mixed only over one vocabulary, token for token; the fingerprint is how they know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sensorium.core.errors import ModelError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")


@dataclass(frozen=True)
class Vocab:
    """Map tokens to ids 0..V-1; ids 0-3 are PAD, BOS, EOS, UNK.

    Raises:
        ModelError: the first four tokens are not the special ones, or a token comes twice.
    """

    tokens: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tokens[:4] != SPECIAL_TOKENS:
            raise ModelError(f"a vocabulary begins with {SPECIAL_TOKENS}, not {self.tokens[:4]}")
        object.__setattr__(self, "_ids", {token: i for i, token in enumerate(self.tokens)})
        if len(self._ids) != len(self.tokens):
            raise ModelError("a vocabulary has each token once")

    @classmethod
    def of(cls, tokens: Iterable[str]) -> Vocab:
        """Build from ordinary tokens, adding the special ones in front."""
        return cls(SPECIAL_TOKENS + tuple(t for t in tokens if t not in SPECIAL_TOKENS))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._ids

    def id(self, token: str) -> int:
        """Return the token's id, or UNK."""
        return self._ids.get(token, UNK)

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """Return the ids of `tokens`, UNK for those outside."""
        return [self._ids.get(token, UNK) for token in tokens]

    @cached_property
    def fingerprint(self) -> str:
        """Name the vocabulary: 16 hex digits of SHA-256 over its tokens in order."""
        text = json.dumps(self.tokens, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class BorrowedVocab(Vocab):
    """The vocabulary of a published tokenizer; its signs for padding, beginning, end and unknown are our four.

    Attributes:
        source_ids: each token's number there; -1 = it has no such token.
    """

    source_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.source_ids) != len(self.tokens):
            raise ModelError(f"{len(self.source_ids)} published numbers for {len(self.tokens)} tokens")


def require_same(vocabs: Sequence[Vocab]) -> Vocab:
    """Return the one vocabulary of all; raises ModelError, with the way to bridge, if they differ."""
    first = vocabs[0]
    for other in vocabs[1:]:
        if other.fingerprint != first.fingerprint:
            raise ModelError(
                f"scorers over different vocabularies cannot be composed: {first.fingerprint} "
                f"({len(first)} tokens) and {other.fingerprint} ({len(other)} tokens)",
                advice="fit both with the tokenizer of one run, or rescore n-best texts instead",
            )
    return first

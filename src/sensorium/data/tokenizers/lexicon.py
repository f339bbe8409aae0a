"""Which tokens there are: counted from a stream in bounded memory, ranked, and looked up.

Enters: lists of tokens, one a text.  Leaves: a `Vocab` whose ordinary tokens are ranked by count, then
by code points, so that equal counts fall alike everywhere.

The count is exact until `max_distinct` different tokens are held; then the rarest are dropped and the
bar is raised, as in lossy counting (Manku and Motwani, VLDB 2002; word2vec's ReduceVocab).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import SPECIAL_TOKENS, UNK, Vocab

NUM_SPECIAL = len(SPECIAL_TOKENS)


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit met and what it left out.

    Attributes:
        num_texts: texts read.
        num_tokens: tokens read, repetitions included.
        num_kept: different ordinary tokens in the vocabulary.
        num_left_out: different tokens outside it (too rare, or beyond its size).
        num_tokens_left_out: occurrences of those.
    """

    num_texts: int = 0
    num_tokens: int = 0
    num_kept: int = 0
    num_left_out: int = 0
    num_tokens_left_out: int = 0


class TokenCounter:
    """Count tokens of a stream, at most `max_distinct` different ones at a time."""

    def __init__(self, max_distinct: int = 2_000_000) -> None:
        self.max_distinct = max_distinct
        self.counts: Counter[str] = Counter()
        self.num_texts = 0
        self.num_tokens = 0
        self._num_pruned = 0
        self._floor = 0

    def add(self, tokens: Sequence[str]) -> None:
        """Count the tokens of one text."""
        self.counts.update(tokens)
        self.num_texts += 1
        self.num_tokens += len(tokens)
        while len(self.counts) > self.max_distinct:
            self._prune()

    def ranked(
        self, size: int, min_count: int, unknown: frozenset[str] = frozenset()
    ) -> tuple[list[str], FitReport]:
        """Return the at most `size` commonest tokens seen `min_count` times or more, none of them in `unknown`."""
        kept = [token for token, count in self.counts.items() if count >= min_count and token not in unknown]
        kept.sort(key=lambda token: (-self.counts[token], token))
        kept = kept[: max(size, 0)]
        report = FitReport(
            num_texts=self.num_texts,
            num_tokens=self.num_tokens,
            num_kept=len(kept),
            num_left_out=self._num_pruned + len(self.counts) - len(kept),
            num_tokens_left_out=self.num_tokens - sum(self.counts[token] for token in kept),
        )
        return kept, report

    def _prune(self) -> None:
        self._floor += 1
        rare = [token for token, count in self.counts.items() if count <= self._floor]
        for token in rare:
            del self.counts[token]
        self._num_pruned += len(rare)


class Lexicon:
    """Look tokens up, ordinary ones only, and count those outside.

    A text that spells `<s>` is no BOS but a word like any other: the vocabulary writes it `\\<s>`, and one more
    backslash before what is spelled so already.
    """

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self.num_unknown = 0
        self._said = [_as_said(token) for token in vocab.tokens]
        self._ids = {token: i for i, token in enumerate(self._said) if i >= NUM_SPECIAL}

    @classmethod
    def fitted(
        cls,
        texts: Iterable[Sequence[str]],
        *,
        vocabulary_size: int,
        min_count: int,
        unknown: frozenset[str] = frozenset(),
    ) -> tuple[Lexicon, FitReport]:
        """Count token lists; `vocabulary_size` includes the special tokens, and `unknown` are never kept."""
        counter = TokenCounter(max_distinct=max(2_000_000, 10 * vocabulary_size))
        for tokens in texts:
            counter.add(tokens)
        kept, report = counter.ranked(vocabulary_size - NUM_SPECIAL, min_count, unknown)
        return cls(Vocab.of(map(_as_kept, kept))), report

    @classmethod
    def of(cls, tokens: object, where: str) -> Lexicon:
        """Build from the full token list of a saved vocabulary.  Raises ModelError."""
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ModelError("has no list of tokens", where=where)
        return cls(Vocab(tuple(tokens)))

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return one id a token, UNK (counted) for those outside."""
        find = self._ids.get
        ids = [find(token, UNK) for token in tokens]
        self.num_unknown += ids.count(UNK)
        return ids

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the ordinary tokens among `ids`."""
        return [self._said[i] for i in ids if i >= NUM_SPECIAL]


def _as_kept(token: str) -> str:
    """Spell a token of a text so that it is none of the special ones."""
    return "\\" + token if token.endswith(">") and token.lstrip("\\") in SPECIAL_TOKENS else token


def _as_said(token: str) -> str:
    """Undo `_as_kept`."""
    return token[1:] if token[0:1] == "\\" and token.lstrip("\\") in SPECIAL_TOKENS else token


def require(lexicon: Lexicon | None, name: str) -> Lexicon:
    """Return the lexicon of a fitted tokenizer.  Raises ModelError if there is none yet."""
    if lexicon is None:
        raise ModelError(
            f"the '{name}' tokenizer has no vocabulary yet", advice="fit it on texts, or load a saved one"
        )
    return lexicon

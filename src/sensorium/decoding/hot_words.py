"""Hot words as a layer of a CTC search: names and terms that are expected, made likelier.

Enters: words or phrases with boosts in nats.  Leaves: a layer.
A text that contains a hot word has its boost.  While the word is being spelled the text is lent the share of the
boost that has been spelled, so that it stays in the beam; it gives that back should the word go on otherwise.

    score(text) = sum of boosts of the hot words in it + max over hot words w begun: boost_w * spelled / length_w
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.decoding.ctc_layer import Floats, Ints


class Tokenizer(Protocol):
    """What spells hot words."""

    @property
    def vocab(self) -> Vocab:
        """Return the tokens."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return ids; UNK for what the vocabulary lacks."""
        ...

    def normalised(self, text: str) -> str:
        """Return the text as the model would write it."""
        ...


class HotWords:
    """Make words or phrases likelier.

    Args:
        boosts: nats, > 0, by the tokens of the word; phrases hold the delimiter.
        num_classes: V of the search.
        delimiter: the token between words; None where a text is one word.

    Raises:
        UsageError: no hot word, an empty one, or a boost not above 0 and finite.
    """

    def __init__(self, boosts: Mapping[tuple[int, ...], float], *, num_classes: int, delimiter: int | None) -> None:
        if not boosts or not all(len(word) and 0 < boost < math.inf for word, boost in boosts.items()):
            raise UsageError(
                f"hot words {dict(boosts)} hold an empty word or a boost that is not above 0 and finite"
            )
        self._delimiter = -1 if delimiter is None else delimiter
        node_of: dict[tuple[int, ...], int] = {(): 0}
        lent, earned = [0.0], [0.0]
        for word, boost in boosts.items():
            for spelled in range(1, len(word) + 1):
                node = node_of.setdefault(word[:spelled], len(node_of))
                if node == len(lent):
                    lent.append(0.0)
                    earned.append(0.0)
                lent[node] = max(lent[node], boost * spelled / len(word))
            earned[node_of[word]] = max(earned[node_of[word]], boost)
        for path in sorted(node_of, key=len):  # what is spelled within a phrase is said, too
            inner = _fallback(path, node_of, self._delimiter)
            if inner is not None:
                earned[node_of[path]] += earned[inner]
                lent[node_of[path]] = max(lent[node_of[path]], lent[inner])
        self._lent_E, self._earned_E = np.array([*lent, 0.0]), np.array([*earned, 0.0])
        self._child_EV = _children(node_of, num_classes, self._delimiter)

    def start(self) -> int:
        """Return the empty text's state: no hot word begun."""
        return 0

    def gains(self, state_N: Ints, token_K: Ints) -> Floats:
        """Return what is lent, given back or earned, (N, K)."""
        gain_NK: Floats = self._lent_E[self._child_EV[state_N[:, None], token_K]] - self._lent_E[state_N][:, None]
        is_end_K = token_K == self._delimiter
        if is_end_K.any():
            gain_NK[:, is_end_K] += self._earned_E[state_N][:, None]
        return gain_NK

    def advance(self, state_N: Ints, token_N: Ints) -> Ints:
        """Return how far which hot word is spelled, (N,)."""
        next_N: Ints = self._child_EV[state_N, token_N]
        return next_N

    def end(self, state_N: Ints) -> Floats:
        """Return the last word's boost less what was lent for it, (N,)."""
        ended_N: Floats = self._earned_E[state_N] - self._lent_E[state_N]
        return ended_N


def spelled(tokenizer: Tokenizer, hot_words: Mapping[str, float]) -> dict[tuple[int, ...], float]:
    """Return the boosts by the tokens of each word, as the tokenizer writes it.

    Raises:
        UsageError: a word of letters that the model has not, or a model that does not write letters.
    """
    boosts: dict[tuple[int, ...], float] = {}
    for word, boost in hot_words.items():
        written = tokenizer.normalised(word)
        tokens = tokenizer.encode(word)
        unknown = [letter for letter in dict.fromkeys(written) if letter not in tokenizer.vocab]
        parted = [*tokens, tokenizer.vocab.id(" ") if " " in tokenizer.vocab else UNK, *tokens]
        is_long = any(len(tokenizer.vocab.tokens[token]) > 1 for token in tokens if token != UNK)
        if is_long or tokenizer.encode(f"{word} {word}") != parted:
            what = (
                f"hot word {word}: hot words are spelled letter by letter, and this model's tokens are no letters"
            )
            raise UsageError(what, advice="train it with tokenizer = 'character' in [target]")
        if unknown or not tokens or UNK in tokens:
            raise UsageError(f"hot word {word}: the model has no letters {', '.join(unknown)}")
        boosts[tuple(tokens)] = max(boost, boosts.get(tuple(tokens), 0.0))
    return boosts


def _fallback(path: tuple[int, ...], node_of: Mapping[tuple[int, ...], int], delimiter: int) -> int | None:
    """Return the node of the longest run of last words that a hot word begins with; None where there is none."""
    starts = [place + 1 for place, token in enumerate(path) if token == delimiter]
    return next((node_of[path[start:]] for start in starts if path[start:] in node_of), None)


def _children(node_of: Mapping[tuple[int, ...], int], num_classes: int, delimiter: int) -> Ints:
    """Return each node's node after each token, (E, V); the last node is that of words that are not hot.

    A phrase that goes on otherwise may have another hot word in it: what follows is what would follow the same
    words without the phrase's first ones (as Aho and Corasick 1975 fall back).
    """
    lost = len(node_of)
    child_EV = np.full((lost + 1, num_classes), lost, np.int64)
    if delimiter >= 0:
        child_EV[:, delimiter] = 0
    for path in sorted(node_of, key=len):
        inner = _fallback(path, node_of, delimiter)
        if inner is not None:
            child_EV[node_of[path]] = child_EV[inner]
        for token in range(num_classes):
            child_EV[node_of[path], token] = node_of.get((*path, token), child_EV[node_of[path], token])
    return child_EV

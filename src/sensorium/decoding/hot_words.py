"""Hot words as a layer of a CTC search: names and terms that are expected, made likelier.

Enters: words or phrases with boosts in nats.  Leaves: a layer.
A text that contains a hot word has its boost.  While the word is being spelled the text is lent the share of the
boost that has been spelled, so that it stays in the beam; it gives that back should the word go on otherwise.

    score(text) = sum of boosts of the hot words in it + max over hot words w begun: boost_w * spelled / length_w
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sensorium.core.errors import UsageError
from sensorium.decoding.ctc_layer import Floats, Ints


class HotWords:
    """Make words or phrases likelier.

    Args:
        boosts: nats, > 0, by the tokens of the word; phrases hold the delimiter.
        num_classes: V of the search.
        delimiter: the token between words; None where a text is one word.

    Raises:
        UsageError: no hot word, an empty one, or a boost that is not above 0.
    """

    def __init__(self, boosts: Mapping[tuple[int, ...], float], *, num_classes: int, delimiter: int | None) -> None:
        if not boosts or not all(len(word) and boost > 0 for word, boost in boosts.items()):
            raise UsageError(f"hot words {dict(boosts)} hold an empty word or a boost that is not above 0")
        self._delimiter = -1 if delimiter is None else delimiter
        children: list[dict[int, int]] = [{}]
        lent, earned = [0.0], [0.0]
        for word, boost in boosts.items():
            node = 0
            for spelled, token in enumerate(word, start=1):
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    lent.append(0.0)
                    earned.append(0.0)
                node = children[node][token]
                lent[node] = max(lent[node], boost * spelled / len(word))
            earned[node] = max(earned[node], boost)
        lost = len(children)
        self._lent_E, self._earned_E = np.array([*lent, 0.0]), np.array([*earned, 0.0])
        self._child_EV = np.full((lost + 1, num_classes), lost, np.int64)
        for parent, by_token in enumerate(children):
            self._child_EV[parent, list(by_token)] = list(by_token.values())
        if delimiter is not None:  # a phrase goes on, or the next word begins
            after_E = self._child_EV[:, delimiter]
            self._child_EV[:, delimiter] = np.where(after_E == lost, 0, after_E)

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

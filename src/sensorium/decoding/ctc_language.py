"""Scorers as layers of a CTC search: over its own tokens, or over words through a lexicon.

    TokenLanguage   alpha log p(token | tokens before) + beta, for every token, and for the end
    WordLanguage    alpha log p(word | words before) + beta, when a word is complete, and for the end

(shallow fusion with a length bonus, Hannun et al. 2014, equation 1).  A scorer says its whole distribution once
for each history, and it is kept; a scorer that says how many tokens it looks back at (`context_tokens`) shares one
entry among all texts that end alike.  So the search itself only looks numbers up.

Letters beside those of `ctc_layer`: M histories, W words, E nodes of the lexicon's tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sensorium.core.errors import UsageError
from sensorium.core.protocols import Scorer
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK
from sensorium.decoding.ctc_layer import Floats, Ints
from sensorium.language.ngram_table import StateTable

_FIRST_ROOM = 256
_MOST_NUMBERS = 1 << 25
"""Log-probabilities kept; more, and a new search begins with none."""


class Histories:
    """All histories met so far, numbered, with what the scorer says may follow each.

    Args:
        scorer: any scorer; it is given no conditioning.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.num_tokens = len(scorer.vocab)
        self.context_tokens: int | None = getattr(scorer, "context_tokens", None)
        self.forget()

    def forget(self) -> None:
        """Drop all histories but the empty one."""
        self._log_p_MV = np.zeros((_FIRST_ROOM, self.num_tokens), np.float32)
        self._child_MV = np.full((_FIRST_ROOM, self.num_tokens), -1, np.int64)
        self._histories: list[tuple[int, ...]] = []
        self._number_of: dict[tuple[int, ...], int] = {}
        self._states: list[Any] = []
        self._state_of: list[tuple[int, int]] = []
        self._add([((BOS,), -1)])

    def first(self) -> int:
        """Return the history of the empty text, 0; a new search begins afresh once too many are kept."""
        if len(self._histories) * self.num_tokens > _MOST_NUMBERS:
            self.forget()
        return 0

    def log_p(self, history_N: Ints, token_K: Ints) -> Floats:
        """Return log p(token | history), (N, K)."""
        found: Floats = self._log_p_MV[history_N[:, None], token_K].astype(np.float64)
        return found

    def log_p_of(self, history_N: Ints, token_N: Ints) -> Floats:
        """Return log p(token | history) of pairs, (N,)."""
        found: Floats = self._log_p_MV[history_N, token_N].astype(np.float64)
        return found

    def after(self, history_N: Ints, token_N: Ints) -> Ints:
        """Return the history of each text after its token, (N,)."""
        child_N = self._child_MV[history_N, token_N]
        if len(child_N) and child_N.min() < 0:
            missing = np.unique(history_N[child_N < 0] * self.num_tokens + token_N[child_N < 0])
            self._make([divmod(int(pair), self.num_tokens) for pair in missing])
            child_N = self._child_MV[history_N, token_N]
        return child_N

    def _make(self, pairs: Sequence[tuple[int, int]]) -> None:
        new: dict[tuple[int, ...], int] = {}
        texts = [self._shortened((*self._histories[before], token)) for before, token in pairs]
        for text, (before, _) in zip(texts, pairs, strict=True):
            if text not in self._number_of:
                new[text] = before
        if new:
            self._add(list(new.items()))
        for text, (before, token) in zip(texts, pairs, strict=True):
            self._child_MV[before, token] = self._number_of[text]

    def _shortened(self, text: tuple[int, ...]) -> tuple[int, ...]:
        return text if self.context_tokens is None else text[-max(self.context_tokens, 1) :]

    def _add(self, new: Sequence[tuple[tuple[int, ...], int]]) -> None:
        """Add histories, each with the one it continues (-1 = none), and ask the scorer what follows."""
        first = len(self._histories)
        while first + len(new) > len(self._log_p_MV):
            self._log_p_MV = np.concatenate([self._log_p_MV, np.zeros_like(self._log_p_MV)])
            self._child_MV = np.concatenate([self._child_MV, np.full_like(self._child_MV, -1)])
        texts = [text for text, _ in new]
        with torch.inference_mode():
            log_p_MV = self._step(new) if self.context_tokens is None else self._prefill(texts)
        self._log_p_MV[first : first + len(new)] = log_p_MV.cpu().numpy()
        self._number_of.update({text: first + i for i, text in enumerate(texts)})
        self._histories += texts

    def _prefill(self, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        length_M = torch.tensor([len(text) for text in texts])
        token_MT = torch.full((len(texts), int(length_M.max())), PAD)
        for row, text in enumerate(texts):
            token_MT[row, : len(text)] = torch.tensor(text)
        mask_MT = torch.arange(token_MT.shape[1]) < length_M[:, None]
        return self.scorer.extend(self.scorer.start(Conditioning.empty(len(texts))), token_MT, mask_MT)[0]

    def _step(self, new: Sequence[tuple[tuple[int, ...], int]]) -> torch.Tensor:
        """Continue each history's own state; those whose states were made together go together."""
        log_p_MV = torch.empty(len(new), self.num_tokens)
        together: dict[int, list[int]] = {}
        for i, (_, before) in enumerate(new):
            together.setdefault(self._state_of[before][0] if before >= 0 else -1, []).append(i)
        places: list[tuple[int, int]] = [(0, 0)] * len(new)
        for group, rows in together.items():
            if group < 0:
                state: Any = self.scorer.start(Conditioning.empty(len(rows)))
            else:
                at_N = torch.tensor([self._state_of[new[i][1]][1] for i in rows])
                state = select(self._states[group], at_N)
            token_N1 = torch.tensor([[new[i][0][-1]] for i in rows])
            log_p_NV, state = self.scorer.extend(state, token_N1, torch.ones_like(token_N1, dtype=torch.bool))
            log_p_MV[rows] = log_p_NV
            for at, i in enumerate(rows):
                places[i] = (len(self._states), at)
            self._states.append(state)
        self._state_of += places
        return log_p_MV


class Tabled:
    """The same, where every history is known beforehand.

    Args:
        table: what follows each state, and the state after each token (`sensorium.language.ngram_table`).
    """

    def __init__(self, table: StateTable) -> None:
        self.table = table

    def first(self) -> int:
        """Return the state of the empty text."""
        return self.table.start

    def log_p(self, history_N: Ints, token_K: Ints) -> Floats:
        """Return log p(token | history), (N, K)."""
        found: Floats = self.table.log_p_SV[history_N[:, None], token_K].astype(np.float64)
        return found

    def after(self, history_N: Ints, token_N: Ints) -> Ints:
        """Return the history of each text after its token, (N,)."""
        return self.table.next_SV[history_N, token_N].astype(np.int64)


class TokenLanguage:
    """Mix in a scorer over the search's own tokens, from its table if it has one (`table`, as an n-gram does).

    Args:
        scorer: over the vocabulary of the CTC classes.
        alpha: how much it counts.
        beta: bonus for each token.
    """

    def __init__(self, scorer: Scorer, *, alpha: float = 0.5, beta: float = 0.0) -> None:
        self.alpha, self.beta = alpha, beta
        make_table = getattr(scorer, "table", None)
        table = make_table(_MOST_NUMBERS) if make_table else None
        self.histories: Tabled | Histories = Tabled(table) if table else Histories(scorer)

    def start(self) -> int:
        """Return the empty text's state."""
        return self.histories.first()

    def gains(self, state_N: Ints, token_K: Ints) -> Floats:
        """Return alpha log p(token | text) + beta, (N, K)."""
        return self.alpha * self.histories.log_p(state_N, token_K) + self.beta

    def advance(self, state_N: Ints, token_N: Ints) -> Ints:
        """Return each text's next history, (N,)."""
        return self.histories.after(state_N, token_N)

    def end(self, state_N: Ints) -> Floats:
        """Return alpha log p(end | text), (N,)."""
        return self.alpha * self.histories.log_p(state_N, np.array([EOS]))[:, 0]


class WordLanguage:
    """Mix in a scorer over words, which are spelled in the search's tokens and parted by a delimiter.

    Args:
        scorer: over words.
        spelling: the tokens of each word, by the word's id in the scorer's vocabulary.
        delimiter: the token between words; one stands between two words, none at either end.
        num_classes: V of the search.
        alpha: how much the scorer counts.
        beta: bonus for each word.
        unknown: added for a word outside the lexicon, which the scorer sees as unknown; None forbids them.
        unknown_token: added for each further token of such a word, lest it swallow its neighbours.

    Raises:
        UsageError: a spelling that is empty or holds the delimiter.
    """

    def __init__(
        self,
        scorer: Scorer,
        spelling: Mapping[int, Sequence[int]],
        *,
        delimiter: int,
        num_classes: int,
        alpha: float = 0.5,
        beta: float = 1.5,
        unknown: float | None = -10.0,
        unknown_token: float = -2.0,
    ) -> None:
        self.alpha, self.beta, self.delimiter = alpha, beta, delimiter
        self.unknown, self.unknown_token = -np.inf if unknown is None else unknown, unknown_token
        self.histories = Histories(scorer)
        self._child_EV, self._word_E = _tree(spelling, delimiter, num_classes)
        self._lost = len(self._word_E) - 1

    def start(self) -> int:
        """Return the empty text's state: no words, at the root of the lexicon."""
        return self.histories.first()

    def gains(self, state_N: Ints, token_K: Ints) -> Floats:
        """Return what each token adds, (N, K): a word's score at its end, a penalty on leaving the lexicon."""
        history_N, node_N = np.divmod(state_N, len(self._word_E))
        gain_NK = np.where(self._child_EV[node_N[:, None], token_K] == self._lost, self.unknown, 0.0)
        gain_NK[node_N == self._lost] = self.unknown_token
        column_1 = np.flatnonzero(token_K == self.delimiter)
        if len(column_1):
            gain_NK[:, column_1[0]] = self._word_gain(history_N, node_N)
        return gain_NK

    def advance(self, state_N: Ints, token_N: Ints) -> Ints:
        """Return the state after each text's token, (N,)."""
        history_N, node_N = np.divmod(state_N, len(self._word_E))
        child_N = self._child_EV[node_N, token_N]
        is_end_N = token_N == self.delimiter
        if is_end_N.any():
            history_N[is_end_N] = self.histories.after(history_N[is_end_N], self._word_E[node_N[is_end_N]])
            child_N = np.where(is_end_N, 0, child_N)
        return history_N * len(self._word_E) + child_N

    def end(self, state_N: Ints) -> Floats:
        """Return the last word's score and the end's, (N,); a text may be empty, but not end in the delimiter."""
        history_N, node_N = np.divmod(state_N, len(self._word_E))
        gain_N = np.where(state_N == 0, 0.0, self._word_gain(history_N, node_N))
        is_open_N = node_N != 0
        history_N[is_open_N] = self.histories.after(history_N[is_open_N], self._word_E[node_N[is_open_N]])
        return gain_N + self.alpha * self.histories.log_p(history_N, np.array([EOS]))[:, 0]

    def _word_gain(self, history_N: Ints, node_N: Ints) -> Floats:
        word_N = self._word_E[node_N]
        gain_N = self.alpha * self.histories.log_p_of(history_N, word_N) + self.beta
        # Who left the lexicon has paid already; who stops within a word has not.
        gain_N = gain_N + np.where((word_N == UNK) & (node_N != self._lost), self.unknown, 0.0)
        return np.where(node_N == 0, -np.inf, gain_N)


def _tree(spelling: Mapping[int, Sequence[int]], delimiter: int, num_classes: int) -> tuple[Ints, Ints]:
    """Return each node's children (E, V) and word (E,); node 0 is the root, the last one outside the lexicon."""
    children: list[dict[int, int]] = [{}]
    words: dict[int, int] = {}
    for word, tokens in spelling.items():
        if not len(tokens) or delimiter in tokens:
            raise UsageError(f"word {word} is spelled {list(tokens)}", advice="spell it without the delimiter")
        node = 0
        for token in tokens:
            if token not in children[node]:
                children[node][token] = len(children)
                children.append({})
            node = children[node][token]
        words.setdefault(node, word)
    lost = len(children)
    child_EV = np.full((lost + 1, num_classes), lost, np.int64)
    for parent, by_token in enumerate(children):
        child_EV[parent, list(by_token)] = list(by_token.values())
    word_E = np.full(lost + 1, UNK, np.int64)
    word_E[list(words)] = list(words.values())
    return child_EV, word_E

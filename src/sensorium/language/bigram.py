"""Any scorer as a table of word pairs, for searches that need one number a pair.

Enters: a Scorer and the ids of W words.  Leaves: log p(next | word), (W + 1, W + 1), as
`sensorium.markov.words.WordModels.transcribe` reads it.  For scorers that remember one token (an n-gram of order 2)
the table is all there is; of others it keeps what the last word alone says, at the beginning of a text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.core.logspace import log_normalise
from sensorium.core.protocols import Scorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS


@torch.no_grad()
def log_bigram(scorer: Scorer, word_W: Sequence[int]) -> Tensor:
    """Return log p(next | word) in float64, normalised over the words and the end.

    Row w is what follows word w, row W what begins a text; column W is the end, which a text of no word has not.
    """
    num = len(word_W)
    token_BT = torch.tensor([[BOS, word] for word in word_W])
    log_p_BV, _ = _next(scorer, token_BT)
    first_BV, _ = _next(scorer, token_BT[:1, :1])
    table_WW = torch.cat([log_p_BV, first_BV]).double()[:, [*word_W, EOS]]
    table_WW[num, num] = -torch.inf
    return log_normalise(table_WW)


def _next(scorer: Scorer, token_BT: Tensor) -> tuple[Tensor, object]:
    state = scorer.start(Conditioning.empty(len(token_BT)))
    return scorer.extend(state, token_BT, torch.ones_like(token_BT, dtype=torch.bool))

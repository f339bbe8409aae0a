"""The one form in which predictions and references are compared.

Enters: a text of either side.  Leaves: the text as the target's tokenizer would write it, without surplus blanks.

A model can only write what its tokenizer writes: lower case where that lowers, composed letters, one blank where
that reads white space as one.  A reference stands as its cell does.  Whatever judges texts gives both sides this
form first: `Evaluation.said` and `Evaluation.right` are in it already.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from sensorium.data.tokenizers import Tokenizer
from sensorium.data.tokenizers.characters import one_line
from sensorium.evaluation.metrics import unframed

Comparable = Callable[[str], str]


def comparable_by(tokenizer: Tokenizer) -> Comparable:
    """Return the function that gives a text its comparable form."""

    @functools.lru_cache(maxsize=1 << 16)
    def comparable(text: str) -> str:
        return one_line(tokenizer.normalised(unframed(text)))

    return comparable

"""What may be mixed into a CTC search: anything that scores texts token by token.

A layer gives every text a score that is a sum over its tokens; the search adds it to the text's CTC
log-probability.  What a layer knows of a text is one number, so a beam of texts is an array of them.

Letters: N texts of the beam, K tokens.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Layer(Protocol):
    """Score texts beside CTC."""

    def start(self) -> int:
        """Return the state of the empty text."""
        ...

    def gains(self, state_N: Ints, token_K: Ints) -> Floats:
        """Return what each token would add to each text, (N, K); -inf forbids it."""
        ...

    def advance(self, state_N: Ints, token_N: Ints) -> Ints:
        """Return the state of each text with its token appended, (N,)."""
        ...

    def end(self, state_N: Ints) -> Floats:
        """Return what ending adds to each text, (N,); -inf forbids it."""
        ...

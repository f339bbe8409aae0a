"""What is explained: one number a text, from the log p of its tokens.

Enters: log p of each token, (..., T) nats, 0 at BOS and padding.  Leaves: the value of the text (...).
A new value costs one line in `VALUES`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.names import nearest

Value = Callable[[Tensor], Tensor]


def log_p(log_p_T: Tensor) -> Tensor:
    """Return log P(text), nats: what every token adds to it can be told apart."""
    return log_p_T.sum(-1)


def probability(log_p_T: Tensor) -> Tensor:
    """Return P(text), 0..1: bounded, so that one hopeless pattern does not outweigh all others."""
    return log_p_T.sum(-1).exp()


VALUES: dict[str, Value] = {"log_p": log_p, "probability": probability}


def load_value(name: str) -> Value:
    """Return the value called `name`.  Raises ConfigError."""
    if name not in VALUES:
        raise ConfigError(f"no value is called '{name}'", advice=nearest(name, list(VALUES)))
    return VALUES[name]

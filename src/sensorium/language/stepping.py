"""A scorer as two functions of tensors alone, for programs that know tensors and nothing of scorers.

    first:      memory (B, M, D), mask (B, M)            -> state
    following:  token (B, 1) int64, state                -> log p(next) (B, V), state

Enters: a scorer.  Leaves: its two functions as modules, which `torch.onnx` can trace: no branch depends on values,
and the only lengths that change are rows, memory positions and tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.pytree import map_tensors
from sensorium.core.types import Conditioning, Encoded
from sensorium.language.readout import Readout
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer
from sensorium.language.transformer_block import Memory

LONGEST = 4096
"""How many tokens a Transformer's state may hold."""


class First(nn.Module):
    """Begin rows: the state as a flat tuple of tensors, rows first."""

    def __init__(self, scorer: Any) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, memory_BMD: Tensor, mask_BM: Tensor) -> tuple[Tensor, ...]:
        """Return the state."""
        return tuple(_leaves(self.scorer.start(_conditioning(memory_BMD, mask_BM))))


class Following(nn.Module):
    """Feed a token to a scorer whose state is tensors alone; `like` shows how its state is put together."""

    def __init__(self, scorer: Any, like: Any) -> None:
        super().__init__()
        self.scorer, self.like = scorer, like

    def forward(self, token_B1: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return log p(next) (B, V), and the new state."""
        flat = iter(state)
        whole = map_tensors(self.like, lambda _: next(flat))
        log_p_BV, after = self.scorer.extend(whole, token_B1, torch.ones_like(token_B1, dtype=torch.bool))
        return log_p_BV, *_leaves(after)


class TransformerFirst(nn.Module):
    """Begin rows: no keys and values of tokens yet, (B, N, 2, H, 0, K), and those of the memory, with its mask."""

    def __init__(self, scorer: Transformer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, memory_BMD: Tensor, mask_BM: Tensor) -> tuple[Tensor, ...]:
        """Return the state."""
        config = self.scorer.config
        shape = (memory_BMD.shape[0], config.layers, 2, config.heads, 0, config.width // config.heads)
        cache = memory_BMD.new_zeros(shape)
        if self.scorer.memory_keys is None:
            return (cache,)
        memory = self.scorer.memory_keys(_conditioning(memory_BMD, mask_BM).memory)
        return cache, memory.kv_BN2HMK.contiguous(), memory.mask_B11M


class TransformerFollowing(nn.Module):
    """Feed a token, whose keys and values are joined to those before it, as `extend` writes them in place."""

    def __init__(self, scorer: Transformer) -> None:
        super().__init__()
        self.scorer = scorer
        self.register_buffer("table", scorer.rotary.upto(LONGEST)[:, :LONGEST].clone(), persistent=False)
        self.table: Tensor

    def forward(self, token_B1: Tensor, cache_BN2HSK: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Return log p(next) (B, V), and the new state."""
        scorer, length = self.scorer, cache_BN2HSK.shape[4]
        cos, signed_sin = self.table[:, length : length + 1].unbind(0)
        place = _Joining(cos, signed_sin)
        kept = Memory(memory[0], memory[1]) if memory else None
        x_B1W = scorer._layers(scorer.embedding(token_B1), place, cache_BN2HSK, kept)  # type: ignore[arg-type]
        log_p_BV = scorer.predict(scorer.norm(x_B1W[:, 0]))
        return log_p_BV, torch.stack(place.joined, 1), *memory


@dataclass
class _Joining:
    """A `Placement` that makes new keys and values instead of writing into old ones."""

    cos: Tensor
    signed_sin: Tensor
    mask: None = None
    is_causal: bool = False
    joined: list[Tensor] = field(default_factory=list)

    def store(self, kv_B2HTK: Tensor, cache_B2HSK: Tensor) -> Tensor:
        self.joined.append(torch.cat([cache_B2HSK, kv_B2HTK], 3))
        return self.joined[-1]


Stepping = tuple[nn.Module, Callable[[tuple[Tensor, ...]], nn.Module]]


def stepping(scorer: Any, memory_BMD: Tensor, mask_BM: Tensor) -> tuple[nn.Module, nn.Module]:
    """Return a scorer's two functions; the memory is an example.

    Raises:
        ModelError: no such functions are known of this kind of scorer.
    """
    if isinstance(scorer, Transformer) and scorer.memory_prefix is None:
        return TransformerFirst(scorer), TransformerFollowing(scorer)
    if isinstance(scorer, Recurrent | Readout):
        return First(scorer), Following(scorer, scorer.start(_conditioning(memory_BMD, mask_BM)))
    raise ModelError(
        f"a {type(scorer).__name__} cannot be taken apart into steps",
        advice="a transformer (cross_attention or none), a recurrent scorer or a readout can",
    )


def _conditioning(memory_BMD: Tensor, mask_BM: Tensor) -> Conditioning:
    return Conditioning(Encoded(memory_BMD, mask_BM, torch.ones_like(mask_BM[:, 0])))


def _leaves(state: Any) -> Iterator[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(state, keep)
    return iter(found)

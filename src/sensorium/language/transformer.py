"""The Transformer decoder as a scorer, with a preallocated cache of keys and values.

Enters: tokens and a memory of any width (or none).  Leaves: log p(next), or the score of each token.
Decoder-only with rotary positions; the memory is attended (cross_attention), prepended (prefix) or
not looked at (none).  Layers: `transformer_block`; the memory: `transformer_memory`.

Letters beside the shared ones: N layers, W decoder width, H heads, K head width, C cache capacity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.attention import beside_residual
from sensorium.core.config import Section
from sensorium.core.matmul import linear
from sensorium.core.rotary import Rotary
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import Vocab
from sensorium.language.emission import emission_bias, last_real, pack_left, score_targets
from sensorium.language.transformer_block import Block, Memory, Placement, RMSNorm, with_capacity
from sensorium.language.transformer_memory import MemoryKeys, MemoryPrefix
from sensorium.language.transformer_step import StepWeights, step


@dataclass(frozen=True, slots=True)
class TransformerState:
    """What the decoder remembers of B rows.

    Attributes:
        cache_BN2HCK: keys and values of the tokens so far; slots beyond them hold zeros or leftovers.
        memory: keys and values of the memory; None without cross-attention.
        length_B: slots that each row has filled; None = all rows `longest`.
        longest: an upper bound of every row's length, known without asking the device.
        weights: the parameters, gathered for `transformer_step`.
    """

    cache_BN2HCK: Tensor
    memory: Memory | None
    length_B: Tensor | None
    longest: int
    weights: StepWeights


class Transformer(nn.Module):
    """Score words by a decoder-only Transformer.

    Args:
        config: its shape.
        vocab: what it predicts.
        width: of the memory; the decoder's own width is `config.width`.
    """

    fitted_by = "gradient"
    linear_matrices = {"head": "OI"}

    class Config(Section):
        """The decoder's shape."""

        layers: int = Field(2, ge=1)
        width: int = Field(128, ge=2)
        heads: int = Field(4, ge=1)
        mlp: Literal["swiglu", "gelu"] = "swiglu"
        mlp_ratio: float = Field(4.0, gt=0)
        dropout: float = Field(0.1, ge=0, lt=1)
        conditioning: Literal["cross_attention", "prefix", "none"] = "cross_attention"
        tie_embeddings: bool = True
        rotary_base: float = Field(10_000.0, gt=1)

        @model_validator(mode="after")
        def _heads_divide_width(self) -> Self:
            if self.width % (2 * self.heads):
                raise ValueError(f"width {self.width} is not a multiple of 2 x {self.heads} heads")
            return self

        @property
        def mlp_hidden(self) -> int:
            """Return the MLP's inner width: SwiGLU, which has three matrices, gets 2/3 of the ratio."""
            share = 2 / 3 if self.mlp == "swiglu" else 1.0
            return max(8, round(self.width * self.mlp_ratio * share / 8) * 8)

    emission_bias_V: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        self.embedding = nn.Embedding(len(vocab), config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.rotary = Rotary(config.width // config.heads, config.rotary_base)
        attends = config.conditioning == "cross_attention"
        self.memory_keys = MemoryKeys(width, config.width, config.heads, config.layers) if attends else None
        self.memory_prefix = MemoryPrefix(width, config.width) if config.conditioning == "prefix" else None
        self.blocks = nn.ModuleList(self._block(config, attends) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)
        self.head = None if config.tie_embeddings else nn.Parameter(self.embedding.weight.detach().clone())
        self.register_buffer("emission_bias_V", emission_bias(vocab), persistent=False)

    @staticmethod
    def _block(config: Config, sees_memory: bool) -> Block:
        return Block(
            config.width,
            config.heads,
            config.mlp_hidden,
            config.layers,
            is_gated=config.mlp == "swiglu",
            sees_memory=sees_memory,
            dropout=config.dropout,
        )

    @torch.no_grad()
    def start(self, cond: Conditioning) -> TransformerState:
        """Begin B rows: make the memory's keys and values, or read the prefix."""
        config, like = self.config, self.embedding.weight
        memory: Memory | None = None
        if self.memory_keys is not None:
            memory = self.memory_keys(cond.memory)
            needs_mask = memory.mask_B11M is not None and not bool(memory.mask_B11M.all())
            # Laid out for reading, once now and then at every step.
            memory = Memory(memory.kv_BN2HMK.contiguous(), memory.mask_B11M if needs_mask else None)
        head_width = config.width // config.heads
        cache = like.new_zeros(cond.num_rows, config.layers, 2, config.heads, 0, head_width)
        weights = StepWeights(self.blocks, config.heads, config.mlp == "swiglu")
        state = TransformerState(cache, memory, None, 0, weights)
        if self.memory_prefix is not None and cond.memory.mask_BT.shape[1]:
            _, state = self._advance(state, *self.memory_prefix(cond.memory))
        return state

    @torch.no_grad()
    def extend(self, state: TransformerState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, TransformerState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state, which owns the old one's cache."""
        hidden_BW, state = self.extend_hidden(state, token_BT, mask_BT)
        return self.predict(hidden_BW), state

    @property
    def hidden_width(self) -> int:
        """Return W of the hidden vectors."""
        return self.config.width

    @torch.no_grad()
    def extend_hidden(
        self, state: TransformerState, token_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, TransformerState]:
        """Feed T tokens; returns the last layer's vector, normalised, (B, W), and the new state."""
        if token_BT.shape[1] == 1:  # each row has a real token, so no mask needs to be looked at
            if state.length_B is None and not self.training:
                x_BW, state = self._step(state, token_BT[:, 0])
            else:
                x_BTW, state = self._advance(state, self.embedding(token_BT), None)
                x_BW = x_BTW[:, 0]
        else:
            x_BTW, state = self._advance(state, self.embedding(token_BT), mask_BT)
            x_BW = last_real(x_BTW, mask_BT)
        return self.norm(x_BW), state

    def predict(self, hidden: Tensor) -> Tensor:
        """Return log p(next) (..., V) from hidden vectors (..., W)."""
        return self._output(hidden).log_softmax(-1, dtype=torch.float32)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T), for all positions at once."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        return score_targets(
            self._output(self.unroll_hidden(token_BT[:, :-1], mask_BT[:, :-1], cond)), token_BT, mask_BT
        )

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V), for all positions at once."""
        return self.predict(self.unroll_hidden(token_BT, mask_BT, cond))

    def reading(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor | None:
        """Return how far each position attends to each memory position, rolled out over the layers: (B, T, M).

        None where the memory stands in front of the text or is not seen.  Source: Abnar and Zuidema 2020; the null
        position's share is left out, so sums stay below 1.
        """
        if self.memory_keys is None:
            return None
        memory, place = (
            self.memory_keys(cond.memory),
            Placement.whole(self.rotary.upto(token_BT.shape[1]), token_BT.shape[1]),
        )
        x_BTW = self.embedding(token_BT)
        block: Any  # a Block
        read_BTM: Tensor = x_BTW.new_zeros(*token_BT.shape, cond.memory.mask_BT.shape[1])
        for block, (k_BHMK, v_BHMK) in zip(self.blocks, memory.by_layer(), strict=True):
            own_BTT, attended_BTM = block.weights(x_BTW, place, k_BHMK, memory.mask_B11M)
            read_BTM = (beside_residual(own_BTT) @ read_BTM + attended_BTM[..., 1:]) / 2
            x_BTW = block(x_BTW, place, None, (k_BHMK, v_BHMK), memory.mask_B11M)
        return read_BTM

    def unroll_hidden(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the hidden vector after each position, (B, T, W)."""
        hidden_BTW: Tensor = self.norm(self._layered(token_BT, mask_BT, cond))
        return hidden_BTW

    def _layered(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Run the layers over whole sequences: (B, T, W)."""
        x_BTW, length = self.embedding(token_BT), token_BT.shape[1]
        memory = None if self.memory_keys is None else self.memory_keys(cond.memory)
        if self.memory_prefix is None or cond.memory.mask_BT.shape[1] == 0:
            return self._layers(x_BTW, Placement.whole(self.rotary.upto(length), length), None, memory)
        prefix_BMW, prefix_mask_BM = self.memory_prefix(cond.memory)
        x_BSW = torch.cat([prefix_BMW, x_BTW], 1)
        x_BSW, _ = pack_left(x_BSW, torch.cat([prefix_mask_BM, torch.ones_like(mask_BT)], 1))
        x_BSW = self._layers(x_BSW, Placement.whole(self.rotary.upto(x_BSW.shape[1]), x_BSW.shape[1]), None, None)
        at_BT = prefix_mask_BM.sum(1, keepdim=True) + torch.arange(length, device=x_BSW.device)
        return x_BSW.gather(1, at_BT[..., None].expand(-1, -1, x_BSW.shape[2]))

    def _layers(
        self,
        x_BTW: Tensor,
        place: Placement,
        cache_BN2HCK: Tensor | None,
        memory: Memory | None,
    ) -> Tensor:
        if self.training and self.config.dropout:
            x_BTW = F.dropout(x_BTW, self.config.dropout)
        nothing = (None,) * len(self.blocks)
        caches = nothing if cache_BN2HCK is None else cache_BN2HCK.unbind(1)
        memories = nothing if memory is None else memory.by_layer()
        mask_B11M = None if memory is None else memory.mask_B11M
        for block, cache_B2HCK, kv in zip(self.blocks, caches, memories, strict=True):
            x_BTW = block(x_BTW, place, cache_B2HCK, kv, mask_B11M)
        return x_BTW

    def _output(self, hidden: Tensor) -> Tensor:
        weight_VW = self.embedding.weight if self.head is None else self.head
        return linear(hidden, weight_VW, self.emission_bias_V)

    def _advance(
        self, state: TransformerState, x_BTW: Tensor, mask_BT: Tensor | None
    ) -> tuple[Tensor, TransformerState]:
        """Run the layers over T more positions; `mask_BT` None = every one is real."""
        num_rows, length = x_BTW.shape[:2]
        end = state.longest + length
        cache = with_capacity(state.cache_BN2HCK, end)
        place = Placement.after(self.rotary.upto(end), state.longest, length, state.length_B)
        x_BTW = self._layers(x_BTW, place, cache, state.memory)
        length_B = state.length_B
        if mask_BT is not None and not bool(mask_BT.all()):
            before_B = torch.full((num_rows,), state.longest, device=x_BTW.device) if length_B is None else length_B
            length_B = before_B + mask_BT.sum(1)
        elif length_B is not None:
            length_B = length_B + length
        return x_BTW, TransformerState(cache, state.memory, length_B, end, state.weights)

    def _step(self, state: TransformerState, token_B: Tensor) -> tuple[Tensor, TransformerState]:
        """Run the layers over one token a row, all rows being equally long."""
        slot = state.longest
        cache = with_capacity(state.cache_BN2HCK, slot + 1)
        rotation_231K = self.rotary.upto(slot + 1)[:, slot]
        x_BW = F.embedding(token_B, self.embedding.weight)
        x_BW = step(state.weights, x_BW, rotation_231K, cache, slot, state.memory)
        return x_BW, TransformerState(cache, state.memory, None, slot + 1, state.weights)

"""A published Llama-style decoder as a scorer: SmolLM2, Llama and what else is built so.

Enters: tokens, and a memory that stands in front of them as a prefix (or is not looked at).  Leaves: log p(next),
or the score of each token.  The weights come from a Hugging Face folder, a GGUF file, or an installed package
(`language.llama_weights`); they may be frozen, learn by low-rank adapters (`core.lora`), or learn whole.

    scorers = ["packaged:smollm2-135m"]    scorers = ["llama:folder"]    scorers = ["llama:model.gguf"]

Letters beside the shared ones: N layers, W decoder width, G heads of keys and values, K head width, C capacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.lora import Lora, add_lora
from sensorium.core.matmul import linear
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import UNK, BorrowedVocab, Vocab
from sensorium.language.emission import emission_bias, last_real, pack_left, score_targets
from sensorium.language.llama_block import Trunk
from sensorium.language.llama_shape import LlamaShape, read_shape
from sensorium.language.llama_step import StepWeights, step
from sensorium.language.llama_weights import load_published
from sensorium.language.prefix import Prefix, PrefixProjector
from sensorium.language.transformer_block import Placement, with_capacity

_NEVER = -30.0  # added to the logit of an unknown token where the published model has none
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class LlamaState:
    """What the decoder remembers of B rows.

    Attributes:
        cache_BN2GCK: keys and values of the positions so far; slots beyond them hold zeros or leftovers.
        length_B: slots that each row has filled; None = all rows `longest`.
        longest: an upper bound of every row's length, known without asking the device.
        weights: packed for `llama_step`; None in training.
    """

    cache_BN2GCK: Tensor
    length_B: Tensor | None
    longest: int
    weights: StepWeights | None


class Llama(nn.Module):
    """Score tokens by a published decoder.

    Args:
        config: where it is published, and what of it learns.
        vocab: that of the tokenizer it was published with.
        width: of the memory.
    """

    fitted_by = "gradient"

    class Config(Section):
        """Options of `llama`; `shape` is read from the source where it is left out."""

        source: str = ""
        """A folder, a .gguf file, or packaged weights; empty = none, a `shape` is given."""
        shape: LlamaShape = Field(default=None, validate_default=False)  # type: ignore[assignment]
        dtype: Literal["float32", "bfloat16"] = "float32"
        """Of the published weights; what learns beside them is float32."""
        conditioning: Literal["prefix", "none"] = "prefix"
        prefix: Prefix = Prefix()
        pretrained: bool = True
        """Begin with the published weights; without, the shape alone is taken."""
        frozen: bool = True
        """Let the network be; the prefix learns, and adapters if there are any."""
        lora: Lora | None = None
        """Low-rank adapters beside `qkv`, `out`, `gate_up` and `down` of a frozen network."""
        rate_factor: float = Field(1.0, gt=0, le=1_000)
        """How many times the learning rate the network (or its adapters) descends at."""
        rate_decay: float = Field(1.0, gt=0, le=1.0)
        """By how much the rate shrinks with each layer below the last one."""

        @model_validator(mode="before")
        @classmethod
        def _read_shape(cls, values: Any) -> Any:
            # A saved model names its shape, and needs its source no more.
            if isinstance(values, Mapping) and values.get("shape") is None:
                if not isinstance(values.get("source"), str) or not values["source"]:
                    raise ValueError("name a source: a folder, a .gguf file or packaged weights")
                return {**values, "shape": read_shape(values["source"])}
            return values

        @model_validator(mode="after")
        def _says_what_learns(self) -> Self:
            if self.lora is not None and not self.frozen:
                raise ValueError("'lora' adapts a frozen network: leave 'frozen' out, or 'lora'")
            if self.dtype == "bfloat16" and not self.frozen:
                raise ValueError(
                    "bfloat16 is too coarse for small steps: leave 'frozen' out, and perhaps add 'lora'"
                )
            if self.pretrained and not self.source:
                raise ValueError("nothing is published under an empty source: set pretrained = false")
            if self.frozen and not self.pretrained:
                raise ValueError("a network of random weights that learns nothing: set frozen = false")
            return self

        @property
        def target_tokenizer(self) -> tuple[str, dict[str, Any]]:
            """Name the tokenizer whose tokens it scores, and that one's options."""
            return "published", {"source": self.source}

    emission_bias_V: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        self.network = Trunk(config.shape, len(vocab)).to(_DTYPES[config.dtype])
        if config.frozen:
            self.network.requires_grad_(False)
        if config.lora is not None:
            add_lora(self.network.layers, config.lora)
        self.prefix = (
            PrefixProjector(config.prefix, width, config.shape.width, scale=0.02)
            if config.conditioning == "prefix"
            else None
        )
        bias_V = emission_bias(vocab)
        if isinstance(vocab, BorrowedVocab) and vocab.source_ids[UNK] < 0:
            bias_V[UNK] = _NEVER
        self.register_buffer("emission_bias_V", bias_V, persistent=False)
        self._packed: StepWeights | None = None

    def load_pretrained(self) -> Self:
        """Load the published weights, unless told not to; returns self.

        Raises:
            ConfigError, MissingExtraError, ModelError: no such source, not installed, damaged, or the target's
                tokenizer is not the published one.
        """
        if self.config.pretrained:
            load_published(self.network, self.config.source, self.vocab)
            if self.prefix is not None:
                self.prefix.rescale(float(self.network.embedding.weight.detach().float().std()))
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch between training and use; training gives the packed weights' memory back."""
        if mode:
            self._packed = None
        return super().train(mode)

    @torch.no_grad()
    def start(self, cond: Conditioning) -> LlamaState:
        """Begin B rows: pack the weights if they have changed, and read the prefix."""
        shape, like = self.config.shape, self.network.embedding.weight
        if not self.training and (self._packed is None or not self._packed.is_of(self.network)):
            self._packed = StepWeights(self.network)
        cache = like.new_zeros(cond.num_rows, shape.layers, 2, shape.kv_heads, 0, shape.head_width)
        state = LlamaState(cache, None, 0, self._packed)
        if self.prefix is not None and cond.memory.mask_BT.shape[1]:
            x_BPW, mask_BP = self.prefix(cond.memory)
            _, state = self._advance(state, x_BPW.to(like.dtype), mask_BP)
        return state

    @torch.no_grad()
    def extend(self, state: LlamaState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, LlamaState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state, which owns the old one's cache."""
        hidden_BW, state = self.extend_hidden(state, token_BT, mask_BT)
        weights = state.weights
        if weights is None or token_BT.shape[1] > 1:
            return self.predict(hidden_BW), state
        logit_BV = weights.product(hidden_BW, weights.head).float() + self.emission_bias_V
        return logit_BV.log_softmax(-1), state

    @property
    def hidden_width(self) -> int:
        """Return W of the hidden vectors."""
        return self.config.shape.width

    @torch.no_grad()
    def extend_hidden(self, state: LlamaState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, LlamaState]:
        """Feed T tokens; returns the last layer's vector, normalised, (B, W), and the new state."""
        if token_BT.shape[1] == 1 and state.length_B is None and state.weights is not None:
            return self._step(state, state.weights, token_BT[:, 0])
        # One token a row is a real one, so no mask needs to be looked at.
        needed = None if token_BT.shape[1] == 1 else mask_BT
        x_BTW, state = self._advance(state, self.network.embedding(token_BT), needed)
        return self.network.norm(x_BTW[:, 0] if needed is None else last_real(x_BTW, mask_BT)), state

    def predict(self, hidden: Tensor) -> Tensor:
        """Return log p(next) (..., V) from hidden vectors (..., W)."""
        return self._output(hidden).log_softmax(-1, dtype=torch.float32)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T), for all positions at once."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        hidden_BTW = self.unroll_hidden(token_BT[:, :-1], mask_BT[:, :-1], cond)
        return score_targets(self._output(hidden_BTW).float(), token_BT, mask_BT)

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V), for all positions at once."""
        return self.predict(self.unroll_hidden(token_BT, mask_BT, cond))

    def unroll_hidden(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the hidden vector after each position, (B, T, W)."""
        x_BTW, length = self.network.embedding(token_BT), token_BT.shape[1]
        if self.prefix is None or cond.memory.mask_BT.shape[1] == 0:
            hidden_BTW: Tensor = self.network.norm(
                self.network(x_BTW, Placement.whole(self.network.rotation(length), length), None)
            )
            return hidden_BTW
        prefix_BPW, prefix_mask_BP = self.prefix(cond.memory)
        x_BSW = torch.cat([prefix_BPW.to(x_BTW.dtype), x_BTW], 1)
        x_BSW, _ = pack_left(x_BSW, torch.cat([prefix_mask_BP, torch.ones_like(mask_BT)], 1))
        hidden_BSW: Tensor = self.network.norm(
            self.network(x_BSW, Placement.whole(self.network.rotation(x_BSW.shape[1]), x_BSW.shape[1]), None)
        )
        at_BT = prefix_mask_BP.sum(1, keepdim=True) + torch.arange(length, device=x_BSW.device)
        return hidden_BSW.gather(1, at_BT[..., None].expand(-1, -1, hidden_BSW.shape[2]))

    def _output(self, hidden: Tensor) -> Tensor:
        weight_VW = self.network.output_VW
        return linear(hidden.to(weight_VW.dtype), weight_VW, self.emission_bias_V.to(weight_VW.dtype))

    def _step(self, state: LlamaState, weights: StepWeights, token_B: Tensor) -> tuple[Tensor, LlamaState]:
        """Run the layers over one token a row, all rows being equally long."""
        slot = state.longest
        cache = with_capacity(state.cache_BN2GCK, slot + 1)
        x_BW = F.embedding(token_B, self.network.embedding.weight)
        x_BW = step(weights, x_BW, self.network.rotation(slot + 1), cache, slot)
        return x_BW, LlamaState(cache, None, slot + 1, weights)

    def _advance(self, state: LlamaState, x_BTW: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, LlamaState]:
        """Run the layers over T more positions; `mask_BT` None = every one is real."""
        num_rows, length = x_BTW.shape[:2]
        end = state.longest + length
        cache = with_capacity(state.cache_BN2GCK, end)
        x_BTW = self.network(
            x_BTW, Placement.after(self.network.rotation(end), state.longest, length, state.length_B), cache
        )
        length_B = state.length_B
        if mask_BT is not None and not bool(mask_BT.all()):
            before_B = torch.full((num_rows,), state.longest, device=x_BTW.device) if length_B is None else length_B
            length_B = before_B + mask_BT.sum(1)
        elif length_B is not None:
            length_B = length_B + length
        return x_BTW, LlamaState(cache, length_B, end, state.weights)

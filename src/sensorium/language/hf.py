"""A published language model as a scorer: GPT-2, Llama, Qwen2, OPT, and what else transformers writes with.

Enters: tokens of its own tokenizer (`HfTokenizer`), and a memory of any width.  Leaves: log p(next).

    prefix            the memory stands before the text, as word vectors (`prefix`; LLaVA)
    cross_attention   gated layers between the blocks read it (`gated_attention`; Flamingo)

A network that has cross-attention of its own (T5, Whisper, the decoder of a VisionEncoderDecoder) reads it by that.

The network learns nothing unless told to (`frozen = false`, `lora`); what conditions it always learns.  Published
weights are read when a fresh model begins to train.  A saved one needs nothing but itself: the architecture stands
in its config, the tokenizer beside it, and the weights, adapters apart from what they adapt, among its own.

Letters beside the shared ones: P prefix positions, W the network's width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.lora import Lora, add_lora
from sensorium.core.pytree import without_rows
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, BorrowedVocab, Vocab
from sensorium.data.published import Published, pinned_revision
from sensorium.language import hf_network
from sensorium.language.emission import emission_bias, last_real, pack_left, score_targets
from sensorium.language.gated_attention import (
    GatedAttention,
    Looking,
    SeeingBlock,
    Sight,
    null_mask,
    with_null,
)
from sensorium.language.hf_state import PublishedState
from sensorium.language.prefix import Prefix, PrefixProjector

_NEVER = -30.0  # added to the logit of an unknown token where the published model has none


class PublishedLM(nn.Module):
    """Score words by a published language model.

    Args:
        config: which, how it is conditioned, and what of it learns.
        vocab: of the `hf` tokenizer that was read from the same source.
        width: of the memory.

    Raises:
        ModelError: another tokenizer's vocabulary, or a network that cannot be used so.
    """

    fitted_by = "gradient"

    class Config(Section):
        """Options of `hf`."""

        source: str
        """A folder that transformers saved, or a name on the hub."""
        revision: str | None = None
        """The hub's commit or tag."""
        architecture: str = ""
        """What the source's config.json says, as JSON; filled in when the config is first read."""
        conditioning: Literal["prefix", "cross_attention", "none"] = "prefix"
        """How it is told of the inputs; "none" is the default where there are none: the network alone."""
        prefix: Prefix = Prefix()
        gate_every: int = Field(4, ge=1, le=1_000)
        """Before each how many blocks a gated layer is inserted."""
        prompt: tuple[str, ...] = ()
        """Tokens that every text begins with: ["<|en|>", "<|transcribe|>", "<|notimestamps|>"] for Whisper."""
        pretrained: bool = True
        """Begin with the published weights; without, the architecture alone is taken."""
        frozen: bool = True
        """Let nothing of the network learn, save adapters."""
        frozen_layers: int = Field(0, ge=0, le=10_000)
        """How many blocks, from the bottom, and the word vectors learn nothing, though the rest does."""
        lora: Lora | None = None
        gradient_checkpointing: bool = False
        """Keep less of each training step, and compute it twice."""
        rate_factor: float = Field(1.0, gt=0, le=1_000)
        """How many times the learning rate the network (or its adapters) descends at."""
        rate_decay: float = Field(1.0, gt=0, le=1.0)
        """By how much the rate shrinks with each block below the last one."""

        without_inputs: ClassVar[Mapping[str, Any]] = {"conditioning": "none"}

        @model_validator(mode="before")
        @classmethod
        def _with_architecture(cls, values: Any) -> Any:
            if not isinstance(values, Mapping) or values.get("architecture") or "source" not in values:
                return values
            source = str(values["source"])
            revision = pinned_revision(source, values.get("revision"))
            found = hf_network.decoder_architecture(Published.read(source, revision).config)
            return {**values, "revision": revision, "architecture": json.dumps(found, sort_keys=True)}

        @model_validator(mode="after")
        def _says_what_learns(self) -> Self:
            if self.lora is not None and not self.frozen:
                raise ValueError("'lora' adapts a frozen network: leave 'frozen' out, or 'lora'")
            if self.frozen_layers and self.frozen:
                raise ValueError("'frozen_layers' freezes a part: it needs frozen = false")
            if self.frozen and not self.pretrained:
                raise ValueError("a network of random weights that learns nothing: set frozen = false")
            return self

        @property
        def target_tokenizer(self) -> tuple[str, dict[str, Any]]:
            """Name the tokenizer whose tokens it scores, and that one's options."""
            return "hf", {"source": self.source, "revision": self.revision}

    output_bias_V: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        if not isinstance(vocab, BorrowedVocab):
            advice = 'leave target.tokenizer out, or set it to "hf:SOURCE"'
            raise ModelError(
                "a published model scores its own tokenizer's tokens", where="language.hf", advice=advice
            )
        self.config, self.vocab = config, vocab
        self.architecture: dict[str, Any] = json.loads(config.architecture)
        self.lead = hf_network.lead_ids(self.architecture, vocab, config.prompt)
        self.has_cross_attention = hf_network.reads_memory(self.architecture)
        self.network = hf_network.build_network(self.architecture, len(vocab), keeps_dropout=not config.frozen)
        self.looking = Looking()
        self.published_names = self._prepare(width)
        self.takes_positions = "position_ids" in hf_network.parameters_of(self.network)
        self.max_length = hf_network.max_length_of(self.network)
        bias_V = emission_bias(vocab)
        bias_V[UNK] = 0.0 if vocab.source_ids[UNK] >= 0 or config.pretrained is False else _NEVER
        self.register_buffer("output_bias_V", bias_V, persistent=False)
        self.register_state_dict_post_hook(_without_ties)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_ties)  # type: ignore[no-untyped-call]

    def _prepare(self, width: int) -> dict[str, str]:
        """Freeze, adapt and condition the network; returns its tensors' published names by its own."""
        published = {id(x): name for name, x in self.network.state_dict(keep_vars=True).items()}
        self._freeze()
        self._condition(width)
        own = self.network.state_dict(keep_vars=True).items()
        return {name: published[id(tensor)] for name, tensor in own if id(tensor) in published}

    def _freeze(self) -> None:
        config, blocks = self.config, hf_network.blocks_of(self.network)
        if config.gradient_checkpointing:
            hf_network.checkpoint(self.network)
        if config.frozen:
            self.network.requires_grad_(False)
        if config.frozen_layers > len(blocks):
            what = f"the network has {len(blocks)} blocks, not {config.frozen_layers} to freeze"
            raise ModelError(what, where="language.hf.frozen_layers")
        if config.frozen_layers:
            self.network.get_input_embeddings().requires_grad_(False)
            blocks[: config.frozen_layers].requires_grad_(False)
        if config.lora is not None:
            add_lora(blocks, config.lora)

    def _condition(self, width: int) -> None:
        config, blocks = self.config, hf_network.blocks_of(self.network)
        hidden = hf_network.width_of_hidden(self.network.config)
        heads = hf_network.heads_of(self.network)
        self.gates: list[GatedAttention] = []
        self.prefix: PrefixProjector | None = None
        if self.has_cross_attention:
            self.null_D = nn.Parameter(torch.randn(width))
            self.bridge = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, hf_network.memory_width_of(self.network))
            )
        elif config.conditioning == "prefix":
            self.prefix = PrefixProjector(config.prefix, width, hf_network.width_of(self.network), self._scale())
            self.lead_W = nn.Parameter(torch.randn(hf_network.width_of(self.network)) * self._scale())
        for number, block in enumerate(blocks):
            gate = None
            if self._is_gated and number % config.gate_every == 0:
                gate = GatedAttention(width, hidden, heads)
                self.gates.append(gate)
            if gate is not None or self.has_cross_attention:
                blocks[number] = SeeingBlock(block, self.looking, len(self.gates) - 1, gate)

    @property
    def _is_gated(self) -> bool:
        return self.config.conditioning == "cross_attention" and not self.has_cross_attention

    @property
    def _begins_with_end(self) -> bool:
        """Say whether the sign to begin with is the one to end with, in one row that is both read and written.

        So it is read from that row then, or the two would part in training and have no place in one table.
        """
        output, end = self.network.get_output_embeddings(), self.vocab.source_ids[EOS]
        is_tied = output is not None and output.weight is self.network.get_input_embeddings().weight
        return is_tied and not self.is_conditioned and end >= 0 and self.lead == (end,)

    @property
    def is_conditioned(self) -> bool:
        """Say whether anything beside the network itself decides what it writes."""
        return self.has_cross_attention or self.config.conditioning != "none"

    @torch.no_grad()
    def _scale(self) -> float:
        return float(self.network.get_input_embeddings().weight.std())

    @torch.no_grad()
    def load_pretrained(self) -> Self:
        """Load the published weights, unless told not to; returns self.  Raises ModelError."""
        config = self.config
        if config.pretrained:
            hf_network.fill(
                self.network,
                self.published_names,
                self.architecture,
                self.vocab,
                self.lead,
                config.source,
                config.revision,
            )
            if self.prefix is not None:
                self.prefix.rescale(self._scale())
                self.lead_W.copy_(self.network.get_input_embeddings().weight[BOS])
        return self

    @torch.no_grad()
    def start(self, cond: Conditioning) -> PublishedState:
        """Begin B rows: read what stands before the text."""
        if not cond.num_rows:
            begun: PublishedState = without_rows(self.start, cond)
            return begun
        state = self._seen(cond)
        num_rows, device = cond.num_rows, self.output_bias_V.device
        lead_BL = self._lead(num_rows)
        if self.prefix is not None:
            prefix_BPW, mask_BP = self._before(cond.memory)
            _, state = self._advance(state, mask_BP, inputs_embeds=prefix_BPW)
        if lead_BL.shape[1]:
            ones_BL = torch.ones(lead_BL.shape, dtype=torch.bool, device=device)
            _, state = self._advance(state, ones_BL, input_ids=lead_BL)
        return state

    @torch.no_grad()
    def extend(self, state: PublishedState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, PublishedState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        if not len(token_BT):
            nothing: tuple[Tensor, PublishedState] = without_rows(self.extend, state, token_BT, mask_BT)
            return nothing
        logits_BV, state = self._advance(state, mask_BT, input_ids=token_BT)
        return self._log_p(logits_BV), state

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T), for all positions at once."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        logits_BTV = self._logits(token_BT[:, :-1], mask_BT[:, :-1], cond)
        return score_targets(logits_BTV.float() + self.output_bias_V, token_BT, mask_BT)

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V), for all positions at once."""
        return self._log_p(self._logits(token_BT, mask_BT, cond))

    def _log_p(self, logits: Tensor) -> Tensor:
        return (logits.float() + self.output_bias_V).log_softmax(-1)

    def _lead(self, num_rows: int) -> Tensor:
        """Return what is fed before BOS, (B, L): the start sign, in PAD's row, and a prompt up to its end, BOS."""
        prompt = self.config.prompt
        ids = [PAD, *(self.vocab.id(token) for token in prompt[:-1])] if prompt else []
        return torch.tensor([ids], dtype=torch.int64, device=self.output_bias_V.device).expand(num_rows, -1)

    def _before(self, memory: Encoded) -> tuple[Tensor, Tensor]:
        """Return the prefix behind one vector that is always there, (B, 1 + P, W), and its mask."""
        assert self.prefix is not None
        x_BPW, mask_BP = self.prefix(memory)
        x_BPW = torch.cat([self.lead_W.expand(len(x_BPW), 1, -1), x_BPW], 1)
        return x_BPW, nn.functional.pad(mask_BP, (1, 0), value=True)

    def _seen(self, cond: Conditioning) -> PublishedState:
        """Return a state that has read nothing, but sees the memory."""
        memory, state = cond.memory, PublishedState()
        if self.gates:
            keys_values = tuple(gate.keys_values(memory) for gate in self.gates)
            return replace(state, sight=keys_values, sight_mask=null_mask(memory))
        if self.has_cross_attention:
            seen_BSW, mask_BS = self.bridge(with_null(memory, self.null_D)), null_mask(memory)
            return replace(state, memory=(seen_BSW, mask_BS), sight_mask=mask_BS)
        return state

    def _call(self, state: PublishedState, **inputs: Any) -> Any:
        memory, mask = state.memory or (None, None)
        if "input_ids" in inputs and self._begins_with_end:
            inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == BOS, EOS)
        self.looking.sight = None if state.sight_mask is None else Sight(state.sight, state.sight_mask)
        try:
            return hf_network.call(self.network, memory, mask, **inputs)
        finally:
            self.looking.sight = None

    def _logits(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the logits after each token, (B, T, V): what is real stands left, so causality is the mask."""
        if not len(token_BT):
            none_BTV: Tensor = without_rows(self._logits, token_BT, mask_BT, cond)
            return none_BTV
        state, lead_BL, length = self._seen(cond), self._lead(len(token_BT)), token_BT.shape[1]
        id_BT = torch.cat([lead_BL, token_BT], 1)
        self._require_room(id_BT.shape[1])
        if self.prefix is None:
            logits_BTV: Tensor = self._call(state, input_ids=id_BT, use_cache=False).logits
            return logits_BTV[:, lead_BL.shape[1] :]
        prefix_BPW, mask_BP = self._before(cond.memory)
        x_BSW = torch.cat([prefix_BPW, self.network.get_input_embeddings()(id_BT)], 1)
        self._require_room(x_BSW.shape[1])
        x_BSW, _ = pack_left(x_BSW, torch.cat([mask_BP, torch.ones_like(id_BT, dtype=torch.bool)], 1))
        logits_BSV: Tensor = self._call(state, inputs_embeds=x_BSW, use_cache=False).logits
        first_B1 = mask_BP.sum(1, keepdim=True) + lead_BL.shape[1]
        at_BT = first_B1 + torch.arange(length, device=x_BSW.device)
        return logits_BSV.gather(1, at_BT[..., None].expand(-1, -1, logits_BSV.shape[2]))

    def _advance(self, state: PublishedState, mask_BT: Tensor, **inputs: Tensor) -> tuple[Tensor, PublishedState]:
        """Read T more positions; returns the logits after each row's last, (B, V), and the state."""
        is_full = mask_BT.shape[1] == 1 or bool(mask_BT.all())
        if self.has_cross_attention:
            state = _with_history(state, inputs["input_ids"], mask_BT)
            if not (is_full and state.is_even):
                return self._read_again(state)
        self._require_room(state.num_slots + mask_BT.shape[1])
        placed: dict[str, Tensor] = {}
        if not (is_full and state.is_even):
            placed["attention_mask"], at_BT = state.placed(mask_BT)
            if self.takes_positions:
                placed["position_ids"] = at_BT
        found = self._call(state, past_key_values=state.cache(), use_cache=True, **inputs, **placed)
        state = state.after(found.past_key_values)
        if is_full:
            return found.logits[:, -1], state
        return last_real(found.logits, mask_BT), state.realigned(mask_BT)

    def _read_again(self, state: PublishedState) -> tuple[Tensor, PublishedState]:
        """Read unequally long rows from their beginning: such a network numbers positions by the cache's slots."""
        assert state.token_BT is not None
        assert state.mask_BT is not None
        self._require_room(state.token_BT.shape[1])
        logits_BTV = self._call(state, input_ids=state.token_BT, use_cache=False).logits
        return last_real(logits_BTV, state.mask_BT), replace(state, layers=(), crossed=(), is_even=False)

    def _require_room(self, length: int) -> None:
        if self.max_length is not None and length > self.max_length:
            what = f"the network has {self.max_length} positions, and {length} are needed"
            advice = 'lower target.max_tokens, or shorten the memory: prefix.projector = "resampler"'
            raise ModelError(what, where="language.hf", advice=advice)


def _with_history(state: PublishedState, token_BT: Tensor, mask_BT: Tensor) -> PublishedState:
    """Remember tokens, each row's together and to the left."""
    if state.token_BT is not None and state.mask_BT is not None:
        token_BT, mask_BT = torch.cat([state.token_BT, token_BT], 1), torch.cat([state.mask_BT, mask_BT], 1)
        if not (state.is_even and bool(mask_BT.all())):
            packed_BT1, mask_BT = pack_left(token_BT[..., None], mask_BT)
            token_BT = packed_BT1[..., 0]
    return replace(state, token_BT=token_BT, mask_BT=mask_BT)


def _ties(module: nn.Module) -> dict[str, str]:
    """Return, by each further name of a parameter, its first."""
    first: dict[int, str] = {}
    named = module.named_parameters(remove_duplicate=False)
    return {name: kept for name, x in named if (kept := first.setdefault(id(x), name)) != name}


def _without_ties(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in _ties(module):
        state.pop(prefix + name, None)


def _with_ties(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, kept in _ties(module).items():
        if prefix + kept in state:
            state.setdefault(prefix + name, state[prefix + kept])

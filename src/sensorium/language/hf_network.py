"""A published network over our vocabulary: built from its description, filled from its weights.

Enters: what `config.json` says, and a `BorrowedVocab`.  Leaves: transformers' network whose word vectors and output
layer hold our tokens in our order (a published network ties the meaning of a row to its tokenizer's numbers, and so
do we to ours), the encoder of an encoder-decoder left out.  After loading, what it computes is compared with what
the published network computes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import BOS, EOS, PAD, BorrowedVocab
from sensorium.data.published import Published, folder_of, import_transformers, quietly

COMPOSITES = {
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
    "speech-encoder-decoder": "SpeechEncoderDecoderModel",
    "encoder-decoder": "EncoderDecoderModel",
}
"""Pairs of two networks, of which the second is the one that writes."""
_TOLERANCE = 2e-3


def decoder_architecture(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of what writes: of a pair of two networks, its decoder."""
    if values.get("model_type") not in COMPOSITES:
        return {key: value for key, value in values.items() if key != "auto_map"}
    decoder = dict(values["decoder"]) | {"is_decoder": True, "add_cross_attention": True}
    start = values.get("decoder_start_token_id", decoder.get("decoder_start_token_id"))
    return decoder | {"decoder_start_token_id": start}


def reads_memory(architecture: Mapping[str, Any]) -> bool:
    """Say whether the network has cross-attention of its own."""
    return bool(architecture.get("is_encoder_decoder") or architecture.get("add_cross_attention"))


def build_network(architecture: Mapping[str, Any], num_tokens: int, *, keeps_dropout: bool) -> Any:
    """Make the network, of random weights.

    Args:
        architecture: as `decoder_architecture` returns it.
        num_tokens: V.
        keeps_dropout: False sets all its dropout to 0.

    Raises:
        ModelError: transformers does not know the type, or it writes no text, or keeps no keys and values.
    """
    library, values = import_transformers(), dict(architecture)
    if "model_type" not in values:
        raise ModelError("config.json names no 'model_type'", where="language.hf.source")
    if not keeps_dropout:
        values = {key: 0.0 if _is_dropout(key, value) else value for key, value in values.items()}
    kind = values.pop("model_type")
    try:
        config = library.AutoConfig.for_model(kind, **values)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"transformers knows no '{kind}': {error}", where="language.hf") from None
    text = config.get_text_config(decoder=True)
    text.vocab_size, text.pad_token_id, text.bos_token_id, text.eos_token_id = num_tokens, PAD, BOS, EOS
    if text is not config or values.get("is_encoder_decoder"):
        config.pad_token_id, config.decoder_start_token_id, config.vocab_size = PAD, BOS, num_tokens
    with quietly():
        network = _auto_class(library, config).from_config(config, dtype=torch.float32, trust_remote_code=False)
    text.pad_token_id = None  # else it warns of padding, which here stands where causality hides it
    if getattr(network, "_is_stateful", False):
        raise ModelError(f"'{kind}' keeps another state than keys and values", where="language.hf")
    return _without_encoder(network)


def _is_dropout(key: str, value: Any) -> bool:
    return isinstance(value, float) and ("drop" in key or key.endswith("pdrop"))


def _auto_class(library: Any, config: Any) -> Any:
    if not config.is_encoder_decoder:
        if type(config) in library.MODEL_FOR_CAUSAL_LM_MAPPING:
            return library.AutoModelForCausalLM
    elif type(config) in library.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return library.AutoModelForSeq2SeqLM
    elif type(config) in library.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING:
        return library.AutoModelForSpeechSeq2Seq
    advice = "name a causal language model, or an encoder-decoder that writes"
    raise ModelError(f"a '{config.model_type}' writes no text", where="language.hf", advice=advice)


def _without_encoder(network: Any) -> Any:
    if network.config.is_encoder_decoder:
        for parent in (network, network.base_model):
            if isinstance(getattr(parent, "encoder", None), nn.Module):
                parent.encoder = nn.Identity()
    return network


def blocks_of(network: Any) -> nn.ModuleList:
    """Return the list of the network's blocks.  Raises ModelError: there is none."""
    text = network.config.get_text_config(decoder=True)
    counts = {getattr(text, key, None) for key in ("num_hidden_layers", "decoder_layers", "num_decoder_layers")}
    lists = [part for part in network.modules() if isinstance(part, nn.ModuleList) and len(part) in counts]
    if not lists:
        raise ModelError(f"a '{network.config.model_type}' has no list of blocks", where="language.hf")
    return max(lists, key=lambda part: sum(p.numel() for p in part.parameters()))


def width_of(network: Any) -> int:
    """Return W of the word vectors."""
    return int(network.get_input_embeddings().weight.shape[1])


def max_length_of(network: Any) -> int | None:
    """Return how many positions there are; None = as many as one likes."""
    text = network.config.get_text_config(decoder=True)
    for key in ("max_target_positions", "max_position_embeddings"):
        if isinstance(found := getattr(text, key, None), int) and found > 0:
            return found
    return None


def call(network: Any, memory_BMW: Tensor | None = None, mask_BM: Tensor | None = None, **inputs: Any) -> Any:
    """Call the network on tokens; `memory_BMW` stands in for what its encoder would say."""
    if memory_BMW is None:
        return network(**inputs)
    if not network.config.is_encoder_decoder:
        return network(encoder_hidden_states=memory_BMW, encoder_attention_mask=mask_BM, **inputs)
    outputs = import_transformers().modeling_outputs.BaseModelOutput(last_hidden_state=memory_BMW)
    inputs = {_DECODERS.get(key, key): value for key, value in inputs.items()}
    return network(encoder_outputs=outputs, attention_mask=mask_BM, **inputs)


_DECODERS = {"input_ids": "decoder_input_ids", "attention_mask": "decoder_attention_mask"}


def memory_width_of(network: Any) -> int:
    """Return the width of what the network's cross-attention reads."""
    config = network.config
    found = getattr(config, "cross_attention_hidden_size", None)
    return int(found or width_of_hidden(config))


def width_of_hidden(config: Any) -> int:
    """Return the width between blocks."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "hidden_size", None) or text.d_model)


def lead_ids(architecture: Mapping[str, Any], vocab: BorrowedVocab, prompt: Sequence[str]) -> tuple[int, ...]:
    """Return the published numbers that every text begins with: the start sign, then the prompt's tokens.

    Raises:
        ModelError: there is no sign to start with, or the prompt names a token that there is not.
    """
    start = architecture.get("decoder_start_token_id") if reads_memory(architecture) else None
    candidates = (start, vocab.source_ids[BOS], architecture.get("bos_token_id"), vocab.source_ids[EOS])
    known = [number for number in candidates if isinstance(number, int) and number >= 0]
    if not known:
        raise ModelError("the published tokenizer has no sign to begin with", where="language.hf")
    unknown = [token for token in prompt if token not in vocab]
    if unknown:
        raise ModelError(f"the prompt's '{unknown[0]}' is no token", where="language.hf.prompt")
    return (known[0], *(vocab.source_ids[vocab.id(token)] for token in prompt))


def fill(
    network: nn.Module,
    names: Mapping[str, str],
    architecture: Mapping[str, Any],
    vocab: BorrowedVocab,
    lead: Sequence[int],
    source: str,
    revision: str | None,
) -> None:
    """Load published weights into `network`, in our order of tokens, and compare what both compute.

    Args:
        names: by the network's names of tensors, the published ones.
        lead: as `lead_ids` returns it; padding's row holds the first one's vector, BOS's the last one's.

    Raises:
        ModelError: no weights, of another architecture, or the networks do not agree.
    """
    published = published_network(source, revision)
    state, own = published.state_dict(), network.state_dict(keep_vars=True)
    axes = vocabulary_axes(architecture)
    numbers = numbers_of(vocab, lead, architecture, source)
    with torch.no_grad():
        for name, published_name in names.items():
            if published_name not in state:
                raise ModelError(f"the weights lack '{published_name}'", where=source)
            found = state[published_name].to(own[name].dtype)
            if published_name in axes:
                found = _reordered(found, numbers, axes[published_name])
            if found.shape != own[name].shape:
                what = f"'{published_name}' is {tuple(found.shape)}, not {tuple(own[name].shape)}"
                raise ModelError(f"the weights do not fit: {what}", where=source)
            own[name].copy_(found)
    require_agreement(network, published, architecture, numbers, source)


def numbers_of(vocab: BorrowedVocab, lead: Sequence[int], architecture: Mapping[str, Any], source: str) -> Tensor:
    """Return our tokens' published numbers (V,), -1 for none; see `fill` of padding and BOS.  Raises ModelError."""
    end = vocab.source_ids[EOS] if vocab.source_ids[EOS] >= 0 else architecture.get("eos_token_id")
    if not isinstance(end, int):
        raise ModelError("the published tokenizer has no sign to end with", where=source)
    return torch.tensor([lead[0], lead[-1], end, *vocab.source_ids[3:]])


def published_network(source: str, revision: str | None) -> Any:
    """Return the published network, its encoder left out."""
    library, folder = import_transformers(), folder_of(source, revision, with_weights=True)
    kind = Published.read(source, revision).config["model_type"]
    settings: dict[str, Any] = {"local_files_only": True}
    with quietly():
        try:
            if kind in COMPOSITES:
                auto = getattr(library, COMPOSITES[kind])
            else:
                settings["trust_remote_code"] = False
                auto = _auto_class(library, library.AutoConfig.from_pretrained(str(folder), **settings))
            network, report = auto.from_pretrained(
                str(folder), dtype=torch.float32, output_loading_info=True, **settings
            )
        except ModelError:
            raise
        except Exception as error:  # each class of transformers raises its own kinds
            first_line = str(error).partition("\n")[0]
            raise ModelError(f"no weights can be read: {first_line}", where=str(folder)) from None
    if missing := sorted(name for name in report["missing_keys"] if "encoder." not in name.partition("decoder")[0]):
        raise ModelError(f"the weights lack {len(missing)} tensors ({', '.join(missing[:3])})", where=str(folder))
    return _without_encoder((network.decoder if kind in COMPOSITES else network).eval())


def vocabulary_axes(architecture: Mapping[str, Any]) -> dict[str, int]:
    """Return the axis along which the vocabulary lies, of every tensor that has one: built twice, it differs."""
    with torch.device("meta"):
        shapes = [
            {
                name: tensor.shape
                for name, tensor in build_network(architecture, size, keeps_dropout=True).state_dict().items()
            }
            for size in (1_001, 1_002)
        ]
    pairs = ((name, shape, shapes[1][name]) for name, shape in shapes[0].items())
    return {
        name: next(axis for axis, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
        for name, one, two in pairs
        if one != two
    }


def _reordered(found: Tensor, numbers_V: Tensor, axis: int) -> Tensor:
    """Return our tokens' rows; one that is unknown there gets the mean row."""
    chosen = found.index_select(axis, numbers_V.clamp_min(0))
    shape = [1] * found.ndim
    shape[axis] = -1
    return torch.where((numbers_V < 0).view(shape), found.mean(axis, keepdim=True), chosen)


@torch.no_grad()
def require_agreement(
    network: nn.Module,
    published: Any,
    architecture: Mapping[str, Any],
    numbers_V: Tensor,
    source: str,
    *,
    first: int = BOS,
) -> None:
    """Compare what two networks say after some tokens, of those that both know.

    Args:
        network: over our vocabulary.
        published: over the published one.
        numbers_V: our tokens' numbers there, -1 for none.
        first: the first token.

    Raises:
        ModelError: they say different things.
    """
    ids_T = torch.tensor([[first, *range(4, min(9, len(numbers_V)))]])
    memory = None
    if reads_memory(architecture):
        generator = torch.Generator().manual_seed(0)
        memory = torch.randn(1, 3, memory_width_of(published), generator=generator)
    was_training = network.training
    ours = call(network.eval(), memory, input_ids=ids_T, use_cache=False).logits
    theirs = call(published, memory, input_ids=numbers_V[ids_T], use_cache=False).logits
    network.train(was_training)
    known_V = (numbers_V >= 0).nonzero()[:, 0]
    gap = (ours[..., known_V] - theirs[..., numbers_V[known_V]]).abs().max()
    if not bool(gap <= _TOLERANCE * theirs.abs().max().clamp_min(1)):
        advice = "the architecture numbers its positions by its padding sign, or reads its vocabulary elsewhere"
        raise ModelError(
            f"computes something else over our vocabulary (by {float(gap):.3g})", where=source, advice=advice
        )


def heads_of(network: Any) -> int:
    """Return how many attention heads its blocks have."""
    text = network.config.get_text_config(decoder=True)
    heads = next((n for key in ("num_attention_heads", "num_heads") if (n := getattr(text, key, None))), 1)
    return int(heads) if width_of_hidden(network.config) % int(heads) == 0 else 1


def parameters_of(network: Any) -> frozenset[str]:
    """Name what the network may be called with."""
    return frozenset(inspect.signature(network.forward).parameters)


def checkpoint(network: Any) -> None:
    """Let every block compute its activations again in the backward pass.  Raises ModelError: it cannot."""
    if not network.supports_gradient_checkpointing:
        what = f"a '{network.config.model_type}' has no gradient checkpointing"
        raise ModelError(what, where="language.hf.gradient_checkpointing", advice="leave it out")
    enable = getattr(network, "activation_checkpointing_enable", network.gradient_checkpointing_enable)
    enable({"use_reentrant": False})

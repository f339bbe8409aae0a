"""The shape of a Llama-style decoder, read from what publishes one.

Enters: `config.json` of a Hugging Face folder, or the metadata of a GGUF file.  Leaves: a `LlamaShape`; anything
that our decoder does not compute (scaled rotary positions, biases, sliding windows, experts) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from sensorium.core import text_file
from sensorium.core.config import Section
from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.data.language_source import published_path
from sensorium.media.gguf import Gguf


class LlamaShape(Section):
    """The sizes of the decoder, and the two constants that its weights were trained with."""

    layers: int = Field(ge=1, le=1024)
    width: int = Field(ge=2, le=1 << 20)
    hidden: int = Field(ge=1, le=1 << 20)
    """Of the MLP."""
    heads: int = Field(ge=1, le=4096)
    kv_heads: int = Field(ge=1, le=4096)
    """Heads of keys and values; each serves heads / kv_heads queries."""
    head_width: int = Field(ge=2, le=1 << 16, multiple_of=2)
    norm_eps: float = Field(1e-5, gt=0, lt=1)
    rotary_base: float = Field(10_000.0, gt=1)
    max_tokens: int = Field(2048, ge=1)
    """Positions that its training covered; texts beyond are computed all the same."""
    tie_embeddings: bool = True

    @model_validator(mode="after")
    def _heads_are_grouped(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads are not a multiple of {self.kv_heads} heads of keys and values")
        return self


def read_shape(source: str) -> LlamaShape:
    """Read the shape of a published decoder.

    Args:
        source: a folder, a .gguf file, or the name of packaged weights.

    Raises:
        ConfigError, MissingExtraError: no such source.
        ModelError: damaged, or another architecture.
    """
    path = published_path(source)
    if path.is_dir():
        return _from_folder(path / "config.json")
    gguf = Gguf(path)
    return _from_gguf(gguf.metadata, "output.weight" not in gguf.tensors, str(path))


def _from_folder(path: Path) -> LlamaShape:
    where = str(path)
    try:
        found: Any = json.loads(text_file.whole(path))
    except (OSError, ValueError, DataError) as error:
        raise ModelError(f"cannot be read: {error}", where=where) from None
    if not isinstance(found, dict):
        raise ModelError("is no architecture", where=where)
    _refuse(found, where)
    rope = found.get("rope_parameters") or {}
    heads, width = found.get("num_attention_heads"), found.get("hidden_size")
    return _shape(
        {
            "layers": found.get("num_hidden_layers"),
            "width": width,
            "hidden": found.get("intermediate_size"),
            "heads": heads,
            "kv_heads": found.get("num_key_value_heads") or heads,
            "head_width": found.get("head_dim") or _quotient(width, heads),
            "norm_eps": found.get("rms_norm_eps", 1e-6),
            "rotary_base": rope.get("rope_theta") or found.get("rope_theta") or 10_000.0,
            "max_tokens": found.get("max_position_embeddings", 2048),
            "tie_embeddings": found.get("tie_word_embeddings", False),
        },
        where,
    )


def _refuse(found: Mapping[str, Any], where: str) -> None:
    """Raise ModelError for what a published decoder has and ours lacks."""
    rope = found.get("rope_parameters") or found.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    strange = {
        f"the architecture '{found.get('model_type')}'": found.get("model_type") not in ("llama", "mistral"),
        f"the activation '{found.get('hidden_act')}'": found.get("hidden_act", "silu") != "silu",
        f"rotary positions of kind '{kind}'": kind != "default",
        "biases": bool(found.get("attention_bias") or found.get("mlp_bias")),
        "a sliding window": found.get("sliding_window") is not None,
    }
    for what, is_there in strange.items():
        if is_there:
            advice = "'llama' takes plain Llama decoders; 'hf:FOLDER' takes what transformers takes"
            raise ModelError(f"has {what}", where=where, advice=advice)


def _from_gguf(metadata: Mapping[str, Any], is_tied: bool, where: str) -> LlamaShape:
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise ModelError(f"has the architecture '{architecture}'", where=where, advice="'llama' takes 'llama'")
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none" or metadata.get("llama.expert_count", 0):
        raise ModelError("has scaled rotary positions, or experts, which 'llama' does not compute", where=where)

    def number(key: str) -> Any:
        return metadata.get(f"llama.{key}")

    width, heads = number("embedding_length"), number("attention.head_count")
    return _shape(
        {
            "layers": number("block_count"),
            "width": width,
            "hidden": number("feed_forward_length"),
            "heads": heads,
            "kv_heads": number("attention.head_count_kv") or heads,
            "head_width": number("attention.key_length") or _quotient(width, heads),
            "norm_eps": _decimal(number("attention.layer_norm_rms_epsilon") or 1e-5),
            "rotary_base": number("rope.freq_base") or 10_000.0,
            "max_tokens": number("context_length") or 2048,
            "tie_embeddings": is_tied,
        },
        where,
    )


def _quotient(width: Any, heads: Any) -> int | None:
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None


def _decimal(number: Any) -> Any:
    """Undo the rounding of a short decimal to float32: 9.999999747378752e-06 was 1e-05."""
    return float(f"{number:.6g}") if isinstance(number, float) else number


def _shape(values: Mapping[str, Any], where: str) -> LlamaShape:
    try:
        return LlamaShape.parse(values)
    except ConfigError as error:
        raise ModelError(f"is no Llama decoder: {error.what}", where=where) from None

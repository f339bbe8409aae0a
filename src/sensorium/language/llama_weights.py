"""Published weights into our decoder: names translated, matrices joined, words put in the vocabulary's order.

Enters: a Hugging Face folder (safetensors alone: no code is run) or a GGUF file.  Leaves: the trunk, changed in
place.

A GGUF file of llama.cpp holds queries and keys with each head's two halves interleaved, which is its own order of
rotary pairs; they are put back (convert_hf_to_gguf.py, LlamaModel.permute, undone).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sensorium.core import text_file
from sensorium.core.errors import DataError, ModelError
from sensorium.core.lora import LoraLinear
from sensorium.core.vocabulary import BOS, EOS, BorrowedVocab, Vocab
from sensorium.data.language_source import published_path
from sensorium.language.llama_block import Trunk
from sensorium.language.llama_shape import LlamaShape
from sensorium.media.gguf import Gguf

Read = Callable[[str], Tensor]

PARTS = {  # as transformers names them
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
    "attention.norm": "model.layers.{}.input_layernorm.weight",
    "q": "model.layers.{}.self_attn.q_proj.weight",
    "k": "model.layers.{}.self_attn.k_proj.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "out": "model.layers.{}.self_attn.o_proj.weight",
    "mlp.norm": "model.layers.{}.post_attention_layernorm.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
}
_GGUF = {
    "embedding": "token_embd.weight",
    "norm": "output_norm.weight",
    "head": "output.weight",
    "attention.norm": "blk.{}.attn_norm.weight",
    "q": "blk.{}.attn_q.weight",
    "k": "blk.{}.attn_k.weight",
    "v": "blk.{}.attn_v.weight",
    "out": "blk.{}.attn_output.weight",
    "mlp.norm": "blk.{}.ffn_norm.weight",
    "gate": "blk.{}.ffn_gate.weight",
    "up": "blk.{}.ffn_up.weight",
    "down": "blk.{}.ffn_down.weight",
}


@torch.no_grad()
def load_published(trunk: Trunk, source: str, vocab: Vocab) -> None:
    """Load every parameter of `trunk` but its adapters' from `source`.

    Raises:
        ConfigError, MissingExtraError: no such source.
        ModelError: a tensor is missing or of another shape, or `vocab` is not that of the published tokenizer.
    """
    path = published_path(source)
    if not isinstance(vocab, BorrowedVocab):
        advice = f'set tokenizer = "published" and source = "{source}" under [target]'
        raise ModelError("the target's tokenizer is not the published one", where=source, advice=advice)
    _fill(trunk, open_published(path, trunk.shape), torch.tensor(_published_rows(vocab)), str(path))


def open_published(path: Path, shape: LlamaShape) -> Callable[..., Tensor]:
    """Return what reads a published matrix as float32, by its part ("q", "gate", see `PARTS`) and its layer.

    Raises:
        ModelError: no file of weights, or a damaged one; a tensor that is missing, when it is asked for.
    """
    if path.is_dir():
        read, names = _folder_reader(path), PARTS
    else:
        read, names = _gguf_reader(Gguf(path), shape), _GGUF
    return lambda part, layer=0: read(names[part].format(layer))


def _published_rows(vocab: BorrowedVocab) -> list[int]:
    """Return which published word vector each token takes; for a sign that is unknown there EOS stands in."""
    end, *_ = [number for number in (vocab.source_ids[EOS], vocab.source_ids[BOS], 0) if number >= 0]
    return [number if number >= 0 else end for number in vocab.source_ids]


def _fill(trunk: Trunk, read: Callable[..., Tensor], row_V: Tensor, where: str) -> None:
    _put(trunk.embedding.weight, _rows(read("embedding"), row_V, where), "embedding", where)
    if trunk.head_VW is not None:
        _put(trunk.head_VW, _rows(read("head"), row_V, where), "output layer", where)
    _put(trunk.norm.gain_W, read("norm"), "norm", where)
    module: Any
    for i, module in enumerate(trunk.layers):
        attention, mlp = module.attention, module.mlp
        _put(attention.norm.gain_W, read("attention.norm", i), f"layer {i}: norm", where)
        _put(_weight(attention.qkv), torch.cat([read(part, i) for part in "qkv"]), f"layer {i}: qkv", where)
        _put(_weight(attention.out), read("out", i), f"layer {i}: out", where)
        _put(mlp.norm.gain_W, read("mlp.norm", i), f"layer {i}: norm", where)
        gate_up = torch.cat([read("gate", i), read("up", i)])
        _put(_weight(mlp.gate_up), gate_up, f"layer {i}: gate and up", where)
        _put(_weight(mlp.down), read("down", i), f"layer {i}: down", where)


def _weight(layer: Any) -> Tensor:
    weight: Tensor = layer.base.weight if isinstance(layer, LoraLinear) else layer.weight
    return weight


def _put(parameter: Tensor, found: Tensor, what: str, where: str) -> None:
    if parameter.shape != found.shape:
        raise ModelError(f"{what} is {tuple(found.shape)}, not {tuple(parameter.shape)}", where=where)
    if not found.isfinite().all():
        raise ModelError(f"{what} holds numbers that are not finite", where=where)
    parameter.copy_(found)


def _rows(found_VW: Tensor, row_V: Tensor, where: str) -> Tensor:
    if found_VW.ndim != 2 or len(found_VW) <= int(row_V.max()):
        raise ModelError(f"has {tuple(found_VW.shape)} word vectors for {int(row_V.max()) + 1} tokens", where=where)
    return found_VW[row_V]


def _gguf_reader(gguf: Gguf, shape: LlamaShape) -> Read:
    def read(name: str) -> Tensor:
        found = torch.from_numpy(gguf.read(name))
        heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
        return found if heads is None else _halves_apart(found, heads, str(gguf.path))

    return read


def _halves_apart(weight_OI: Tensor, heads: int, where: str) -> Tensor:
    """Put the rows of each head back: from (0, 0'), (1, 1') ... to 0, 1 ..., 0', 1' ..."""
    if len(weight_OI) % (2 * heads):
        raise ModelError(f"has {len(weight_OI)} rows for {heads} heads", where=where)
    return weight_OI.view(heads, -1, 2, weight_OI.shape[-1]).transpose(1, 2).reshape(weight_OI.shape)


def _folder_reader(folder: Path) -> Read:
    """Read by name from `model.safetensors`, or from the parts that `model.safetensors.index.json` lists."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    parts: dict[str, str] = {}
    if not whole.is_file():
        try:
            parts = dict(json.loads(text_file.whole(index))["weight_map"])
        except (OSError, ValueError, KeyError, TypeError, DataError):
            what = "holds no model.safetensors, and no index of its parts"
            raise ModelError(what, where=str(folder), advice="save it as safetensors") from None

    def read(name: str) -> Tensor:
        file = folder / Path(str(parts.get(name, "model.safetensors"))).name  # never beside the folder
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
                return tensor.float()
        except (SafetensorError, OSError) as error:
            raise ModelError(f"cannot give '{name}': {error}", where=str(file)) from None

    return read

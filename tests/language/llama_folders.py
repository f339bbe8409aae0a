"""Tiny Llama decoders of random weights, as folders of transformers and as GGUF files."""

import importlib.util
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, pre_tokenizers
from tokenizers.models import BPE

# Next to the tests of the reader, whose files these are.
_WRITER = Path(__file__).parents[1] / "media" / "gguf_writer.py"


def _gguf_writer():
    if "gguf_writer" not in sys.modules:
        spec = importlib.util.spec_from_file_location("gguf_writer", _WRITER)
        sys.modules["gguf_writer"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["gguf_writer"])
    return sys.modules["gguf_writer"]


MERGES = ["h e", "l l", "he ll", "Ġ w", "o r", "Ġw or", "l d", "1 2"]
SIGNS = ["<|end|>", "<|begin|>", "<|stop|>"]  # unknown, begin, end
SHAPE = {"layers": 3, "width": 24, "hidden": 40, "heads": 6, "kv_heads": 2, "head_width": 4}


def tokens() -> list[str]:
    merged = [merge.replace(" ", "") for merge in MERGES]
    return SIGNS + sorted(pre_tokenizers.ByteLevel.alphabet()) + merged


def network(tie: bool = True, seed: int = 0, **options):
    """transformers' network of this shape, its weights large enough for mistakes to be seen."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokens()),
        hidden_size=SHAPE["width"],
        intermediate_size=SHAPE["hidden"],
        num_hidden_layers=SHAPE["layers"],
        num_attention_heads=SHAPE["heads"],
        num_key_value_heads=SHAPE["kv_heads"],
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5_000.0},
        tie_word_embeddings=tie,
        initializer_range=0.3,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **options,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def engine() -> Engine:
    vocab = {token: i for i, token in enumerate(tokens())}
    made = Engine(BPE(vocab=vocab, merges=[tuple(merge.split()) for merge in MERGES]))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SIGNS)
    return made


def save_folder(model, folder: Path) -> Path:
    model.save_pretrained(folder)
    engine().save(str(folder / "tokenizer.json"))
    names = '{"bos_token": "<|begin|>", "eos_token": {"content": "<|stop|>"}, "unk_token": "<|end|>"}'
    (folder / "tokenizer_config.json").write_text(names)
    return folder


def metadata() -> dict:
    return {
        "general.architecture": "llama",
        "llama.block_count": SHAPE["layers"],
        "llama.context_length": 64,
        "llama.embedding_length": SHAPE["width"],
        "llama.feed_forward_length": SHAPE["hidden"],
        "llama.attention.head_count": SHAPE["heads"],
        "llama.attention.head_count_kv": SHAPE["kv_heads"],
        "llama.rope.freq_base": 5_000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens(),
        "tokenizer.ggml.token_type": [("i32", 3)] * 3 + [("i32", 1)] * (len(tokens()) - 3),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
    }


_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_gguf(model, path: Path, **changes) -> Path:
    """As llama.cpp's convert_hf_to_gguf.py: queries' and keys' halves interleaved head by head."""
    tensors = {}
    for name, parameter in model.named_parameters():  # tied weights come once
        weight = parameter.detach()
        for heads, part in ((SHAPE["heads"], "q_proj"), (SHAPE["kv_heads"], "k_proj")):
            if part in name:
                half = len(weight) // heads // 2
                weight = weight.view(heads, 2, half, -1).transpose(1, 2).reshape(weight.shape)
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        tensors[name.replace("model.layers.", "blk.")] = weight.numpy()
    return _gguf_writer().write(path, metadata() | changes, tensors)

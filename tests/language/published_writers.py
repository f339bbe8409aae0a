"""Tiny random networks and a small tokenizer, saved as transformers saves them."""

from pathlib import Path

import torch

TEXTS = [
    "a dog runs over the grass",
    "two dogs play in the snow",
    "a man rides a red bike",
    "the red bike stands in the grass",
    "a man and two dogs run over the snow",
]


def save_tokenizer(folder: Path, specials: dict[str, str], *, more: tuple[str, ...] = ()) -> int:
    """Save a byte-pair tokenizer with these special signs; returns how many tokens it has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    first = list(dict.fromkeys([*specials.values(), *more]))
    trainer = trainers.BpeTrainer(vocab_size=70, special_tokens=first, show_progress=False, min_frequency=2)
    engine.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=engine, **specials)
    fast.save_pretrained(folder)
    return len(fast)


SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
END = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
T5_SIGNS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
WHISPER_SIGNS = {**END, "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
WHISPER_MORE = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")


def _gpt2(lib, size):
    return lib.GPT2LMHeadModel(
        lib.GPT2Config(
            vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
        )
    )


def _llama(lib, size):
    config = lib.LlamaConfig(
        vocab_size=size, num_key_value_heads=1, tie_word_embeddings=True, max_position_embeddings=64, **SMALL
    )
    return lib.LlamaForCausalLM(config)


def _qwen2(lib, size):
    config = lib.Qwen2Config(
        vocab_size=size + 5,
        num_key_value_heads=1,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        **SMALL,
    )
    return lib.Qwen2ForCausalLM(config)


def _opt(lib, size):
    config = lib.OPTConfig(
        vocab_size=size, ffn_dim=24, word_embed_proj_dim=8, max_position_embeddings=64, bos_token_id=2, eos_token_id=2,
        pad_token_id=1, **{k: v for k, v in SMALL.items() if k != "intermediate_size"},
    )  # fmt: skip
    return lib.OPTForCausalLM(config)


def _neox(lib, size):
    return lib.GPTNeoXForCausalLM(lib.GPTNeoXConfig(vocab_size=size, max_position_embeddings=64, **SMALL))


def _bloom(lib, size):
    return lib.BloomForCausalLM(lib.BloomConfig(vocab_size=size, hidden_size=16, n_layer=2, n_head=2))


def _mistral(lib, size):
    config = lib.MistralConfig(
        vocab_size=size, num_key_value_heads=1, sliding_window=4, max_position_embeddings=64, **SMALL
    )
    return lib.MistralForCausalLM(config)


def _t5(lib, size):
    config = lib.T5Config(
        vocab_size=size + 3, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return lib.T5ForConditionalGeneration(config)


def _whisper(lib, size):
    config = lib.WhisperConfig(
        vocab_size=size, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_target_positions=64,
        max_source_positions=20, num_mel_bins=8, decoder_start_token_id=1, bos_token_id=0, eos_token_id=0,
        pad_token_id=0, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return lib.WhisperForConditionalGeneration(config)


def _bart(lib, size):
    config = lib.BartConfig(
        vocab_size=size, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=64,
        decoder_start_token_id=1, eos_token_id=1, pad_token_id=0, bos_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    return lib.BartForConditionalGeneration(config)


def _vision_gpt2(lib, size):
    encoder = lib.ViTConfig(image_size=32, patch_size=16, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)  # fmt: skip
    decoder = lib.GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)  # fmt: skip
    config = lib.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = 0
    return lib.VisionEncoderDecoderModel(config)


KINDS = {
    "gpt2": (_gpt2, END, ()),
    "llama": (_llama, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, ()),
    "qwen2": (_qwen2, {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}, ("<|im_end|>",)),
    "opt": (_opt, {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "</s>", "eos_token": "</s>"}, ("<s>",)),
    "gpt_neox": (_neox, END, ()),
    "bloom": (_bloom, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}, ()),
    "mistral": (_mistral, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, ()),
    "t5": (_t5, T5_SIGNS, ()),
    "whisper": (_whisper, WHISPER_SIGNS, WHISPER_MORE),
    "bart": (_bart, {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}, ()),
    "vision-encoder-decoder": (_vision_gpt2, END, ()),
}
DECODERS = ("gpt2", "llama", "qwen2", "opt", "gpt_neox", "bloom", "mistral")
ENCODER_DECODERS = ("t5", "whisper", "bart", "vision-encoder-decoder")


def save_published(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save a tiny random network of `kind`, with its tokenizer."""
    import transformers

    make, signs, more = KINDS[kind]
    size = save_tokenizer(folder, signs, more=more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(transformers, size)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "norm" not in name and "ln_" not in name:  # the usual 0.02 says next to nothing
                    parameter.normal_(std=0.3)
    network.save_pretrained(folder)
    return folder

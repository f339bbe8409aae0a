"""Tiny random networks of many architectures, each saved as its publishers save it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sensorium.core.types import Media

WORDS = (
    "what",
    "is",
    "the",
    "blue",
    "red",
    "green",
    "shape",
    "?",
    "a",
    "circle",
    "it",
    "there",
    "in",
    "image",
    "or",
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {"vocab_size": 320, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
OF_WORDS = {**TEXT, "vocab_size": 24}
PATCHES = {"image_size": 16, "patch_size": 4}
STAGES = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}
WAVES = {
    **TINY,
    **{"conv_dim": [8, 8, 8], "conv_kernel": [10, 8, 8], "conv_stride": [8, 8, 5], "num_feat_extract_layers": 3},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 320},
}
SQUARE = {"height": 16, "width": 16}


def of_words() -> Any:
    """A fast tokenizer of whole words, which puts a token before and after each text."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", 1), ("</s>", 2)]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return _fast(made)


def of_bytes() -> Any:
    """A fast tokenizer of pairs of bytes, which adds nothing."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([" ".join(WORDS)], trainer)
    return _fast(made)


def _fast(made: Tokenizer) -> Any:
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=40, **names)


def clip_processor() -> Any:
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 18}, crop_size=SQUARE)


def vit_processor() -> Any:
    return transformers.ViTImageProcessorPil(size=SQUARE)


@dataclass(frozen=True)
class Case:
    """One architecture: its modality, its configuration, and what prepares its media."""

    modality: str
    facts: Mapping[str, Any]
    processor: Callable[[], Any]
    part: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "bert": Case("text", {**TINY, **OF_WORDS}, of_words),
    "roberta": Case("text", {**TINY, **OF_WORDS}, of_words),
    "distilbert": Case("text", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, **OF_WORDS}, of_words),
    "gpt2": Case("text", {"n_embd": 16, "n_layer": 2, "n_head": 2, **TEXT}, of_bytes),
    "llama": Case("text", {**TINY, **TEXT, "num_key_value_heads": 1}, of_bytes),
    "qwen2": Case("text", {**TINY, **TEXT, "num_key_value_heads": 1}, of_bytes),
    "t5": Case(
        "text", {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, **OF_WORDS}, of_words
    ),
    "vit": Case("image", {**TINY, **PATCHES}, vit_processor),
    "resnet": Case(
        "image",
        {**STAGES, "embedding_size": 8},
        lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}),
    ),
    "convnext": Case(
        "image", {**STAGES}, lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64})
    ),
    "clip": Case(
        "image",
        {"vision_config": {**TINY, **PATCHES}, "text_config": {**TINY, **TEXT}},
        clip_processor,
        "vision_config",
    ),
    "siglip": Case(
        "image",
        {"vision_config": {**TINY, **PATCHES}, "text_config": {**TINY, **TEXT}},
        lambda: transformers.SiglipImageProcessorPil(size=SQUARE),
        "vision_config",
    ),
    "dinov2": Case(
        "image",
        {**TINY, **PATCHES},
        lambda: transformers.BitImageProcessorPil(size={"shortest_edge": 18}, crop_size=SQUARE),
    ),
    "swin": Case(
        "image",
        {
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "image_size": 16,
            "patch_size": 2,
            "window_size": 4,
        },
        vit_processor,
    ),
    "whisper": Case(
        "audio",
        {
            **{
                "d_model": 16,
                "encoder_layers": 2,
                "decoder_layers": 1,
                "num_mel_bins": 8,
                "max_source_positions": 50,
            },
            **{
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 24,
                "decoder_ffn_dim": 24,
            },
            **{**TEXT, "decoder_start_token_id": 1},
        },
        lambda: transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1),
    ),
    "wav2vec2": Case("audio", WAVES, lambda: transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)),
    "hubert": Case(
        "audio",
        {**WAVES, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        lambda: transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    ),
    "audio-spectrogram-transformer": Case(
        "audio",
        {**TINY, "max_length": 48, "num_mel_bins": 16},
        lambda: transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=48),
    ),
}


def media_of(modality: str) -> list[Any]:
    """Four items of different lengths and shapes."""
    draw = np.random.default_rng(0)
    if modality == "text":
        return [
            "what is the blue shape ?",
            "is it red ?",
            "a circle",
            "is there a green shape in the image or a gray one ?",
        ]
    if modality == "image":
        sides = [(20, 30), (31, 22), (48, 40), (16, 16)]
        return [picture(draw.integers(0, 256, (*side, 3), dtype=np.uint8)) for side in sides]
    return [sound(draw.standard_normal(num) / 10) for num in (3000, 800, 6000, 4100)]


def picture(pixel_HW3: Any) -> Media:
    """An image file in memory."""
    file = io.BytesIO()
    Image.fromarray(pixel_HW3).save(file, "PNG")
    return Media(data=file.getvalue())


def sound(sample_N: Any) -> Media:
    """A sound file in memory, 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, sample_N.clip(-1, 1), 16_000, format="WAV", subtype="FLOAT")
    return Media(data=file.getvalue())


def make_network(name: str) -> Any:
    """Make the whole network of a case with random weights, in evaluation mode."""
    config = transformers.CONFIG_MAPPING[name](**CASES[name].facts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.AutoModel.from_config(config).eval()
        for parameter in network.parameters():  # biases and gains that are all alike would hide faults
            parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def save_published(name: str, folder: Path) -> Path:
    """Save a case's network and processor to `folder`, as its publishers would."""
    make_network(name).save_pretrained(folder)
    CASES[name].processor().save_pretrained(folder)
    return folder

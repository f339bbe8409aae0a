"""Every registered encoder passes the contract, and has the number of parameters that it should have."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from sensorium.core import registry
from sensorium.core.types import MediaBatch
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.time_code import with_times
from sensorium.data.token_features import TokenFeaturesPreparer
from sensorium.data.video_preparer import VideoPreparer
from sensorium.encoders.image_resnet import BasicBlock, Bottleneck, ResNet
from sensorium.encoders.image_vgg16 import VGG16
from sensorium.encoders.image_vit import ImageViT, ViT
from sensorium.encoders.registry import ENCODERS, ENTRY_POINTS
from sensorium.testing.encoder import check_encoder

WIDTH = 24
TEXTS = [
    "what is the blue shape?",
    "is it red?",
    "a circle",
    "is there a green shape in the image, or a a gray one?",
]

# Every encoder has a row: options that make it small enough to be tried in a second or two.
SMALL: dict[str, dict[str, Any]] = {
    "text.bag_of_words": {},
    "text.tfidf": {},
    "text.embedding": {},
    "text.rnn": {"layers": 2},
    "text.lstm": {"layers": 2},
    "text.gru": {"layers": 2},
    "text.cnn": {},
    "text.transformer": {},
    "text.packaged": {},
    "text.token_features": {"templates": ["0[0]", "0[-1]"]},
    "text.token_features_lstm": {"templates": ["0[0]", "0[-1]"], "layers": 2},
    "text.hmm": {"states": 5},
    "text.naive_bayes": {"classes": 3},
    "image.cnn": {"size": 32},
    "image.vgg16": {"size": 32},
    "image.resnet18": {"size": 64},
    "image.resnet50": {"size": 64},
    "image.vit": {"size": 32, "patch": 8, "hidden": 32, "heads": 4, "layers": 2, "mlp": 64},
    "image.packaged": {"size": 64},
    "image.words": {"size": 32, "codes": 8},
    "audio.dnn": {},
    "audio.cnn": {},
    "audio.cnn2d": {"channels": [4, 6], "time_stages": 1},
    "audio.gru": {},
    "audio.conformer": {"layers": 2},
    "audio.packaged": {"window_s": 0.2},
    "audio.words": {"codes": 8},
    "audio.hmm": {"states": 3, "words": 2},
    "video.frames": {
        "frame_encoder": {"encoder": "cnn", "size": 16, "channels": [4, 8], "grid": 2, "norm": "group"},
        "hidden": 16,
    },
    "video.cnn3d": {"size": 16, "channels": [4, 6], "grid": 2, "hidden": 16},
}


# Those that read a published network are whatever it is; tests/encoders/test_published_encoders.py tries them, and
# tests/encoders/test_keras_encoders.py.
PUBLISHED_NETWORKS = {name for name in ENCODERS if name.endswith((".hf", ".keras"))}
OWN = [name for name in ENCODERS if name not in PUBLISHED_NETWORKS]


def linear(n_in: int, n_out: int) -> int:
    return n_in * n_out + n_out


def norm(n: int) -> int:
    return 2 * n


def convolutions(kernel_area: int, *channels: int, bias: bool = True) -> int:
    return sum(kernel_area * a * b + b * bias for a, b in itertools.pairwise(channels))


def recurrent(gates: int, n_in: int, units: int) -> int:
    return gates * (n_in * units + units * units + 2 * units)


def attention(n: int) -> int:
    return linear(n, 3 * n) + linear(n, n)


def outlet(n_in: int, num_positions: int = 0, is_normalised: bool = True) -> int:
    return norm(n_in) * is_normalised + linear(n_in, 128) + 128 + 128 * num_positions


def without_head(published: int, n: int) -> int:
    return published - linear(n, 1000)


# And a row of its number of parameters, by hand: default options, a vocabulary of 1,000, a model's width of 128.
COUNTS = {
    "text.bag_of_words": 1000 * 256 + outlet(256, is_normalised=False),
    "text.tfidf": 1000 * 256 + outlet(256, is_normalised=False),
    "text.embedding": 1000 * 128 + outlet(128),
    "text.rnn": 1000 * 128 + 2 * recurrent(1, 128, 64) + outlet(128),
    "text.lstm": 1000 * 128 + 2 * recurrent(4, 128, 64) + outlet(128),
    "text.gru": 1000 * 128 + 2 * recurrent(3, 128, 64) + outlet(128),
    "text.cnn": 1000 * 128 + sum(linear(w * 128, 100) for w in (3, 4, 5)) + outlet(300, is_normalised=False),
    "text.transformer": 1000 * 128
    + 2 * (2 * norm(128) + attention(128) + linear(128, 512) + linear(512, 128))
    + outlet(128),
    "text.packaged": 1000 * 384
    + (512 + 1) * 384
    + norm(384)
    + 6 * (2 * norm(384) + attention(384) + linear(384, 1536) + linear(1536, 384))
    + outlet(384),
    "text.token_features": 1001 * 128 + 128,  # the table with its row of unseen features, the absent token
    "text.token_features_lstm": 1001 * 128 + 2 * recurrent(4, 128, 128) + outlet(256),
    "text.hmm": outlet(32),
    "text.naive_bayes": outlet(32, is_normalised=False),
    "image.cnn": convolutions(9, 3, 32, 64, 128, bias=False) + norm(32 + 64 + 128) + outlet(128, 16),
    "image.vgg16": 138_357_544
    - (linear(512 * 49, 4096) + linear(4096, 4096) + linear(4096, 1000))
    + outlet(512, 49),
    "image.resnet18": without_head(11_689_512, 512) + outlet(512, 49),
    "image.resnet50": without_head(25_557_032, 2048) + outlet(2048, 49),
    "image.vit": 86_567_656 - linear(768, 1000) + outlet(768),
    "audio.dnn": linear(16 * 80, 256) + 2 * linear(256, 256) + 3 * norm(256) + outlet(256),
    "audio.cnn": convolutions(5, 80, 128, 128, 256, 256) + norm(128 + 128 + 256 + 256) + outlet(256),
    "audio.cnn2d": convolutions(9, 1, 24, 48, 64) + norm(24 + 48 + 64) + outlet(64 * 10),
    "audio.gru": linear(8 * 80, 256) + norm(256) + 4 * recurrent(3, 256, 128) + outlet(256),
    "audio.conformer": convolutions(9, 1, 32, 32)
    + linear(32 * 20, 144)
    + 4
    * (
        2 * (norm(144) + linear(144, 576) + linear(576, 144))
        + (norm(144) + attention(144))
        + (2 * norm(144) + linear(144, 288) + (31 * 144 + 144) + linear(144, 144))
        + norm(144)
    )
    + outlet(144),
    "image.packaged": 4_652_008 - linear(1280, 1000) + outlet(1280, 49),
    "audio.packaged": linear(3 * 80, 384)
    + linear(3 * 384, 384)
    + 4 * (2 * norm(384) + attention(384) + linear(384, 1536) + linear(1536, 384))
    + norm(384)
    + outlet(384),
    "image.words": 1000 * 64 + outlet(64),
    "audio.words": 1000 * 64 + outlet(64),
    "audio.hmm": outlet(8),
    "video.frames": convolutions(9, 3, 32, 64, 128, bias=False)
    + norm(32 + 64 + 128)
    + norm(128)
    + linear(128 * 16, 128)
    + 48 * 128  # sines and cosines of 24 wavelengths
    + 2 * recurrent(3, 128, 64)
    + outlet(128),
    "video.cnn3d": convolutions(27, 3, 16, 32, 64)
    + norm(16 + 32 + 64)
    + linear(64 * 16, 128)
    + 48 * 128
    + outlet(128),
}


def text_preparer(num_tokens: int | None = None) -> TextPreparer:
    texts = TEXTS if num_tokens is None else [" ".join(f"w{i}" for i in range(num_tokens - 4))]
    return TextPreparer(tokenizer="word", max_tokens=64).fit(texts)


def feature_preparer(num_features: int | None = None) -> TokenFeaturesPreparer:
    if num_features is None:
        return TokenFeaturesPreparer(["0[0]", "0[-1]"]).fit(TEXTS)
    return TokenFeaturesPreparer(["0[0]"]).fit([" ".join(f"w{i}" for i in range(num_features))])


def reads(name: str) -> str:
    """Say what an encoder's values are like: a codebook's words are like a text's."""
    return "text" if name.endswith(".words") else name.partition(".")[0]


def preparer_of(name: str, num_tokens: int | None = None) -> Any:
    if "token_features" in name:
        return feature_preparer(num_tokens)
    make = {"text": lambda: text_preparer(num_tokens), "image": ImagePreparer, "audio": LogMelPreparer}
    make["video"] = VideoPreparer
    return make[reads(name)]()


def media_of(name: str, num: int, size: int) -> MediaBatch:
    rows, modality = torch.zeros(num, dtype=torch.int64), reads(name)
    if "token_features" in name:
        features = feature_preparer()
        return MediaBatch(*features.collate([features(text) for text in TEXTS[:num]]), rows)
    if modality == "text":
        preparer = text_preparer()
        return MediaBatch(*preparer.collate([preparer(text) for text in TEXTS[:num]]), rows)
    if modality == "image":
        values = torch.randint(256, (num, 3, size, size), dtype=torch.uint8)
        return MediaBatch(*ImagePreparer(size=size).collate(list(values)), rows)
    if modality == "video":
        preparer = VideoPreparer(size=16)
        clips = [torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8) for n in (3, 1, 5, 4)[:num]]
        timed = [with_times(clip, torch.arange(len(clip)) / 4) for clip in clips]
        return MediaBatch(*preparer.collate(timed), rows)
    frames = [torch.randn(length, 80, dtype=torch.float16) for length in (23, 1, 40, 37)[:num]]
    return MediaBatch(*LogMelPreparer().collate(frames), rows)


def load(name: str) -> Any:
    return registry.load(ENCODERS, ENTRY_POINTS, name)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_encoder_has_its_rows() -> None:
    assert SMALL.keys() == set(OWN), "give a new encoder a row in SMALL"
    assert COUNTS.keys() == set(OWN), "give a new encoder a row in COUNTS"


@pytest.mark.parametrize("name", OWN)
def test_encoder_keeps_the_contract(name: str) -> None:
    encoder = load(name)
    modality = name.partition(".")[0]
    config = encoder.Config(**SMALL[name])
    assert encoder.modality == modality == config.preparer().modality
    size = getattr(config, "size", 0)
    preparer = preparer_of(name)

    def make() -> Any:
        made = encoder(config, preparer, WIDTH)
        if name == "text.token_features":  # at birth its table is zero, and every text the same
            nn.init.normal_(made.table.weight_VD)
        if name == "text.naive_bayes":  # and so is this one's before it has counted
            nn.init.normal_(made.weight_)
        return made

    check_encoder(make, lambda num: media_of(name, num, size))


@pytest.mark.parametrize("name", OWN)
def test_number_of_parameters_by_default(name: str) -> None:
    encoder = load(name)
    preparer = preparer_of(name, num_tokens=1000)
    with torch.device("meta"):
        assert num_parameters(encoder(encoder.Config(), preparer, 128)) == COUNTS[name]


PUBLISHED = {  # torchvision's model cards, 1,000 classes
    "VGG16": (lambda: VGG16(1000), 138_357_544),
    "ResNet-18": (lambda: ResNet(BasicBlock, (2, 2, 2, 2), 1000), 11_689_512),
    "ResNet-50": (lambda: ResNet(Bottleneck, (3, 4, 6, 3), 1000), 25_557_032),
    "ViT-B/16": (lambda: ViT(ImageViT.Config(), 1000), 86_567_656),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters_is_the_published_one(name: str) -> None:
    make, published = PUBLISHED[name]
    with torch.device("meta"):
        assert num_parameters(make()) == published


@pytest.mark.parametrize("name", OWN)
def test_features_are_what_the_outlet_reads(name: str) -> None:
    encoder_class = load(name)
    config = encoder_class.Config(**SMALL[name])
    encoder = encoder_class(config, preparer_of(name), WIDTH).eval()
    media = media_of(name, 4, getattr(config, "size", 0))
    rows = torch.tensor([3, -1, 0])
    with torch.no_grad():
        x_UTF, mask_UT = encoder.features(media.values, media.mask_UT)
        got = encoder.outlet(x_UTF, mask_UT, rows)
        want = encoder(MediaBatch(media.values, media.mask_UT, rows))
    assert x_UTF.shape[2] == encoder.feature_width
    assert torch.equal(got.x_BTD, want.x_BTD)
    assert torch.equal(got.mask_BT, want.mask_BT)

"""Packaged networks: their weights find their places, and what leaves is what their peers compute."""

from __future__ import annotations

import csv
import json
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.types import Media
from sensorium.encoders.audio_packaged import AudioPackaged, windows
from sensorium.encoders.bert import framed
from sensorium.encoders.ctranslate2_file import read_ctranslate2
from sensorium.encoders.efficientnet import ConvNorm, EfficientNetLite0, named_as_here, same_padding
from sensorium.encoders.image_packaged import ImagePackaged
from sensorium.encoders.pretrained import read_weights
from sensorium.encoders.text_packaged import TextPackaged
from sensorium.media.packaged import LISTING, packaged_files
from sensorium.media.whisper_mel import whisper_log_mel
from sensorium.model.layers import layers


def packaged(name: str) -> dict[str, Path]:
    """Return the files of packaged weights; the test is skipped where they are not installed."""
    try:
        distribution(LISTING[name].package)
    except PackageNotFoundError:
        pytest.skip(f"the weights are not installed: {LISTING[name].install}")
    return packaged_files(name)


def fitted(encoder_class: Any, source: str, **options: Any) -> tuple[Any, Any]:
    """Make an encoder with its packaged weights, and its preparer."""
    packaged(source)
    config = encoder_class.Config(**options)
    preparer = config.preparer()
    preparer.fit(["a text"])
    return encoder_class(config, preparer, 8).load_pretrained().eval(), preparer


def close(got: Tensor, want: Any, tolerance: float = 2e-4) -> bool:
    gap = (got - torch.as_tensor(want)).abs().max()
    return bool(gap < tolerance)


# EfficientNet-Lite0 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (12, 5, 2), (7, 3, 2), (9, 5, 1), (4, 1, 1)])
def test_same_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = ConvNorm(1, 1, kernel, stride=stride, activates=False).eval()
    with torch.no_grad():
        got = layer(image := torch.randn(1, 1, side, side))[0, 0] * (1 + 1e-3) ** 0.5  # the norm's epsilon
    num_out = -(-side // stride)
    before = max((num_out - 1) * stride + kernel - side, 0) // 2
    want = torch.zeros(num_out, num_out)
    for row in range(num_out):
        for column in range(num_out):
            for i in range(kernel):
                for j in range(kernel):
                    y, x = row * stride + i - before, column * stride + j - before
                    if 0 <= y < side and 0 <= x < side:
                        want[row, column] += image[0, 0, y, x] * layer.conv.weight.detach()[0, 0, i, j]
    assert same_padding(side, kernel, stride) >= before
    assert close(got, want, 1e-4)


def as_published(weights: dict[str, Tensor], image_UCHW: Tensor) -> Tensor:
    """Compute the published network step by step, nothing folded, straight from the file's names."""
    strides = {1: 2, 3: 2, 5: 2, 11: 2}  # of block i, 1 elsewhere

    def step(x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = weights[f"{conv}.weight"]
        total = same_padding(x.shape[2], weight.shape[2], stride)
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        statistics = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        return functional.batch_norm(x, *statistics, weights[f"{norm}.weight"], weights[f"{norm}.bias"], eps=1e-3)

    x = functional.relu6(step(image_UCHW, "_conv_stem", "_bn0", 2))
    for i in range(16):
        block, y = f"_blocks.{i}", x
        if f"{block}._expand_conv.weight" in weights:
            y = functional.relu6(step(y, f"{block}._expand_conv", f"{block}._bn0"))
        y = functional.relu6(
            step(y, f"{block}._depthwise_conv", f"{block}._bn1", strides.get(i, 1), groups=y.shape[1])
        )
        y = step(y, f"{block}._project_conv", f"{block}._bn2")
        x = x + y if x.shape == y.shape else y
    return functional.relu6(step(x, "_conv_head", "_bn1"))


def test_efficientnet_equals_the_published_one_step_by_step() -> None:
    (path,) = packaged("efficientnet-lite0").values()
    weights = read_weights(path)
    network = EfficientNetLite0(1000).eval()
    network.load_state_dict(named_as_here(weights))
    assert sum(p.numel() for p in network.parameters()) == LISTING["efficientnet-lite0"].parameters
    image = torch.linspace(-1, 1, 3 * 96 * 96).view(1, 3, 96, 96)
    with torch.no_grad():
        assert close(network.grid(image), as_published(weights, image), 1e-3)


def test_efficientnet_features_are_golden() -> None:
    encoder, _ = fitted(ImagePackaged, "efficientnet-lite0")
    y, x = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")
    ramp = torch.stack([x, y, (x + y) // 2]).to(torch.uint8)[None]
    with torch.no_grad():
        x_UTF, mask = encoder.features(ramp)
    assert x_UTF.shape == (1, 49, 1280)
    assert mask is None
    assert float(x_UTF.mean()) == pytest.approx(0.0696896, abs=1e-5)
    assert float(x_UTF.std()) == pytest.approx(0.4002894, abs=1e-5)


def test_efficientnet_knows_dogs(reference_data: Path) -> None:
    """Preparation and weights fit each other: photos whose captions all say 'dog' are of ImageNet's dogs."""
    (path,) = packaged("efficientnet-lite0").values()
    network = EfficientNetLite0(1000).eval()
    network.load_state_dict(named_as_here(read_weights(path)))
    folder, says_dog = reference_data / "flickr8k", Counter[str]()
    if not folder.is_dir():
        pytest.skip(f"no photos in {folder}")
    with (folder / "captions.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            says_dog[row["image"]] += " dog " in row["caption"].lower()
    photos = [name for name, count in says_dog.items() if count == 5][:12]
    config = ImagePackaged.Config()
    preparer = config.preparer()
    encoder = ImagePackaged(config, preparer, 8)
    values = torch.stack([preparer(Media(path=folder / "images" / name)) for name in photos])
    with torch.no_grad():
        best = network(encoder.normalise(values)).argmax(1)
    assert int(((best >= 151) & (best <= 268)).sum()) >= 9


def test_fixed_norms_are_folded_and_gradients_are_the_same() -> None:
    torch.manual_seed(0)
    layer = ConvNorm(3, 5, 3, stride=2)
    torch.nn.init.uniform_(layer.norm.running_mean)
    torch.nn.init.uniform_(layer.norm.running_var, 0.5, 2)
    torch.nn.init.uniform_(layer.norm.weight)
    image = torch.randn(2, 3, 8, 8)
    layer.eval()(image).square().sum().backward()
    folded = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    layer.zero_grad()
    padded = functional.pad(image, (0, 1, 0, 1))
    plain = functional.relu6(layer.norm(functional.conv2d(padded, layer.conv.weight, stride=2)))
    plain.square().sum().backward()
    assert folded.keys() == {"conv.weight", "norm.weight", "norm.bias"}
    assert all(close(folded[name], p.grad, 1e-3) for name, p in layer.named_parameters())


# MiniLM ------------------------------------------------------------------------------------------------------------

TEXTS = ["A black dog runs through the snow.", "Deux chiens, café!! unaffable 你好", "x", "zzzzqqq ☃"]


def test_wordpiece_equals_the_published_tokenizer() -> None:
    from tokenizers import Tokenizer

    with zipfile.ZipFile(packaged("minilm")["model.zip"]) as archive:
        published = Tokenizer.from_str(archive.read("tokenizer.json").decode())
    published.no_padding()
    preparer = TextPackaged.Config().preparer().fit(TEXTS)
    assert len(preparer.vocab) == 30_522
    for text in TEXTS:
        got = [preparer.vocab.tokens[i].replace("<unk>", "[UNK]") for i in preparer(text).tolist()]
        assert ["[CLS]", *got, "[SEP]"] == published.encode(text).tokens
    assert preparer.tokenizer.decode(preparer(TEXTS[0]).tolist()) == "a black dog runs through the snow."


def test_minilm_equals_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load
    from tokenizers import Tokenizer

    encoder, preparer = fitted(TextPackaged, "minilm")
    with zipfile.ZipFile(packaged("minilm")["model.zip"]) as archive:
        weights = load(archive.read("model.safetensors"))
        settings = json.loads(archive.read("config.json"))
        tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
    tokenizer.no_padding()
    peer = transformers.BertModel(transformers.BertConfig(**settings)).eval()
    peer.load_state_dict({name: tensor for name, tensor in weights.items() if "position_ids" not in name})
    values, mask_UT = preparer.collate([preparer(text) for text in TEXTS])
    with torch.no_grad():
        x_UTF, mask_UT = encoder.features(values, mask_UT)
        for u, text in enumerate(TEXTS):
            want = peer(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
            assert close(x_UTF[u][mask_UT[u]], want, 5e-5)


def test_minilm_features_are_golden() -> None:
    encoder, preparer = fitted(TextPackaged, "minilm")
    with torch.no_grad():
        x_UTF, _ = encoder.features(preparer(TEXTS[0])[None], None)
    assert x_UTF.shape == (1, 10, 384)
    assert close(x_UTF[0, 0, :4], [-0.3512404, 0.1503832, 0.3217018, 0.4566988], 1e-5)


def test_pooled_vectors_know_what_means_the_same() -> None:
    encoder, preparer = fitted(TextPackaged, "minilm", pool="mean")
    texts = ["a dog runs in the snow", "a puppy is playing outside in winter", "quarterly tax returns are due"]
    with torch.no_grad():
        x_UF = encoder.features(*preparer.collate([preparer(text) for text in texts]))[0][:, 0]
    alike = x_UF @ x_UF.T
    assert close(alike.diag(), torch.ones(3), 1e-5)
    assert float(alike[0, 1]) > 0.5 > 0.2 > float(alike[0, 2])


def test_texts_are_framed_at_their_own_ends() -> None:
    token_UT = torch.tensor([[7, 8, 9], [7, 0, 0], [0, 0, 0]])
    mask_UT = torch.tensor([[True] * 3, [True, False, False], [False] * 3])
    framed_UT, framed_mask_UT = framed(token_UT, mask_UT)
    assert framed_UT.tolist() == [[1, 7, 8, 9, 2], [1, 7, 2, 0, 0], [1, 2, 0, 0, 0]]
    assert framed_mask_UT.sum(1).tolist() == [5, 3, 2]


# Whisper -----------------------------------------------------------------------------------------------------------


def note(num: int) -> Tensor:
    t = torch.arange(num) / 16_000
    return 0.5 * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-3 * t)


def test_whisper_equals_ctranslate2() -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    encoder, preparer = fitted(AudioPackaged, "whisper-tiny.en")
    folder = packaged("whisper-tiny.en")["model.bin"].parent
    peer = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    mel_TM = whisper_log_mel(note(12_345), 3000)
    silence_TM = mel_TM[-1:].expand(3000 - len(mel_TM), -1)
    full = np.ascontiguousarray(torch.cat([mel_TM, silence_TM]).T.numpy()[None])
    want_TF = torch.from_numpy(np.array(peer.encode(ctranslate2.StorageView.from_array(full))))[0]
    with torch.no_grad():
        x_UTF, mask_UT = encoder.features(*preparer.collate([mel_TM]))
    assert x_UTF.shape == (1, -(-len(mel_TM) // 2), 384)
    assert mask_UT.all()
    assert close(x_UTF[0], want_TF[: x_UTF.shape[1]], 2e-4)


def test_whisper_features_are_golden() -> None:
    encoder, preparer = fitted(AudioPackaged, "whisper-tiny.en", window_s=2.0)
    with torch.no_grad():
        x_UTF, _ = encoder.features(*preparer.collate([whisper_log_mel(note(16_000), 200)]))
    assert x_UTF.shape == (1, 52, 384)
    assert close(x_UTF[0, 20, :4], [0.9986684, 0.3178398, 0.1521419, 0.1521044], 5e-4)


def test_windows_are_heard_apart_and_end_in_silence() -> None:
    mel_UTM = torch.arange(1.0, 8.0).view(1, 7, 1).repeat(2, 1, 1)
    mask_UT = torch.arange(7) < torch.tensor([[7], [3]])
    window_UKTM, is_heard_UK = windows(mel_UTM * mask_UT[..., None], mask_UT, 4)
    assert window_UKTM[..., 0].tolist() == [[[1, 2, 3, 4], [5, 6, 7, 7]], [[1, 2, 3, 3], [3, 3, 3, 3]]]
    assert is_heard_UK.tolist() == [[True, True], [True, False]]


def test_a_clip_of_two_windows_is_two_clips() -> None:
    config = AudioPackaged.Config(window_s=0.2)
    torch.manual_seed(0)
    encoder = AudioPackaged(config, config.preparer(), 8).eval()
    mel_TM = torch.randn(33, 80)
    with torch.no_grad():
        together, mask_UT = encoder.features(mel_TM[None], None)
        apart = [encoder.features(part[None], None)[0][0] for part in (mel_TM[:20], mel_TM[20:])]
    assert mask_UT.all()
    assert close(together[0], torch.cat(apart), 1e-5)


def test_silence_before_a_clip_is_heard_and_leaves_no_features(tmp_path: Path) -> None:
    samples_N = note(6_000).numpy()
    for name, sound_N in (("clip", samples_N), ("later", np.pad(samples_N, (3_200, 0)))):
        soundfile.write(tmp_path / f"{name}.wav", sound_N, 16_000, subtype="FLOAT")
    torch.manual_seed(0)
    config = AudioPackaged.Config(window_s=0.8)
    encoder = AudioPackaged(config, config.preparer(), 8).eval()
    leading_config = AudioPackaged.Config(window_s=0.8, lead_s=0.2)
    leading = AudioPackaged(leading_config, leading_config.preparer(), 8).eval()
    leading.load_state_dict(encoder.state_dict())
    preparer = leading_config.preparer()
    assert preparer.fingerprint != config.preparer().fingerprint
    with torch.no_grad():
        want = encoder.features(*preparer.collate([config.preparer()(Media(path=tmp_path / "later.wav"))]))
        got = leading.features(*preparer.collate([preparer(Media(path=tmp_path / "clip.wav"))]))
    assert got[1].all()
    assert got[0].shape[1] == -(-(6_000 // 160 + 3) // 2)
    assert torch.equal(got[0], want[0][:, 10:])
    with pytest.raises(ConfigError, match=r"lead_s is 1\.0"):
        AudioPackaged.Config(window_s=0.8, lead_s=1.0).preparer()


# The file format ---------------------------------------------------------------------------------------------------


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def ctranslate2_file(version: int = 6, kind: str = "WhisperSpec", num_bytes: int = 12, alias: str = "a") -> bytes:
    tensor = string("a") + struct.pack("<BIIBI", 2, 2, 3, 4, num_bytes) + np.arange(6, dtype="<f2").tobytes()
    scalar = string("b") + struct.pack("<BBI", 0, 2, 2) + struct.pack("<h", -7)
    head = struct.pack("<I", version) + string(kind) + struct.pack("<II", 3, 2)
    return head + tensor + scalar + struct.pack("<I", 1) + string("c") + string(alias)


def test_ctranslate2_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(ctranslate2_file())
    tensors = read_ctranslate2(path, "WhisperSpec")
    assert tensors["a"].dtype == torch.float16
    assert tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["b"].item() == -7
    assert tensors["c"] is tensors["a"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ctranslate2_file(version=5), "version 5"),
        (ctranslate2_file(kind="TransformerSpec"), "a 'TransformerSpec', not a 'WhisperSpec'"),
        (ctranslate2_file(num_bytes=10), r"'a' of \[2, 3\] torch.float16 has 10 bytes"),
        (ctranslate2_file(alias="z"), "'c' stands for 'z'"),
        (b"", "ends at 0 bytes"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message):
        read_ctranslate2(path, "WhisperSpec")


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.bin", ctranslate2_file()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="cannot be read as a CTranslate2 model"):
            read_ctranslate2(path, "WhisperSpec")


# Layers ------------------------------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[[], Any], int]] = {
    "image": (lambda: ImagePackaged(ImagePackaged.Config(), object(), 8), 18),
    "audio": (lambda: AudioPackaged(AudioPackaged.Config(), object(), 8), 6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_can_be_frozen_from_the_bottom(name: str) -> None:
    make, number = LAYERS[name]
    with torch.device("meta"):
        found = layers(make())
    assert len(found) == number
    assert found[:2] == ["trunk.layers.0", "trunk.layers.1"]

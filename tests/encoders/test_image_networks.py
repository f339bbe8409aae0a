"""VGG16, ResNet and ViT against torchvision: names, shapes and numbers; weights from files."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from sensorium.core.errors import ModelError
from sensorium.data.image_preparer import ImagePreparer
from sensorium.encoders.image_cnn import ImageCNN
from sensorium.encoders.image_input import MEAN_RGB, STD_RGB, Normalise, to_positions
from sensorium.encoders.image_resnet import BasicBlock, Bottleneck, ResNet
from sensorium.encoders.image_resnet18 import ImageResNet18
from sensorium.encoders.image_vgg16 import VGG16, ImageVGG16
from sensorium.encoders.image_vit import ImageViT, ViT, resample_positions

TINY_VIT: dict[str, Any] = {"size": 32, "patch": 8, "hidden": 32, "heads": 4, "layers": 2, "mlp": 64}

# torchvision 0.28: number of tensors, and SHA-256 over their names and shapes.
TORCHVISION: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "resnet18": (lambda: ResNet(BasicBlock, (2, 2, 2, 2), 1000), 122, "5053771ee593804d"),
    "resnet50": (lambda: ResNet(Bottleneck, (3, 4, 6, 3), 1000), 320, "a70dbc5161cf2045"),
    "vgg16": (lambda: VGG16(1000), 32, "0cc99bf3870063ff"),
    "vit_b_16": (lambda: ViT(ImageViT.Config(), 1000), 152, "dd05153a680474e5"),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    make, num_tensors, digest = TORCHVISION[name]
    with torch.device("meta"):
        state = make().state_dict()
    listed = json.dumps(sorted([name, list(tensor.shape)] for name, tensor in state.items()))
    assert len(state) == num_tensors
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == digest


# What torchvision 0.28 computes with the weights of `fill` from the picture of `picture`: the first four numbers.
NUMBERS: dict[str, tuple[Callable[[], nn.Module], int, list[float]]] = {
    "resnet18": (lambda: ResNet(BasicBlock, (2, 2, 2, 2), 4), 64, [86.404, -19.674, -9.8831, -46.092]),
    "resnet50": (lambda: ResNet(Bottleneck, (3, 4, 6, 3), 4), 64, [363.64, -5829.3, -8396.1, -1482.7]),
    "vgg16": (lambda: VGG16().features, 64, [10.24, 17.509, 10.399, 24.619]),
    "vit": (lambda: ViT(ImageViT.Config(**TINY_VIT), 4), 32, [3.8225, -2.4534, -0.88553, 4.6716]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_torchvisions(name: str) -> None:
    make, size, want = NUMBERS[name]
    network = make().eval()
    fill(network)
    picture = torch.from_numpy(np.random.RandomState(1).randn(1, 3, size, size).astype(np.float32))
    with torch.no_grad():
        got = network(picture).flatten()[:4]
    torch.testing.assert_close(got, torch.tensor(want), rtol=5e-4, atol=5e-4)


def fill(module: nn.Module) -> None:
    """Give weights that do not depend on torch's generator: numpy's RandomState is frozen."""
    random = np.random.RandomState(0)
    state = {}
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.ndim == 0:
            state[name] = tensor
            continue
        uniform = torch.from_numpy(random.rand(*tensor.shape).astype(np.float32))
        state[name] = (uniform - 0.5) * (24 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else uniform + 0.5
    module.load_state_dict(state)


def tiny_vit(**options: Any) -> ImageViT:
    return ImageViT(ImageViT.Config(**{**TINY_VIT, **options}), ImagePreparer(), 16)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", "wrapped.pth"])
def test_published_weights_load(tmp_path: Path, suffix: str) -> None:
    published = ViT(ImageViT.Config(**TINY_VIT), num_classes=10).state_dict()
    path = tmp_path / f"vit{suffix}"
    if suffix == ".safetensors":
        save_file(published, path)
    else:
        torch.save({"state_dict": published} if "wrapped" in suffix else published, path)
    encoder = tiny_vit(weights=path)
    before = encoder.trunk.conv_proj.weight.clone()
    assert encoder.load_pretrained() is encoder
    loaded = encoder.trunk.state_dict()
    assert all(torch.equal(loaded[name], published[name]) for name in loaded)
    assert not torch.equal(loaded["conv_proj.weight"], before)


@pytest.mark.parametrize(
    ("encoder_class", "network"),
    [(ImageResNet18, lambda: ResNet(BasicBlock, (2, 2, 2, 2), 3)), (ImageVGG16, lambda: VGG16(None))],
)
def test_published_weights_of_convolutional_networks_load(
    tmp_path: Path, encoder_class: Any, network: Callable[[], nn.Module]
) -> None:
    path = tmp_path / "weights.safetensors"
    # Files from before torch 0.4.1 hold no `num_batches_tracked`.
    state = {name: tensor for name, tensor in network().state_dict().items() if "num_batches" not in name}
    save_file(state, path)
    encoder = encoder_class(encoder_class.Config(size=64, weights=path), ImagePreparer(), 16)
    encoder.load_pretrained()
    name = "conv1.weight" if "conv1.weight" in state else "features.0.weight"
    assert torch.equal(encoder.trunk.state_dict()[name], state[name])


def test_without_weights_nothing_is_loaded() -> None:
    encoder = tiny_vit()
    before = encoder.trunk.conv_proj.weight.clone()
    assert torch.equal(encoder.load_pretrained().trunk.conv_proj.weight, before)


def misfit(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        state = dict(ViT(ImageViT.Config(**TINY_VIT)).state_dict())
        change(state)
        torch.save(state, path)

    return write


class Payload:
    """Runs code when unpickled, if anything lets it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "not weights": (lambda path: path.write_text("<html>404</html>"), "cannot be read"),
    "code in the pickle": (lambda path: path.write_bytes(pickle.dumps(Payload(), protocol=2)), "cannot be read"),
    "code in torch's archive": (lambda path: torch.save(Payload(), path), "cannot be read"),
    "a list": (lambda path: torch.save([torch.zeros(2)], path), "other than tensors"),
    "numbers by name": (lambda path: torch.save({"a": 1}, path), "other than tensors"),
    "one missing": (misfit(lambda state: state.pop("encoder.ln.bias")), r"1 missing \(encoder.ln.bias\)"),
    "one unknown": (misfit(lambda state: state.update(a=torch.zeros(1))), r"1 unknown \(a\)"),
    "another shape": (
        misfit(lambda state: state.update({"encoder.ln.bias": torch.zeros(7)})),
        r"1 of another shape \(encoder.ln.bias \(7,\), not \(32,\)\)",
    ),
}


@pytest.mark.parametrize("fault", BAD_WEIGHTS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bad_weights_are_named_and_change_nothing(tmp_path: Path, fault: str, suffix: str) -> None:
    write, message = BAD_WEIGHTS[fault]
    path = tmp_path / f"weights{suffix}"
    write(path)
    encoder = tiny_vit(weights=path)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    expected = message if suffix == ".pth" or fault == "no file" else "cannot be read"
    with pytest.raises(ModelError, match=expected) as caught:
        encoder.load_pretrained()
    assert caught.value.where == str(path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_weights_of_another_picture_size_have_their_positions_resampled(tmp_path: Path) -> None:
    path = tmp_path / "vit.pt"
    published = ViT(ImageViT.Config(**TINY_VIT)).state_dict()
    torch.save(published, path)
    encoder = tiny_vit(size=64, weights=path).load_pretrained()
    positions = encoder.trunk.encoder.pos_embedding
    assert positions.shape == (1, 65, 32)
    assert torch.equal(positions[:, 0], published["encoder.pos_embedding"][:, 0])


def test_resampled_positions_keep_their_place() -> None:
    """A ramp from left to right stays one, whatever the grid."""
    ramp = torch.linspace(-1, 1, 8).repeat(8, 1).reshape(1, 64, 1)
    embedding = torch.cat([torch.full((1, 1, 1), 9.0), ramp], dim=1)
    grid = resample_positions(embedding, 1 + 16)[0, 1:, 0].reshape(4, 4)
    assert torch.allclose(grid, grid[:1].expand(4, 4), atol=1e-5)
    assert (grid[0].diff() > 0).all()
    assert resample_positions(embedding, 65) is embedding


def test_normalise_is_the_formula() -> None:
    values = torch.randint(256, (2, 3, 5, 4), dtype=torch.uint8)
    want = (values / 255 - torch.tensor(MEAN_RGB)[:, None, None]) / torch.tensor(STD_RGB)[:, None, None]
    torch.testing.assert_close(Normalise()(values), want, rtol=0, atol=1e-5)


def test_positions_run_row_by_row() -> None:
    grid = torch.arange(2 * 3 * 4).reshape(1, 2, 3, 4)
    positions = to_positions(grid)
    assert positions.shape == (1, 12, 2)
    for h in range(3):
        for w in range(4):
            assert torch.equal(positions[0, h * 4 + w], grid[0, :, h, w])


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_small_cnn_gives_the_grid_asked_for(grid: int) -> None:
    encoder = ImageCNN(ImageCNN.Config(size=48, channels=(8, 16), grid=grid, norm="group"), ImagePreparer(), 8)
    x_UTF, mask = encoder.features(torch.zeros(2, 3, 48, 48, dtype=torch.uint8))
    assert x_UTF.shape == (2, grid * grid, 16)
    assert mask is None


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (ImageViT, {"size": 30, "patch": 8}),
        (ImageViT, {"hidden": 30, "heads": 4}),
        (ImageVGG16, {"size": 31}),
        (ImageResNet18, {"size": 32}),
        (ImageCNN, {"channels": ()}),
        (ImageCNN, {"resize": "squash"}),
    ],
)
def test_impossible_sizes_are_refused(cls: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**options)


def test_residual_stages_start_at_sane_scale() -> None:
    """Kaiming initialisation with batch normalisation: activations neither vanish nor explode."""
    torch.manual_seed(0)
    network = ResNet(BasicBlock, (2, 2, 2, 2)).train()
    with torch.no_grad():
        spread = float(network.grid(torch.randn(8, 3, 64, 64)).std())
    assert math.isfinite(spread)
    assert 0.1 < spread < 10

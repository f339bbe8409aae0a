"""Files of weights in torchvision's naming, into our encoders, against the networks written out as formulas.

Names and shapes stand here as torchvision lists them (`vgg16`, `resnet18`, `resnet50`), the formulas are written from
the papers' tables; neither looks at our networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from sensorium.core.errors import ModelError
from sensorium.encoders.image_resnet18 import ImageResNet18
from sensorium.encoders.image_resnet50 import ImageResNet50
from sensorium.encoders.image_vgg16 import ImageVGG16

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]
VGG16_CONVOLUTIONS = {
    **{0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)},
    **{17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}
VGG16_POOLS = (4, 9, 16, 23, 30)


def vgg16_shapes() -> Shapes:
    shapes: Shapes = {}
    for number, (n_out, n_in) in VGG16_CONVOLUTIONS.items():
        shapes |= {f"features.{number}.weight": (n_out, n_in, 3, 3), f"features.{number}.bias": (n_out,)}
    for number, (n_out, n_in) in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        shapes |= {f"classifier.{number}.weight": (n_out, n_in), f"classifier.{number}.bias": (n_out,)}
    return shapes


def norm_shapes(name: str, n: int) -> Shapes:
    shapes: Shapes = {f"{name}.{leaf}": (n,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def resnet_shapes(depths: tuple[int, ...], kernels: tuple[int, ...], expansion: int) -> Shapes:
    """List a residual network: `kernels` the sides of a block's convolutions."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}
    n_in = 64
    for stage, depth in enumerate(depths, start=1):
        n_mid = 64 * 2 ** (stage - 1)
        n_out = n_mid * expansion
        for block in range(depth):
            name = f"layer{stage}.{block}"
            n_before = n_in
            for number, kernel in enumerate(kernels, start=1):
                n_after = n_out if number == len(kernels) else n_mid
                shapes[f"{name}.conv{number}.weight"] = (n_after, n_before, kernel, kernel)
                shapes |= norm_shapes(f"{name}.bn{number}", n_after)
                n_before = n_after
            if block == 0 and (stage > 1 or expansion > 1):
                shapes[f"{name}.downsample.0.weight"] = (n_out, n_in, 1, 1)
                shapes |= norm_shapes(f"{name}.downsample.1", n_out)
            n_in = n_out
    return {**shapes, "fc.weight": (1000, n_in), "fc.bias": (1000,)}


def vgg16_layers(x: Tensor, w: Weights) -> Iterator[tuple[str, Tensor]]:
    for number in range(31):
        if number in VGG16_CONVOLUTIONS:
            x = F.conv2d(x, w[f"features.{number}.weight"], w[f"features.{number}.bias"], padding=1)
        elif number in VGG16_POOLS:
            x = F.max_pool2d(x, 2)
        else:
            x = F.relu(x)
        yield f"features.{number}", x


def normed(x: Tensor, w: Weights, name: str) -> Tensor:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    scale = w[f"{name}.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]


def resnet_layers(
    depths: tuple[int, ...], kernels: tuple[int, ...]
) -> Callable[[Tensor, Weights], Iterator[tuple[str, Tensor]]]:
    # In a bottleneck the 3x3 convolution has the stride (torchvision's "v1.5"), else the first one.
    strided = kernels.index(3)

    def layers(x: Tensor, w: Weights) -> Iterator[tuple[str, Tensor]]:
        x = F.relu(normed(F.conv2d(x, w["conv1.weight"], stride=2, padding=3), w, "bn1"))
        x = F.max_pool2d(x, 3, 2, 1)
        yield "maxpool", x
        for stage, depth in enumerate(depths, start=1):
            for block in range(depth):
                name = f"layer{stage}.{block}"
                stride = 2 if block == 0 and stage > 1 else 1
                y = x
                for number, kernel in enumerate(kernels, start=1):
                    step = stride if number - 1 == strided else 1
                    y = F.conv2d(y, w[f"{name}.conv{number}.weight"], stride=step, padding=kernel // 2)
                    y = normed(y, w, f"{name}.bn{number}")
                    y = F.relu(y) if number < len(kernels) else y
                if f"{name}.downsample.0.weight" in w:
                    x = F.conv2d(x, w[f"{name}.downsample.0.weight"], stride=stride)
                    x = normed(x, w, f"{name}.downsample.1")
                x = F.relu(x + y)
                yield name, x

    return layers


NETWORKS: dict[
    str, tuple[Any, Callable[[], Shapes], Callable[[Tensor, Weights], Iterator[tuple[str, Tensor]]], int]
]
NETWORKS = {
    "vgg16": (ImageVGG16, vgg16_shapes, vgg16_layers, 138_357_544),
    "resnet18": (
        ImageResNet18,
        lambda: resnet_shapes((2, 2, 2, 2), (3, 3), 1),
        resnet_layers((2, 2, 2, 2), (3, 3)),
        11_689_512,
    ),
    "resnet50": (
        ImageResNet50,
        lambda: resnet_shapes((3, 4, 6, 3), (1, 3, 1), 4),
        resnet_layers((3, 4, 6, 3), (1, 3, 1)),
        25_557_032,
    ),
}


def count(shapes: Shapes) -> int:
    """Count the parameters, as torchvision's documentation does; statistics of batches are none."""
    kept = (shape for name, shape in shapes.items() if "running" not in name and "batches" not in name)
    return sum(int(torch.Size(shape).numel()) for shape in kept)


def drawn(shapes: Shapes) -> Weights:
    """Random weights that keep the scale; variances are positive.  The classifiers stay zeros: nobody reads them."""
    draw = torch.Generator().manual_seed(0)
    weights: Weights = {}
    for name, shape in shapes.items():
        fan_in = int(torch.Size(shape[1:]).numel())
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.startswith(("classifier", "fc")):
            weights[name] = torch.zeros(1).expand(shape)
        elif len(shape) > 1:
            weights[name] = torch.randn(shape, generator=draw) * (1.5 / fan_in) ** 0.5
        else:
            around = 0.0 if name.endswith(("bias", "mean")) else 0.7
            weights[name] = around + 0.6 * torch.rand(shape, generator=draw) * (1 if around else 0.5)
    return weights


def encoder_of(cls: Any, path: Path) -> Any:
    config = cls.Config(size=64, weights=path)
    return cls(config, config.preparer(), 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_computes_what_the_formula_does(name: str, tmp_path: Path) -> None:
    cls, shapes_of, layers, num_parameters = NETWORKS[name]
    shapes = shapes_of()
    assert count(shapes) == num_parameters
    weights = drawn(shapes)
    path = tmp_path / f"{name}.pth"
    torch.save(weights, path)  # what is expanded is kept small
    encoder = encoder_of(cls, path).load_pretrained().eval()
    seen: dict[str, Tensor] = {}
    for layer, module in encoder.trunk.named_modules():
        # Our ReLUs work in place, so what came out before them is copied.
        module.register_forward_hook(lambda _m, _i, out, layer=layer: seen.update({layer: out.clone()}))
    values = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        features, _ = encoder.features(values, None)
        pixels = (values / 255 - mean[:, None, None]) / std[:, None, None]
        num = 0
        for layer, want in layers(pixels, weights):
            gap = float((seen[layer] - want).abs().max() / want.abs().max())
            assert gap < 1e-4, f"{layer} is off by {gap:.2g}"
            assert float(want.std()) > 1e-3, "and is not all alike"
            num += 1
    assert num == {"vgg16": 31, "resnet18": 9, "resnet50": 17}[name]
    torch.testing.assert_close(features, want.flatten(2).transpose(1, 2), rtol=1e-3, atol=1e-4 * float(want.max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_has_to_be_there_and_to_fit(name: str, tmp_path: Path) -> None:
    cls, shapes_of, _, _ = NETWORKS[name]
    first = next(iter(shapes_of()))
    heads = ("classifier", "fc")
    weights = {n: torch.zeros(()).expand(shape) for n, shape in shapes_of().items() if not n.startswith(heads)}
    encoder = encoder_of(cls, tmp_path / "weights.pt")
    for changed, reason in (
        ({n: x for n, x in weights.items() if n != first}, f"1 missing \\({first}"),
        ({**weights, first: torch.zeros(3)}, f"1 of another shape \\({first}"),
        ({**weights, "layer9.weight": torch.zeros(3)}, "1 unknown \\(layer9.weight"),
    ):
        torch.save(changed, tmp_path / "weights.pt")
        with pytest.raises(ModelError, match=reason):
            encoder.load_pretrained()


def test_a_file_of_safetensors_is_read_too(tmp_path: Path) -> None:
    weights = {n: x.contiguous() for n, x in drawn(resnet_shapes((2, 2, 2, 2), (3, 3), 1)).items()}
    save_file(weights, tmp_path / "weights.safetensors")
    trunk = encoder_of(ImageResNet18, tmp_path / "weights.safetensors").load_pretrained().trunk.state_dict()
    assert trunk.keys() == {name for name in weights if not name.startswith("fc")}
    assert all(torch.equal(trunk[name], weights[name]) for name in trunk)

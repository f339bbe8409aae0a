"""EfficientNet-Lite0 (Tan and Le 2019, table 1; "Lite" of Google's TPU repository: ReLU6, no squeeze and excite).

Enters: (U, 3, H, W) float, (byte - 127) / 128.  Leaves: a grid (U, 1280, H / 32, W / 32).

    block(x) = [x +] norm(project(act(norm(depthwise(act(norm(expand(x))))))))

Padding is TensorFlow's "same", where a stride of 2 pads more below and to the right than above and to the left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.encoders.batch_norm import BatchNorm2d

NORM_EPS = 1e-3


class Stage(NamedTuple):
    """Blocks of one shape: `depth` of them, the first one with `stride`."""

    depth: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM, HEAD = 32, 1280
LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """The network, with a classifier only if `num_classes` is given.

    Args:
        num_classes: outputs of the classifier `classify`.
    """

    width = HEAD

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, STEM, 3, stride=2)]
        channels = STEM
        for stage in LITE0:
            for i in range(stage.depth):
                stride = stage.stride if i == 0 else 1
                layers.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
        self.layers = nn.Sequential(*layers, ConvNorm(channels, HEAD, 1))
        self.classify = None if num_classes is None else nn.Linear(HEAD, num_classes)

    def grid(self, x_UCHW: Tensor) -> Tensor:
        """Return the last feature map (U, 1280, H / 32, W / 32)."""
        out: Tensor = self.layers(x_UCHW)
        return out

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return the mean over the grid (U, 1280), or class scores where there is a classifier."""
        x_UF = self.grid(x_UCHW).mean((2, 3))
        return x_UF if self.classify is None else self.classify(x_UF)


class ConvNorm(nn.Module):
    """act(norm(conv(x))), "same" padding.

    With fixed statistics the norm is a factor and a shift of each channel, and the factor goes into the kernel: a
    pass over the image less, and gradients as before.

    Args:
        n_in: channels before.
        n_out: channels after.
        kernel: side.
        stride: of the convolution.
        groups: of the convolution.
        activates: with ReLU6 at the end.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1, activates: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, groups=groups, bias=False)
        self.norm = BatchNorm2d(n_out, eps=NORM_EPS, momentum=0.01)
        self.activates = activates
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return (U, n_out, ceil(H / stride), ceil(W / stride))."""
        if self.norm.training:
            x_UCHW = self.norm(self._convolved(x_UCHW, self.conv.weight, None))
        else:
            norm = self.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            factor_C = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            shift_C = norm.bias - norm.running_mean * factor_C
            x_UCHW = self._convolved(x_UCHW, self.conv.weight * factor_C[:, None, None, None], shift_C)
        return functional.relu6(x_UCHW, inplace=True) if self.activates else x_UCHW

    def _convolved(self, x_UCHW: Tensor, weight: Tensor, bias_C: Tensor | None) -> Tensor:
        kernel, stride = weight.shape[-1], self.conv.stride[0]
        height, width = (same_padding(side, kernel, stride) for side in x_UCHW.shape[2:])
        padding = height // 2, width // 2
        if height % 2 or width % 2:
            x_UCHW = functional.pad(x_UCHW, (padding[1], width - padding[1], padding[0], height - padding[0]))
            padding = 0, 0
        return functional.conv2d(x_UCHW, weight, bias_C, stride, padding, groups=self.conv.groups)


class InvertedResidual(nn.Module):
    """A narrow input made wide, convolved channel by channel, and made narrow again (Sandler et al. 2018).

    Args:
        n_in: channels before.
        n_out: channels after.
        kernel: side of the convolution by channels.
        stride: of that convolution.
        expansion: how many times wider it is inside.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = n_in * expansion
        self.expand = ConvNorm(n_in, inner, 1) if expansion > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride=stride, groups=inner)
        self.project = ConvNorm(inner, n_out, 1, activates=False)
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, x_UCHW: Tensor) -> Tensor:
        """Return (U, n_out, ceil(H / stride), ceil(W / stride))."""
        y_UCHW = x_UCHW if self.expand is None else self.expand(x_UCHW)
        y_UCHW = self.project(self.depthwise(y_UCHW))
        out: Tensor = x_UCHW + y_UCHW if self.is_residual else y_UCHW
        return out


def same_padding(side: int, kernel: int, stride: int) -> int:
    """Return how many zeros TensorFlow's "same" adds to a side, both ends together; the odd one goes to the end."""
    return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def named_as_here(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the published file (names of efficientnet-pytorch) to this module's."""
    num_blocks = sum(stage.depth for stage in LITE0)
    parts = {"_conv_stem": "layers.0.conv", "_bn0": "layers.0.norm", "_fc": "classify"}
    parts |= {"_conv_head": f"layers.{num_blocks + 1}.conv", "_bn1": f"layers.{num_blocks + 1}.norm"}
    within = {"_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv"}
    within |= {"_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"}

    def renamed(name: str) -> str:
        module, _, leaf = name.rpartition(".")
        if not module.startswith("_blocks."):
            return f"{parts.get(module, module)}.{leaf}"
        _, number, part = module.split(".")
        return f"layers.{int(number) + 1}.{within.get(part, part)}.{leaf}"

    return {renamed(name): tensor for name, tensor in published.items()}

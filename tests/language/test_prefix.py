"""The memory as a prefix: padding says nothing, rows without memory have none, the scale is the word vectors'."""

import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.core.types import Conditioning, Encoded
from sensorium.language.prefix import Prefix, PrefixProjector

KINDS = ("linear", "mlp", "resampler")


def memory(num_rows: int = 3, length: int = 4, width: int = 8) -> Encoded:
    x_BTD = torch.randn(num_rows, length, width, generator=torch.Generator().manual_seed(0))
    mask_BT = torch.arange(length) < torch.tensor([[4], [2], [0]])[:num_rows]
    return Encoded(x_BTD, mask_BT, mask_BT.any(1))


@pytest.mark.parametrize("kind", KINDS)
def test_shape_mask_and_scale(kind):
    projector = PrefixProjector(Prefix(projector=kind, tokens=5), 8, 32, scale=0.02)
    x_BPW, mask_BP = projector(memory())
    assert mask_BP.sum(1).tolist() == ([5, 5, 0] if kind == "resampler" else [4, 2, 0])
    assert x_BPW.shape == (3, mask_BP.shape[1], 32)
    assert (x_BPW[~mask_BP] == 0).all()
    assert torch.allclose(x_BPW[mask_BP].std(-1, correction=0), torch.tensor(0.02), rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_what_padding_holds_changes_nothing_and_real_positions_move_left(kind):
    projector = PrefixProjector(Prefix(projector=kind), 8, 6)
    plain = memory()
    dirty = torch.where(plain.mask_BT[..., None], plain.x_BTD, torch.nan)
    right = torch.cat([dirty.new_full((3, 2, 8), torch.nan), dirty], 1)
    mask_BT = torch.nn.functional.pad(plain.mask_BT, (2, 0))
    x_BPW, mask_BP = projector(plain)
    moved_BPW, moved_mask_BP = projector(Encoded(right, mask_BT, plain.present_B))
    length = mask_BP.shape[1]
    assert torch.equal(moved_mask_BP[:, :length], mask_BP)
    assert not moved_mask_BP[:, length:].any()
    assert torch.allclose(moved_BPW[:, :length], x_BPW, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_memory_no_prefix(kind):
    x_BPW, mask_BP = PrefixProjector(Prefix(projector=kind), 8, 6)(Conditioning.empty(2, 8).memory)
    assert x_BPW.shape == (2, 0, 6)
    assert mask_BP.shape == (2, 0)


def test_everything_learns():
    projector = PrefixProjector(Prefix(projector="resampler"), 8, 6)
    x_BPW, _ = projector(memory())
    (x_BPW * torch.randn_like(x_BPW)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in projector.parameters())


def test_heads_that_do_not_fit():
    with pytest.raises(ConfigError, match="8 is not a multiple of 3 heads"):
        PrefixProjector(Prefix(projector="resampler", heads=3), 8, 6)

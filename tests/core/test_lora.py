"""Low-rank adapters: nothing changes at the start, A and B alone learn, merged equals unmerged."""

import copy

import pytest
import torch
from torch import nn

from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.lora import Lora, LoraLinear, add_lora, merge_lora


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 6)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(6, 8), "down": nn.Linear(8, 6)}) for _ in range(2)
        )
        self.head = nn.Linear(6, 9, bias=False)

    def forward(self, token_BT: torch.Tensor) -> torch.Tensor:
        x_BTD = self.embed(token_BT)
        for block in self.blocks:
            x_BTD = x_BTD + block["down"](block["up"](x_BTD).relu())
        return self.head(x_BTD)


TOKENS = torch.randint(0, 9, (3, 5), generator=torch.Generator().manual_seed(0))


def stirred(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("b_OR"):
                parameter.normal_()
    return net


def test_the_start_changes_nothing_and_only_adapters_learn():
    net = Net()
    before = net(TOKENS)
    names = add_lora(net, Lora(rank=2))
    assert names == ["head", *(f"blocks.{i}.{n}" for i in range(2) for n in ("up", "down"))]
    assert torch.equal(net(TOKENS), before)
    learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {f"{name}.{part}" for name in names for part in ("a_RI", "b_OR")}
    net(TOKENS).sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == learning


@pytest.mark.parametrize("targets", [(), ("up",), ("blocks.1.down", "head")])
def test_merged_equals_unmerged_under_the_names_of_before(targets):
    net = Net()
    names, weights = list(net.state_dict()), copy.deepcopy(net.state_dict())
    add_lora(net, Lora(rank=3, alpha=5, targets=targets))
    stirred(net)
    unmerged = net(TOKENS)
    assert not torch.allclose(unmerged, Net.forward(_loaded(weights), TOKENS))
    merged = merge_lora(net)
    assert list(net.state_dict()) == names
    assert not any(isinstance(part, LoraLinear) for part in net.modules())
    assert torch.allclose(net(TOKENS), unmerged, atol=1e-5)
    changed = {n.removesuffix(".weight") for n, w in net.state_dict().items() if not torch.equal(w, weights[n])}
    assert changed == set(merged)


def _loaded(weights):
    net = Net()
    net.load_state_dict(weights)
    return net


def test_the_change_is_alpha_over_rank_times_b_a():
    linear = nn.Linear(4, 3)
    layer = LoraLinear(linear, Lora(rank=2, alpha=7))
    with torch.no_grad():
        layer.b_OR.normal_()
    x = torch.randn(5, 4)
    expected = x @ (linear.weight + 3.5 * layer.b_OR @ layer.a_RI).T + linear.bias
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert torch.allclose(nn.functional.linear(x, layer.weight, layer.bias), expected, atol=1e-5)


def test_conv1d_of_transformers():
    Conv1D = pytest.importorskip("transformers").pytorch_utils.Conv1D
    net = nn.Sequential(Conv1D(7, 4), nn.ReLU(), Conv1D(2, 7))
    x = torch.randn(3, 4)
    before = net(x)
    assert add_lora(net, Lora(rank=2)) == ["0", "2"]
    assert torch.equal(net(x), before)
    unmerged = stirred(net)(x)
    merge_lora(net)
    assert torch.allclose(net(x), unmerged, atol=1e-5)
    assert not torch.allclose(unmerged, before)


def test_a_layer_in_two_places_stays_one():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert add_lora(net, Lora()) == ["0", "2"]
    assert net[0] is net[2]
    unmerged = stirred(net)(torch.ones(1, 4))
    merge_lora(net)
    assert net[0] is net[2] is shared
    assert torch.allclose(net(torch.ones(1, 4)), unmerged, atol=1e-5)


def test_dropout_acts_in_training_alone():
    layer = stirred(LoraLinear(nn.Linear(64, 4), Lora(dropout=0.5)))
    x = torch.ones(1, 64)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_a_base_of_half_precision():
    net = nn.Sequential(nn.Linear(4, 4)).to(torch.bfloat16)
    add_lora(net, Lora(rank=2))
    assert net[0].a_RI.dtype == torch.float32
    assert net(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    merge_lora(net)
    assert net[0].weight.dtype == torch.bfloat16


def test_bad_input():
    with pytest.raises(ConfigError, match="'q_proj' names no linear layer.*down, head, up"):
        add_lora(Net(), Lora(targets=("up", "q_proj")))
    with pytest.raises(ModelError, match="no linear layer"):
        add_lora(nn.Sequential(nn.ReLU()), Lora())
    net = Net()
    add_lora(net, Lora())
    with pytest.raises(ModelError, match="already"):
        add_lora(net, Lora())
    with pytest.raises(ConfigError, match="rank"):
        Lora.parse({"rank": 0})

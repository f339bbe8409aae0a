"""Fusions in which parts multiply or attend compute the formulas of their docstrings, row by row, absent parts left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sensorium.core.errors import ConfigError
from sensorium.core.types import Encoded
from sensorium.fusion.attention import CrossAttentionBlock
from sensorium.fusion.bottleneck import Bottleneck
from sensorium.fusion.co_attention import CoAttention
from sensorium.fusion.film import Film
from sensorium.fusion.graph import Graph
from sensorium.fusion.joint_transformer import JointTransformer, sines
from sensorium.fusion.low_rank import LowRank
from sensorium.fusion.perceiver import Perceiver
from sensorium.fusion.tensor import TensorFusion, choose_factor, outer_product
from sensorium.testing.fusion import make_part

NAMES = ("photo", "sound", "note")
WIDTH = 8


@pytest.fixture
def parts() -> dict[str, Encoded]:
    """Eight rows, one for each combination of presence."""
    torch.manual_seed(0)
    present_KB = torch.tensor(list(itertools.product([True, False], repeat=3))).T
    lengths = zip(NAMES, (4, 6, 3), present_KB, strict=True)
    return {name: make_part(present_B, length, WIDTH) for name, length, present_B in lengths}


def real(part: Encoded, row: int) -> Tensor:
    return part.x_BTD[row][part.mask_BT[row]]


def heard(parts: dict[str, Encoded], row: int) -> list[int]:
    """Number the parts a row has; all of them where it has none."""
    there = [k for k, name in enumerate(NAMES) if parts[name].present_B[row]]
    return there or list(range(len(NAMES)))


def attend(block: CrossAttentionBlock, x_TD: Tensor, key_SD: Tensor) -> Tensor:
    """Run a block on one row without any masked position."""
    out: Tensor = block(x_TD[None], key_SD[None], torch.ones(1, len(key_SD), dtype=torch.bool))[0]
    return out


def within(block: CrossAttentionBlock, x_TD: Tensor) -> Tensor:
    return attend(block, x_TD, block.norm_attention(x_TD))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=30)
def test_the_outer_product_holds_every_product(num_parts: int, factor: int, seed: int) -> None:
    u_BKF = torch.randn(2, num_parts, factor, generator=torch.Generator().manual_seed(seed))
    z = outer_product(u_BKF)
    assert z.shape == (2, (factor + 1) ** num_parts)
    for column, chosen in enumerate(itertools.product(range(factor + 1), repeat=num_parts)):
        want = math.prod(float(u_BKF[0, k, i]) if i < factor else 1.0 for k, i in enumerate(chosen))
        assert float(z[0, column]) == pytest.approx(want, abs=1e-5)


def test_tensor_maps_the_products_of_present_parts(parts: dict[str, Encoded]) -> None:
    fusion = TensorFusion(TensorFusion.Config(factor=3, positions=2, hidden=5), NAMES, WIDTH)
    memory = fusion(parts).memory
    for row in range(8):
        z = torch.ones(1)
        for k, name in enumerate(NAMES):
            u = fusion.projections[k](real(parts[name], row).mean(0)).tanh() * parts[name].present_B[row]
            z = torch.outer(z, torch.cat([u, torch.ones(1)])).flatten()
        want = fusion.mlp(z).reshape(2, WIDTH)
        torch.testing.assert_close(memory.x_BTD[row], fusion.norm(want))


@pytest.mark.parametrize(("num_parts", "factor"), [(1, 32), (2, 32), (3, 19), (4, 8), (5, 5), (13, 1)])
def test_the_factor_is_the_largest_that_fits(num_parts: int, factor: int) -> None:
    assert choose_factor(None, 8192, num_parts) == factor
    assert choose_factor(factor, (factor + 1) ** num_parts, num_parts) == factor
    with pytest.raises(ConfigError, match="low_rank"):
        choose_factor(factor, (factor + 1) ** num_parts - 1, num_parts)


def test_what_explodes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"3 inputs of 128 values and a 1 has 2,146,689 terms.*factor = 19 fits"):
        TensorFusion(TensorFusion.Config(factor=128), NAMES, 128)
    with pytest.raises(ConfigError, match="14 inputs of 1 values.*16,384 terms.*use fewer inputs"):
        choose_factor(None, 8192, 14)


def test_low_rank_is_the_full_tensor_applied(parts: dict[str, Encoded]) -> None:
    """The weight tensor sum_r w_1r (x) w_2r (x) w_3r, built whole, applied to the whole outer product."""
    fusion = LowRank(LowRank.Config(rank=3), NAMES, WIDTH).double()
    factor_KREO = torch.cat([fusion.factor_KRDO, fusion.one_KRO[:, :, None]], dim=2)
    weight = torch.einsum("rao,rbo,rco->abco", *factor_KREO)
    for part in parts.values():
        part.x_BTD.data = part.x_BTD.double()
    memory = fusion(parts).memory
    for row in range(8):
        z = [
            torch.cat([real(parts[n], row).mean(0) * parts[n].present_B[row], torch.ones(1, dtype=torch.double)])
            for n in NAMES
        ]
        want = torch.einsum("abco,a,b,c->o", weight, *z) + fusion.bias_O
        torch.testing.assert_close(memory.x_BTD[row, 0], fusion.norm(want))


def test_co_attention_reads_all_others(parts: dict[str, Encoded]) -> None:
    fusion = CoAttention(CoAttention.Config(layers=2, heads=2), NAMES, WIDTH)
    memory = fusion(parts).memory
    for row in range(8):
        there = heard(parts, row)
        x = {k: real(parts[NAMES[k]], row) + fusion.kind_KD[k] for k in there}
        for layer in fusion.layers:
            key = {k: layer.norm_keys(x_TD) for k, x_TD in x.items()}
            y = {}
            for k in there:
                others = [j for j in there if j != k] or [k]
                y[k] = within(layer.inside[k], attend(layer.across[k], x[k], torch.cat([key[j] for j in others])))
            x = y
        torch.testing.assert_close(real(memory, row), fusion.norm(torch.cat([x[k] for k in there])))


def test_joint_transformer_is_one_stream(parts: dict[str, Encoded]) -> None:
    fusion = JointTransformer(JointTransformer.Config(heads=2), NAMES, WIDTH)
    memory = fusion(parts).memory
    for row in range(8):
        streams = []
        for k in heard(parts, row):
            x_TD = real(parts[NAMES[k]], row)
            place_TD = sines(torch.arange(len(x_TD))[None], WIDTH)[0]
            streams.append(x_TD + fusion.kind_KD[k] + fusion.position_gain_K[k] * place_TD)
        x = torch.cat(streams)
        for block in fusion.blocks:
            x = within(block, x)
        torch.testing.assert_close(real(memory, row), fusion.norm(x))


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_sines_are_vaswanis(width: int) -> None:
    place = sines(torch.arange(4)[None], width)[0]
    assert place.shape == (4, width)
    half = width // 2
    for t, i in itertools.product(range(4), range(half)):
        angle = t / 10_000 ** (i / half)
        assert place[t, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert place[t, half + i].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("seen", ["all", "tokens"])
def test_bottleneck_averages_over_present_parts(parts: dict[str, Encoded], seen: str) -> None:
    fusion = Bottleneck(Bottleneck.Config(tokens=2, heads=2, memory=seen), NAMES, WIDTH)
    memory = fusion(parts).memory
    for row in range(8):
        there = heard(parts, row)
        x = {k: real(parts[NAMES[k]], row) + fusion.kind_KD[k] for k in there}
        token_ND = fusion.token_ND
        for layer in fusion.layers:
            y = {k: within(layer[k], torch.cat([x[k], token_ND])) for k in there}
            x = {k: y_SD[:-2] for k, y_SD in y.items()}
            token_ND = torch.stack([y_SD[-2:] for y_SD in y.values()]).mean(0)
        want = torch.cat([*x.values(), token_ND]) if seen == "all" else token_ND
        torch.testing.assert_close(real(memory, row), fusion.norm(want))


@pytest.mark.parametrize("self_layers", [0, 2])
def test_perceiver_reads_parts_and_itself(parts: dict[str, Encoded], self_layers: int) -> None:
    fusion = Perceiver(Perceiver.Config(tokens=3, self_layers=self_layers, heads=2), NAMES, WIDTH)
    memory = fusion(parts).memory
    assert memory.x_BTD.shape == (8, 3, WIDTH)
    for row in range(8):
        x = torch.cat([real(parts[NAMES[k]], row) + fusion.kind_KD[k] for k in heard(parts, row)])
        key, z = fusion.norm_keys(x), fusion.token_ND
        for layer in fusion.layers:
            z = attend(layer[0], z, torch.cat([key, layer[0].norm_attention(z)]))
            for block in list(layer)[1:]:
                z = within(block, z)
        torch.testing.assert_close(memory.x_BTD[row], fusion.norm(z))


def test_graph_passes_messages_along_weighted_edges(parts: dict[str, Encoded]) -> None:
    fusion = Graph(Graph.Config(heads=2), NAMES, WIDTH)
    cond = fusion(parts)
    for row in range(8):
        there = heard(parts, row)
        h = {k: real(parts[NAMES[k]], row).mean(0) + fusion.kind_KD[k] for k in there}
        edge = torch.zeros(3, 3)
        for layer in fusion.layers:
            query = {k: layer.to_query(layer.norm(h[k])) for k in there}
            message = {k: layer.to_message(layer.norm(h[k])) for k in there}
            heads: dict[int, list[Tensor]] = {k: [] for k in there}
            edge = torch.zeros(3, 3)
            for k, head in itertools.product(there, range(2)):
                span = slice(4 * head, 4 * head + 4)
                score = torch.stack(
                    [
                        layer.score_Hd[head]
                        @ nn.functional.leaky_relu(query[k] + message[j] + layer.edge_KKD[k, j], 0.2)[span]
                        for j in there
                    ]
                ).softmax(0)
                heads[k].append(sum(s * message[j][span] for s, j in zip(score, there, strict=True)))
                edge[k, there] += score.detach() / 2
            h = {k: h[k] + layer.to_out(torch.cat(heads[k]).relu()) for k in there}
        torch.testing.assert_close(real(cond.memory, row), fusion.norm(torch.stack([h[k] for k in there])))
        torch.testing.assert_close(cond.evidence["edges"][row, there], edge[there])


def film_stream(fusion: Film, blocks: nn.ModuleList, x_TD: Tensor, means: Sequence[Tensor | None]) -> Tensor:
    for block in blocks:
        total = torch.zeros(fusion.streams[0][0].modulation.to_gamma_beta.in_features)
        for source, mean_D in zip(block.modulation.sources, means, strict=True):
            total = total if mean_D is None else total + source(mean_D)
        gamma, beta = block.modulation.to_gamma_beta(total.tanh()).chunk(2)
        x_TD = x_TD + block.second(block.first(x_TD) * (1 + gamma) + beta)
    return x_TD


@pytest.mark.parametrize("modulated", [None, "sound"])
def test_film_modulates_by_present_others(parts: dict[str, Encoded], modulated: str | None) -> None:
    fusion = Film(Film.Config(modulated=modulated, hidden=5), NAMES, WIDTH)
    memory = fusion(parts).memory
    for row in range(8):
        means = [real(p, row).mean(0) if p.present_B[row] else None for p in (parts[n] for n in NAMES)]
        targets = heard(parts, row) if modulated is None else [NAMES.index(modulated)]
        want = []
        for k in targets:
            others = [mean for j, mean in enumerate(means) if j != k]
            stream = fusion.targets.index(k)
            x_TD = real(parts[NAMES[k]], row) + fusion.kind_KD[stream]
            want.append(fusion.norm(film_stream(fusion, fusion.streams[stream], x_TD, others)))
        torch.testing.assert_close(real(memory, row), torch.cat(want))


@pytest.mark.parametrize("fusion", [CoAttention, JointTransformer, Bottleneck, Perceiver, Graph])
def test_heads_have_to_divide_the_width(fusion: type) -> None:
    with pytest.raises(ConfigError, match="width of 8 is not a multiple of 3 heads"):
        fusion(fusion.Config(heads=3), NAMES, WIDTH)  # type: ignore[attr-defined]


# Learned numbers for 3 inputs of width 8: counted by hand from the formulas.
_BLOCK = 2 * 8 * 2 + (8 * 8 + 8) + (16 * 8 + 16) + (8 * 8 + 8) + (32 * 8 + 32) + (8 * 32 + 8)
PARAMETERS = {
    TensorFusion: 3 * 19 * 9 + (20**3 + 1) * 128 + 129 * 8 + 16,
    LowRank: 3 * 4 * 8 * 8 + 3 * 4 * 8 + 8 + 16,
    CoAttention: 24 + 16 + 6 * _BLOCK + 16,
    JointTransformer: 24 + 3 + 2 * _BLOCK + 16,
    Bottleneck: 24 + 4 * 8 + 2 * 3 * _BLOCK + 16,
    Perceiver: 24 + 16 * 8 + 16 + 4 * _BLOCK + 16,
    Graph: 24 + 2 * (16 + 3 * 72 + 9 * 8 + 8) + 16,
    Film: 24 + 3 * 2 * (16 + 2 * 72 + 2 * 8 * 128 + 128 * 16) + 16,
}


@pytest.mark.parametrize("fusion", PARAMETERS, ids=lambda fusion: fusion.__name__)
def test_parameters_are_those_of_the_formula(fusion: type) -> None:
    made = fusion(fusion.Config(), NAMES, WIDTH)  # type: ignore[attr-defined]
    assert sum(p.numel() for p in made.parameters()) == PARAMETERS[fusion]

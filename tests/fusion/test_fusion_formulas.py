"""Each fusion computes the formula of its docstring, row by row, in plain loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.types import Encoded
from sensorium.fusion.attention import CrossAttentionBlock
from sensorium.fusion.concat import Concat
from sensorium.fusion.cross_attention import CrossAttention
from sensorium.fusion.gated import Gated
from sensorium.fusion.mlp import MLP, Product
from sensorium.fusion.pooling import AttentionPooling, MeanPooling, masked_softmax
from sensorium.fusion.sum import Sum
from sensorium.testing.fusion import make_part

NAMES = ("photo", "sound", "note")
WIDTH = 8


def three_parts(seed: int = 0) -> dict[str, Encoded]:
    """Eight rows, one for each combination of presence."""
    torch.manual_seed(seed)
    present_KB = torch.tensor(list(itertools.product([True, False], repeat=3))).T
    lengths = zip(NAMES, (4, 6, 3), present_KB, strict=True)
    return {name: make_part(present_B, length, WIDTH) for name, length, present_B in lengths}


def real(part: Encoded, row: int) -> Tensor:
    return part.x_BTD[row][part.mask_BT[row]]


def test_concat_lines_up_the_parts_in_order() -> None:
    parts = three_parts()
    fusion = Concat(Concat.Config(), NAMES, WIDTH)
    memory = fusion(parts).memory
    assert memory.x_BTD.shape[1] == sum(part.x_BTD.shape[1] for part in parts.values())
    for row in range(8):
        want = torch.cat([real(parts[name], row) + fusion.kind_KD[k] for k, name in enumerate(NAMES)])
        torch.testing.assert_close(real(memory, row), want)
    assert (memory.x_BTD[~memory.mask_BT] == 0).all()


def test_sum_is_the_sum_of_means() -> None:
    parts = three_parts()
    fusion = Sum(Sum.Config(), NAMES, WIDTH)
    memory = fusion(parts).memory
    for row in range(8):
        want = sum((real(parts[name], row).mean(0) for name in NAMES), torch.zeros(WIDTH))
        torch.testing.assert_close(memory.x_BTD[row, 0], nn.functional.layer_norm(want, (WIDTH,)))


def test_gates_weigh_the_present_and_leave_as_evidence() -> None:
    parts = three_parts()
    fusion = Gated(Gated.Config(), NAMES, WIDTH)
    cond = fusion(parts)
    gate_BK = cond.evidence["gate"]
    for row in range(8):
        pooled = [real(parts[name], row).mean(0) for name in NAMES]
        present = [bool(parts[name].present_B[row]) for name in NAMES]
        score = fusion.gate(torch.cat(pooled)).exp()
        counted = [score[k] * (present[k] or not any(present)) for k in range(3)]
        weights = [one / sum(counted) for one in counted]
        average = sum(w * fusion.values[k](pooled[k]).tanh() for k, w in enumerate(weights))
        torch.testing.assert_close(cond.memory.x_BTD[row, 0], fusion.norm(average))
        torch.testing.assert_close(gate_BK[row], torch.stack(weights))
    present_BK = torch.stack([parts[name].present_B for name in NAMES], dim=1)
    assert (gate_BK[~present_BK & present_BK.any(1, keepdim=True)] == 0).all(), "an absent part weighs nothing"
    torch.testing.assert_close(gate_BK.sum(1), torch.ones(8))


@given(st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_product_is_the_sum_over_pairs(num_parts: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    product = Product(num_parts, WIDTH, 6)
    pooled_BKD = torch.randn(3, num_parts, WIDTH, generator=generator)
    present_BK = torch.rand(3, num_parts, generator=generator) < 0.6
    got_BH = product(pooled_BKD, present_BK)
    for row in range(3):
        there = [k for k in range(num_parts) if present_BK[row, k]]
        u = {k: product.projections[k](pooled_BKD[row, k]).tanh() for k in there}
        want = sum(u.values(), torch.zeros(6)) + sum(
            (u[j] * u[k] for j, k in itertools.combinations(there, 2)), torch.zeros(6)
        )
        torch.testing.assert_close(got_BH[row], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("interaction", ["concat", "product", "both"])
def test_mlp_reads_what_its_interaction_says(interaction: str) -> None:
    parts = three_parts()
    fusion = MLP(MLP.Config(interaction=interaction, positions=2, hidden=12), NAMES, WIDTH)
    memory = fusion(parts).memory
    pooled = torch.stack([parts[name].mean_BD() for name in NAMES], dim=1)
    terms = {"concat": [pooled.flatten(1)], "product": [], "both": [pooled.flatten(1)]}[interaction]
    if fusion.product is not None:
        terms.append(fusion.product(pooled, torch.stack([parts[n].present_B for n in NAMES], dim=1)))
    assert (fusion.product is None) == (interaction == "concat")
    first, _, _, second = fusion.mlp
    want = second(first(torch.cat(terms, 1)).relu()).reshape(8, 2, WIDTH)
    torch.testing.assert_close(memory.x_BTD, fusion.norm(want))


def test_mean_pooling_is_the_mean_over_real_positions() -> None:
    part = three_parts()["sound"]
    pooled = MeanPooling()(part)
    for row in range(8):
        torch.testing.assert_close(pooled[row], real(part, row).mean(0))


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_pooling_is_its_formula(heads: int) -> None:
    part = three_parts()["sound"]
    pool = AttentionPooling(WIDTH, heads)
    pooled = pool(part)
    linear, _, queries = pool.score
    for row in range(8):
        x_TD = real(part, row)
        found = [(linear(x_TD).tanh() @ query_D).softmax(0) @ x_TD for query_D in queries.weight]
        want_D = found[0] if heads == 1 else pool.join.weight @ torch.cat(found)
        torch.testing.assert_close(pooled[row], want_D)


def test_a_row_without_any_real_position_pools_to_zeros() -> None:
    part = Encoded(torch.randn(1, 2, WIDTH), torch.zeros(1, 2, dtype=torch.bool), torch.tensor([True]))
    assert (AttentionPooling(WIDTH)(part) == 0).all()
    assert (AttentionPooling(WIDTH, 3)(part) == 0).all()
    assert (MeanPooling()(part) == 0).all()
    assert masked_softmax(torch.randn(1, 3), torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 0]]


def test_cross_attention_block_is_torchs() -> None:
    torch.manual_seed(0)
    block = CrossAttentionBlock(WIDTH, 2, 0.0).eval()
    theirs = nn.MultiheadAttention(WIDTH, 2, batch_first=True).eval()
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([block.to_query.weight, block.to_key_value.weight]),
            "in_proj_bias": torch.cat([block.to_query.bias, block.to_key_value.bias]),
            "out_proj.weight": block.to_out.weight,
            "out_proj.bias": block.to_out.bias,
        }
    )
    x_BMD, key_BSD = torch.randn(3, 4, WIDTH), torch.randn(3, 5, WIDTH)
    mask_BS = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    want = (
        x_BMD
        + theirs(block.norm_attention(x_BMD), key_BSD, key_BSD, key_padding_mask=~mask_BS, need_weights=False)[0]
    )
    torch.testing.assert_close(block(x_BMD, key_BSD, mask_BS), want + block.mlp(want))


def test_cross_attention_asks_with_the_part_it_is_told() -> None:
    parts = three_parts()
    fusion = CrossAttention(CrossAttention.Config(query="note"), NAMES, WIDTH)
    memory = fusion(parts).memory
    assert torch.equal(memory.mask_BT, parts["note"].mask_BT)
    for row in range(8):
        x = real(parts["note"], row) + fusion.kind_KD[2]
        keys = torch.cat([real(parts[n], row) + fusion.kind_KD[k] for k, n in enumerate(NAMES[:2])])
        mask = torch.ones(1, len(keys), dtype=torch.bool)
        x = x[None]
        for block in fusion.blocks:
            x = block(x, fusion.norm_keys(keys)[None], mask)
        torch.testing.assert_close(real(memory, row), fusion.norm(x)[0])


def test_learned_queries_give_a_memory_of_fixed_length() -> None:
    fusion = CrossAttention(CrossAttention.Config(num_queries=5), NAMES, WIDTH)
    memory = fusion(three_parts()).memory
    assert memory.x_BTD.shape == (8, 5, WIDTH)
    assert memory.mask_BT.all()


def test_an_absent_part_is_not_a_missing_one() -> None:
    parts = three_parts()
    del parts["sound"]
    with pytest.raises(ModelError, match="photo, sound, note, but was given photo, note"):
        Sum(Sum.Config(), NAMES, WIDTH)(parts)


def test_configs_that_fit_no_input_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'query' names no input 'fotos' \(did you mean 'photo'"):
        CrossAttention(CrossAttention.Config(query="fotos"), NAMES, WIDTH)
    with pytest.raises(ConfigError, match="not a multiple of 3 heads"):
        CrossAttention(CrossAttention.Config(heads=3), NAMES, WIDTH)
    with pytest.raises(ValidationError):
        MLP.Config(interaction="outer")
    with pytest.raises(ValidationError):
        Concat.Config(positions=2)

"""A matrix of integers does what the floats it stands for do, up to rounding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sensorium.core.int8 import Int8Matrix, dequantised, quantised


def brute_force(x: torch.Tensor, weight_OI: torch.Tensor, scale_O: torch.Tensor) -> torch.Tensor:
    """Row by row, in plain numbers: round by the row's own peak, multiply integers, scale."""
    rows = []
    for x_I in x:
        step = float(x_I.abs().max()) / 127 or 1.0
        whole = [round(float(v) / step) for v in x_I.double()]
        sums = [sum(a * int(b) for a, b in zip(whole, row, strict=True)) for row in weight_OI.tolist()]
        rows.append([s * step * float(scale) for s, scale in zip(sums, scale_O, strict=True)])
    return torch.tensor(rows)


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16))
def test_products_are_those_of_the_integers(num_rows, num_in, num_out, seed):
    generator = torch.Generator().manual_seed(seed)
    x, weight = (torch.randn(n, num_in, generator=generator) for n in (num_rows, num_out))
    matrix = Int8Matrix.of(weight)
    want = brute_force(x, matrix.weight_OI, matrix.scale_O)
    torch.testing.assert_close(
        F.linear(x, matrix), want, rtol=0.02, atol=0.05 * float(want.abs().max()) / 10 + 1e-5
    )
    turned = Int8Matrix.of(weight.t().contiguous(), is_input_first=True)
    assert torch.equal(x @ turned, F.linear(x, matrix))
    assert torch.equal(torch.mm(x, matrix.t()), F.linear(x, matrix))


def test_rounding_is_within_half_a_step_and_repeats():
    weight = torch.randn(6, 50)
    weight_OI, scale_O = quantised(weight)
    again_OI, _ = quantised(dequantised(weight_OI, scale_O))
    assert torch.equal(weight_OI, again_OI)
    assert bool(((dequantised(weight_OI, scale_O) - weight).abs() <= 0.501 * scale_O[:, None]).all())


def test_zeros_stay_zeros_and_nothing_is_not_a_number():
    matrix = Int8Matrix.of(torch.zeros(3, 4))
    assert torch.equal(F.linear(torch.zeros(2, 4), matrix), torch.zeros(2, 3))
    assert F.linear(torch.zeros(0, 4), matrix).shape == (0, 3)
    assert bool(F.linear(torch.full((1, 4), torch.nan), Int8Matrix.of(torch.ones(3, 4))).isnan().all())


def test_rows_do_not_depend_on_their_neighbours():
    matrix, x = Int8Matrix.of(torch.randn(5, 8)), torch.randn(3, 8)
    together = F.linear(torch.cat([x, 1000 * torch.randn(4, 8)]), matrix)[:3]
    assert torch.equal(together, F.linear(x, matrix))


def test_it_stands_where_the_floats_stood():
    layer, table = nn.Linear(8, 4), nn.Embedding(6, 8)
    for module in (layer, table):
        module.weight = nn.Parameter(Int8Matrix.of(module.weight), requires_grad=False)
    ids = torch.tensor([[1, 5], [0, 0]])
    assert torch.equal(table(ids), table.weight.dense()[ids])
    x = table(ids)
    near = F.linear(x, layer.weight.dense(), layer.bias)
    torch.testing.assert_close(layer(x), near, rtol=0, atol=0.05)
    assert torch.equal(layer.weight + 0, layer.weight.dense())  # whatever has no way of its own
    assert torch.equal(layer(x.bfloat16()), layer(x.bfloat16().float()).bfloat16())
    assert isinstance(layer.state_dict()["weight"], Int8Matrix)


def test_gradients_pass_through_as_if_nothing_were_rounded():
    matrix, x = Int8Matrix.of(torch.randn(3, 4)), torch.randn(2, 4, requires_grad=True)
    F.linear(x, matrix).sum().backward()
    torch.testing.assert_close(x.grad, matrix.dense().sum(0).expand(2, 4))


@pytest.mark.parametrize("index", [torch.tensor([0, 2]), torch.tensor(1)])
def test_looking_up(index):
    matrix = Int8Matrix.of(torch.randn(3, 4))
    assert torch.equal(F.embedding(index, matrix), matrix.dense()[index])

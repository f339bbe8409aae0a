"""`linear` against F.linear in float64, for every layout it may meet."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import matmul
from sensorium.core.matmul import Linear, linear


@pytest.fixture(autouse=True, scope="module")
def _onednn_answers_for_small_products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "_WORTHWHILE", 0)
        patch.setattr(matmul, "_FEW_ROWS", 1)
        yield


sizes = st.integers(1, 9)
layouts = st.sampled_from(["plain", "transposed", "strided", "expanded"])


def tensor(shape, layout, generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    if layout == "transposed":
        return draw(*shape[:-2], shape[-1], shape[-2]).transpose(-1, -2)
    if layout == "strided":
        return draw(*shape[:-1], 2 * shape[-1])[..., ::2]
    if layout == "expanded":
        return draw(1, *shape[1:]).expand(*shape)
    return draw(*shape)


@settings(max_examples=150, deadline=None)
@given(
    lead=st.lists(sizes, min_size=1, max_size=3), into=sizes, out=sizes, x_layout=layouts,
    weight_layout=layouts, grad_layout=layouts, has_bias=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_values_and_gradients_are_those_of_f_linear(
    lead, into, out, x_layout, weight_layout, grad_layout, has_bias, seed
):
    generator = torch.Generator().manual_seed(seed)
    x, weight = tensor((*lead, into), x_layout, generator), tensor((out, into), weight_layout, generator)
    bias = torch.randn(out, generator=generator) if has_bias else None
    grad = tensor((*lead, out), grad_layout, generator)
    given_ = [t.detach().requires_grad_() if t is not None else None for t in (x, weight, bias)]
    exact = [t.detach().double().requires_grad_() if t is not None else None for t in (x, weight, bias)]
    y, want = linear(*given_), F.linear(*exact)
    torch.testing.assert_close(y, want.float(), rtol=1e-4, atol=1e-4)
    y.backward(grad)
    want.backward(grad.double())
    for got, expected in zip(given_, exact, strict=True):
        if got is not None:
            torch.testing.assert_close(got.grad, expected.grad.float(), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias), want.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("x", [torch.randn(3), torch.randn(0, 3), torch.randn(2, 3).double()], ids=str)
def test_what_onednn_does_not_take_goes_to_f_linear(x):
    weight = torch.randn(4, 3, dtype=x.dtype)
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


def test_autocast_is_honoured():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(torch.randn(2, 3), torch.randn(4, 3)).dtype == torch.bfloat16


def test_without_onednn_f_linear_answers(monkeypatch):
    monkeypatch.setattr(matmul, "has_onednn", lambda: False)
    x, weight = torch.randn(2, 3), torch.randn(4, 3)
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_linear_is_an_nn_linear():
    ours, theirs = Linear(3, 4), torch.nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, 3)
    torch.testing.assert_close(ours(x), theirs(x))


def test_only_wanted_gradients_are_made():
    x, weight = torch.randn(2, 3), torch.randn(4, 3, requires_grad=True)
    linear(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None
    x.requires_grad_()
    linear(x, torch.randn(4, 3)).sum().backward()
    assert x.grad is not None


def test_onednn_is_asked_when_it_is_worthwhile(monkeypatch):
    if not matmul.has_onednn():
        pytest.skip("this build of torch has no oneDNN")
    asked = []
    monkeypatch.setattr(
        matmul, "_onednn", lambda x, weight, bias: asked.append(x.shape) or F.linear(x, weight, bias)
    )
    monkeypatch.setattr(matmul, "_WORTHWHILE", 60)
    monkeypatch.setattr(matmul, "_FEW_ROWS", 3)
    weight = torch.randn(5, 4)
    for num_rows in (1, 2, 3):
        linear(torch.randn(num_rows, 4), weight)
    assert asked == [(3, 4)]

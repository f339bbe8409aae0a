"""Log-space arithmetic against float64 sums of probabilities, and at its edges."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.logspace import NEG_INF, log_mix, log_normalise, logsumexp

entries = st.one_of(st.floats(-50, 50), st.just(NEG_INF))
rows = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(entries, min_size=n, max_size=n), min_size=1, max_size=4)
)


def total(row):
    return math.fsum(math.exp(x) for x in row)


def log(p):
    return math.log(p) if p > 0 else NEG_INF


def close(got, want):
    torch.testing.assert_close(got, torch.tensor(want, dtype=got.dtype), rtol=1e-9, atol=1e-9)


@given(rows)
def test_logsumexp_is_the_log_of_the_sum(values):
    close(logsumexp(torch.tensor(values, dtype=torch.float64), 1), [log(total(row)) for row in values])


@given(rows)
def test_logsumexp_agrees_with_torch_in_value_and_gradient(values):
    ours, theirs = (torch.tensor(values, dtype=torch.float64, requires_grad=True) for _ in range(2))
    logsumexp(ours, 1).sum().backward()
    assert not ours.grad.isnan().any()
    for row, grad, x in zip(values, ours.grad, theirs, strict=True):
        if total(row) == 0:
            assert not grad.any()
        else:
            want = torch.autograd.grad(x.logsumexp(0), x)[0]
            torch.testing.assert_close(grad, want)


@given(rows)
def test_log_normalise_sums_to_one_where_there_is_mass(values):
    sums = log_normalise(torch.tensor(values, dtype=torch.float64)).exp().sum(1)
    close(sums, [1.0 if total(row) > 0 else 0.0 for row in values])


@given(rows, st.data())
def test_log_mix_is_the_weighted_sum(values, data):
    weights = data.draw(
        st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1)), min_size=len(values), max_size=len(values))
    )
    log_p, log_weight = (
        torch.tensor(values, dtype=torch.float64),
        torch.tensor([log(w) for w in weights], dtype=torch.float64),
    )
    columns = zip(*values, strict=True)
    want = [log(math.fsum(w * math.exp(x) for w, x in zip(weights, column, strict=True))) for column in columns]
    torch.testing.assert_close(
        log_mix(log_p, log_weight[:, None]), torch.tensor(want, dtype=torch.float64), rtol=1e-9, atol=1e-9
    )


def test_other_dimensions_and_large_numbers():
    x = torch.tensor([[1000.0, 1000.0], [-1000.0, -1000.0]])
    close(logsumexp(x, 0), [1000.0, 1000.0])
    close(logsumexp(x, 1), [1000 + math.log(2), -1000 + math.log(2)])

"""The contrastive losses against loops over rows, what training does with them, and who is nobody's negative."""

from __future__ import annotations

import math

import pytest
import torch

from sensorium.core.types import Encoded
from sensorium.fusion.alignment import Alignment

WIDTH = 8


def encoded(num_rows: int, seed: int) -> Encoded:
    gen = torch.Generator().manual_seed(seed)
    x_BTD = torch.randn(num_rows, 3, WIDTH, generator=gen)
    return Encoded(x_BTD, torch.ones(num_rows, 3, dtype=torch.bool), torch.ones(num_rows, dtype=torch.bool))


def alignment(loss: str, names: tuple[str, ...] = ("a", "b"), **options: float) -> Alignment:
    torch.manual_seed(0)
    return Alignment(Alignment.Config.parse({"inputs": names, "loss": loss, **options}), WIDTH)


def by_hand(module: Alignment, u: torch.Tensor, v: torch.Tensor, a: list[int], b: list[int]) -> list[float]:
    """The formulas of the module's docstring, one row at a time, in Python floats."""
    scale = module.log_scale.exp().item()
    rows = [i for i in range(len(a)) if a[i] >= 0 and b[i] >= 0]
    s = {(i, j): scale * float(u[i] @ v[j]) for i in rows for j in rows}
    losses = [0.0] * len(a)
    for i in rows:
        positives = [j for j in rows if a[i] == a[j] or b[i] == b[j]]
        if module.bias is not None:
            z = {j: 1 if j in positives else -1 for j in rows}
            losses[i] = sum(math.log1p(math.exp(-z[j] * (s[i, j] + module.bias.item()))) for j in rows)
            continue
        total_v = math.log(sum(math.exp(s[i, j]) for j in rows))
        total_u = math.log(sum(math.exp(s[j, i]) for j in rows))
        losses[i] = -sum(s[i, j] - total_v + s[j, i] - total_u for j in positives) / (2 * len(positives))
    return losses


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 0, 1, 2], [0, 1, 2, 3]),  # two rows share a question
        ([0, -1, 1, 1, 2], [0, 1, -1, 2, 2]),  # holes, and a shared clip
    ],
)
def test_loss_is_its_formula(loss: str, a: list[int], b: list[int]) -> None:
    module = alignment(loss, weight=2.0)
    parts = {"a": encoded(len(a), 1), "b": encoded(len(a), 2)}
    got_B = module(parts, {"a": torch.tensor(a), "b": torch.tensor(b)})
    u, v = module.embed("a", parts["a"]).detach(), module.embed("b", parts["b"]).detach()
    want = [2 * value for value in by_hand(module, u, v, a, b)]
    assert got_B.tolist() == pytest.approx(want, rel=1e-5, abs=1e-6)


def test_infonce_is_cross_entropy_where_all_media_differ() -> None:
    module, index = alignment("infonce"), torch.arange(6)
    parts = {"a": encoded(6, 1), "b": encoded(6, 2)}
    s = module.log_scale.exp() * module.embed("a", parts["a"]) @ module.embed("b", parts["b"]).T
    cross_entropy = torch.nn.functional.cross_entropy
    want = (cross_entropy(s, index, reduction="none") + cross_entropy(s.T, index, reduction="none")) / 2
    torch.testing.assert_close(module(parts, {"a": index, "b": index}), want)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_rows_without_a_pair_cost_nothing_and_pull_nothing(loss: str) -> None:
    module, part = alignment(loss), encoded(2, 1)
    x_BTD = part.x_BTD.clone().requires_grad_()
    parts = {"a": Encoded(x_BTD, part.mask_BT, part.present_B), "b": encoded(2, 2)}
    loss_B = module(parts, {"a": torch.tensor([0, 1]), "b": torch.tensor([-1, -1])})
    loss_B.sum().backward()
    assert loss_B.tolist() == [0.0, 0.0]
    assert x_BTD.grad is not None
    assert not x_BTD.grad.any()


def test_three_inputs_are_the_mean_over_pairs() -> None:
    module = alignment("infonce", ("a", "b", "c"))
    parts = {name: encoded(5, seed) for seed, name in enumerate("abc")}
    media = {name: torch.arange(5) for name in "abc"}
    pairs = [
        module._pair(module.embed(x, parts[x]), module.embed(y, parts[y]), media[x], media[y])
        for x, y in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    torch.testing.assert_close(module(parts, media), sum(pairs) / 3)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_training_brings_pairs_together(loss: str) -> None:
    module = alignment(loss)
    parts = {"a": encoded(12, 1), "b": encoded(12, 2)}
    media = {name: torch.arange(12) for name in "ab"}
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        module(parts, media).sum().backward()
        optimiser.step()
    nearest = (module.embed("a", parts["a"]) @ module.embed("b", parts["b"]).T).argmax(1)
    assert nearest.tolist() == list(range(12))

"""The blend of losses and the weights of it, against their formulas."""

from __future__ import annotations

import pytest
import torch

from sensorium.fusion.balance import LEAST_OVERFITTING, Balance, blending_weights


def balance(**options: object) -> Balance:
    return Balance(Balance.Config.parse(options), ["a", "b"])


def test_the_blend_is_a_weighted_mean_and_inputs_that_a_row_lacks_have_no_part_in_it() -> None:
    module = balance(method="fixed", weights={"a": 1.0, "b": 2.0}, fused=5.0)
    both, lacks_b = torch.tensor([True, True]), torch.tensor([True, False])
    a_B, b_B, fused_B = torch.tensor([1.0, 2.0]), torch.tensor([3.0, float("inf")]), torch.tensor([4.0, 5.0])
    got = module({"a": (a_B, both), "b": (b_B, lacks_b)}, fused_B)
    assert got.tolist() == pytest.approx([(1 * 1 + 2 * 3 + 5 * 4) / 8, (1 * 2 + 5 * 5) / 6])
    assert module.weights == pytest.approx({"a": 0.125, "b": 0.25, "fused": 0.625})


def test_a_loss_that_does_not_count_has_no_gradient() -> None:
    a_B = torch.tensor([1.0, 1.0], requires_grad=True)
    module = balance(inputs=["a"])
    module({"a": (a_B, torch.tensor([True, False]))}, torch.zeros(2)).sum().backward()
    assert a_B.grad is not None
    assert a_B.grad.tolist() == [0.5, 0.0]


def test_weights_are_gain_over_squared_overfitting() -> None:
    first_2K = torch.tensor([[2.0, 2.0, 2.0], [2.1, 2.1, 2.1]])
    now_2K = torch.tensor([[1.0, 0.2, 1.5], [1.3, 1.1, 1.6]])
    gain = [0.8, 1.0, 0.5]
    overfitting = [0.2, 0.8, LEAST_OVERFITTING]  # the last has not grown beyond its start
    ratio = [g / o**2 for g, o in zip(gain, overfitting, strict=True)]
    want = [r / sum(ratio) for r in ratio]
    assert blending_weights(first_2K, now_2K).tolist() == pytest.approx(want, rel=1e-4)


def test_weights_are_equal_where_nothing_was_gained() -> None:
    first_2K = torch.ones(2, 4)
    assert blending_weights(first_2K, first_2K + 1).tolist() == [0.25] * 4
    assert blending_weights(first_2K, torch.full((2, 4), float("nan"))).tolist() == [0.25] * 4


def test_the_first_measurement_is_held_against_later_ones_and_kept_in_the_state() -> None:
    module = balance()
    module.follow(torch.tensor([2.0, 2.0, 2.0]), torch.tensor([2.0, 2.0, 2.0]))
    assert module.weight_K.tolist() == pytest.approx([1 / 3] * 3)
    copy = balance()
    copy.load_state_dict(module.state_dict())
    for one in (module, copy):
        one.follow(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 1.5, 1.0]))
    assert copy.weight_K.tolist() == module.weight_K.tolist()
    assert module.weight_K[1] < module.weight_K[0]
    assert float(module.weight_K.sum()) == pytest.approx(1)


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.2, 0.3, 0.5)], ids=str)
def test_a_row_that_lacks_every_weighed_input_has_the_fused_loss(weights: tuple[float, ...]) -> None:
    module = balance()
    module.weight_K.copy_(torch.tensor(weights))
    has = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, True, False])}
    loss_2B = torch.tensor([[1.0, 1.0, 9.0, torch.inf], [2.0, torch.inf, 2.0, 9.0]], requires_grad=True)
    fused_B = torch.full((4,), 4.0, requires_grad=True)
    blended_B = module({"a": (loss_2B[0], has["a"]), "b": (loss_2B[1], has["b"])}, fused_B)
    for row, got in enumerate(blended_B.tolist()):
        heard = [(w, loss) for w, loss, name in zip(weights, (1.0, 2.0), "ab", strict=False) if has[name][row]]
        heard.append((weights[2], 4.0))
        total = sum(w for w, _ in heard)
        assert got == pytest.approx(sum(w * loss for w, loss in heard) / total if total else 4.0)
    blended_B.sum().backward()
    assert loss_2B.grad is not None
    assert loss_2B.grad.isfinite().all()
    nothing = module({name: (torch.zeros(0), torch.zeros(0).bool()) for name in "ab"}, torch.zeros(0))
    assert nothing.shape == (0,)

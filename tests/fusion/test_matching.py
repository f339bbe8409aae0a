"""Matching: who may be whose negative, the loss against its formula, hard negatives, and the head of hidden pieces."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from sensorium.core.types import Encoded
from sensorium.fusion.alignment import Alignment
from sensorium.fusion.concat import Concat
from sensorium.fusion.masked import MaskedHead, waves
from sensorium.fusion.matching import Matching

WIDTH = 8
CONCAT = Concat(Concat.Config(), ["a", "b"], WIDTH)


def encoded(num_rows: int, seed: int, length: int = 3) -> Encoded:
    x_BTD = torch.randn(num_rows, length, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Encoded(x_BTD, torch.ones(num_rows, length, dtype=torch.bool), torch.ones(num_rows, dtype=torch.bool))


def matching(**options) -> Matching:
    torch.manual_seed(0)
    return Matching(Matching.Config.parse({"inputs": ("a", "b"), **options}), WIDTH)


def fuse(parts):
    return CONCAT(parts).memory


def test_loss_is_its_formula():
    module = matching(weight=2.0)
    parts = {"a": encoded(2, 1), "b": encoded(2, 2)}
    index = torch.arange(2)
    loss_B, right_B = module(parts, {"a": index, "b": index}, fuse)
    swapped = {"a": parts["a"], "b": parts["b"].rows(index.flip(0))}  # two rows have one choice
    true_B, false_B = (module.score(fuse(p).mean_BD())[:, 0].tolist() for p in (parts, swapped))
    for loss, right, s, n in zip(loss_B.tolist(), right_B.tolist(), true_B, false_B, strict=True):
        assert loss == pytest.approx(math.log1p(math.exp(-s)) + math.log1p(math.exp(n)), rel=1e-5)
        assert right == (s > 0) + (n < 0)


def test_rows_that_share_a_medium_or_lack_one_are_no_negatives():
    a, b = torch.tensor([0, 0, 1, 2, -1, 3]), torch.tensor([0, 1, 1, 2, 3, -1])
    parts = {"a": encoded(6, 1), "b": encoded(6, 2)}
    weight_BB = matching()._weights(parts, {"a": a, "b": b}, None)
    for i in range(6):
        for j in range(6):
            may = min(a[i], b[i], a[j], b[j]) >= 0 and a[i] != a[j] and b[i] != b[j]
            assert bool(weight_BB[i, j]) == bool(may), (i, j)
    loss_B, right_B = matching()(parts, {"a": a, "b": b}, fuse)
    assert (right_B >= 0).tolist() == [True, True, True, True, False, False]
    assert loss_B[4:].tolist() == [0.0, 0.0]


def test_a_batch_without_negatives_costs_nothing():
    parts = {"a": encoded(3, 1), "b": encoded(3, 2)}
    loss_B, right_B = matching()(parts, {"a": torch.zeros(3).long(), "b": torch.arange(3)}, fuse)
    assert loss_B.tolist() == [0.0] * 3
    assert right_B.tolist() == [-1.0] * 3


def test_hard_negatives_are_drawn_as_the_alignment_scores_them():
    torch.manual_seed(0)
    alignment = Alignment(Alignment.Config.parse({"inputs": ("a", "b"), "scale": 3.0}), WIDTH)
    parts, index = {"a": encoded(5, 1), "b": encoded(5, 2)}, torch.arange(5)
    weight_BB = matching(hard=True)._weights(parts, {"a": index, "b": index}, alignment)
    u, v = alignment.embed("a", parts["a"]), alignment.embed("b", parts["b"])
    score_BB = (3.0 * u @ v.T).detach()
    want_BB = torch.where(torch.eye(5, dtype=torch.bool), 0, score_BB.exp())
    torch.testing.assert_close(
        weight_BB / weight_BB.sum(1, keepdim=True), want_BB / want_BB.sum(1, keepdim=True), rtol=1e-4, atol=1e-5
    )
    assert not weight_BB.requires_grad


def test_matching_can_be_learned():
    module, alike = matching(), encoded(16, 3)
    mix = torch.nn.Bilinear(WIDTH, WIDTH, WIDTH)

    def product(parts):
        x_B1D = mix(parts["a"].mean_BD(), parts["b"].mean_BD())[:, None]
        return Encoded(x_B1D, torch.ones(len(x_B1D), 1, dtype=torch.bool), parts["a"].present_B)

    optimiser = torch.optim.Adam([*module.parameters(), *mix.parameters()], 0.03)
    index, counts = torch.arange(16), Counter()
    for step in range(150):
        loss_B, right_B = module({"a": alike, "b": alike}, {"a": index, "b": index}, product)
        optimiser.zero_grad()
        loss_B.mean().backward()
        optimiser.step()
        counts[step >= 130] += float(right_B.mean()) / 2
    assert counts[True] / 20 > 0.9


def test_a_hidden_piece_is_predicted_from_real_positions_alone():
    torch.manual_seed(0)
    head = MaskedHead(WIDTH, 2, 5, layers=2, heads=2)
    memory, part, place = encoded(2, 1), encoded(2, 2), torch.rand(6, 2)
    output = head(memory, part, place)
    assert output.shape == (2, 6, 5)
    padded = Encoded(
        torch.cat([memory.x_BTD, torch.full((2, 1, WIDTH), torch.nan)], 1),
        torch.cat([memory.mask_BT, torch.zeros(2, 1, dtype=torch.bool)], 1),
        memory.present_B,
    )
    torch.testing.assert_close(head(padded, part, place), output)
    assert not torch.allclose(head(encoded(2, 5), part, place), output)
    assert not torch.allclose(head(memory, encoded(2, 5), place), output)


def test_places_are_told_apart():
    wave_PW = waves(torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij"), 2).view(-1, 2))
    distance = torch.cdist(wave_PW, wave_PW) + 9 * torch.eye(81)
    assert wave_PW.shape == (81, 64)
    assert distance.min() > 0.1

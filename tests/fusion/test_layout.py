"""Layouts keep the contract of a fusion, compute what they say, and find their inputs in the options."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from sensorium.core import registry
from sensorium.core.types import Encoded
from sensorium.fusion.concat import Concat
from sensorium.fusion.cross_attention import CrossAttention
from sensorium.fusion.film import Film
from sensorium.fusion.gated import Gated
from sensorium.fusion.layout import GivenByAttention, GivenByFilm, Layout, make_fusion, options_for
from sensorium.fusion.registry import ENTRY_POINTS, FUSIONS
from sensorium.testing.fusion import check_fusion, make_part

NAMES = ("photo", "question", "speech")
WIDTH = 8


def three_parts() -> dict[str, Encoded]:
    torch.manual_seed(0)
    present_KB = torch.tensor(list(itertools.product([True, False], repeat=3))).T
    return {
        name: make_part(present_B, length, WIDTH)
        for name, length, present_B in zip(NAMES, (4, 6, 3), present_KB, strict=True)
    }


def pairs(names: Sequence[str]) -> list[list[str]]:
    """Group names by two, the last alone if they are odd; two names are two groups."""
    size = 1 if len(names) == 2 else 2
    return [list(names[i : i + size]) for i in range(0, len(names), size)]


@pytest.mark.parametrize("given", ["film", "cross_attention"])
@pytest.mark.parametrize(
    ("layout", "features"),
    [
        *itertools.product(["serial"], ["concat", "gated", "perceiver", "graph"]),
        # Attention to the one position of a group that is pooled would have queries that learn nothing.
        *itertools.product(["hybrid"], ["concat", "perceiver", "graph"]),
    ],
)
def test_layout_keeps_the_contract(layout: str, features: str, given: Any) -> None:
    fusion = registry.load(FUSIONS, ENTRY_POINTS, features)

    def make(names: Sequence[str], width: int) -> Any:
        groups = pairs(names) if layout == "hybrid" else [[name] for name in names]
        return make_fusion(fusion, fusion.Config(), names, width, groups=groups, given=given)

    check_fusion(make)


def test_serial_shows_each_part_those_before_and_never_those_after() -> None:
    parts = three_parts()
    layout = make_fusion(Concat, Concat.Config(), NAMES, WIDTH, groups=[[n] for n in NAMES], given="film")
    lengths = [parts[name].x_BTD.shape[1] for name in NAMES]
    before = layout(parts).memory.x_BTD.split(lengths, dim=1)
    for k, name in enumerate(NAMES):
        part = parts[name]
        moved = Encoded(torch.where(part.mask_BT[..., None], part.x_BTD + 1, 0), part.mask_BT, part.present_B)
        after = layout({**parts, name: moved}).memory.x_BTD.split(lengths, dim=1)
        changed = [not torch.equal(a[0], b[0]) for a, b in zip(before, after, strict=True)]  # row 0 has all
        assert changed == [False] * k + [True] * (3 - k)


def test_film_is_its_formula() -> None:
    parts = three_parts()
    torch.manual_seed(1)
    step = GivenByFilm(WIDTH, 2)
    told = step(parts["speech"], [parts["photo"], parts["question"]])
    for row in range(8):
        summary = torch.zeros(WIDTH)
        for source, name in zip(step.modulation.sources, NAMES, strict=False):
            if parts[name].present_B[row]:
                summary = summary + source(parts[name].mean_BD()[row])
        gamma, beta = step.modulation.to_gamma_beta(summary.tanh()).chunk(2)
        real = parts["speech"].mask_BT[row]
        x_TD = parts["speech"].x_BTD[row][real]
        want = x_TD * (1 + gamma) + beta if parts["speech"].present_B[row] else x_TD
        torch.testing.assert_close(told.x_BTD[row][real], want)


def test_attention_reads_real_positions_of_present_parts() -> None:
    parts = three_parts()
    torch.manual_seed(1)
    step = GivenByAttention(WIDTH, 2)
    told = step(parts["speech"], [parts["photo"], parts["question"]])
    for row in range(8):
        keys = [
            parts[name].x_BTD[row][parts[name].mask_BT[row]] + step.kind_KD[k]
            for k, name in enumerate(NAMES[:2])
            if parts[name].present_B[row]
        ]
        real = parts["speech"].mask_BT[row]
        want = parts["speech"].x_BTD[row][real]
        if keys and parts["speech"].present_B[row]:
            key_SD = step.norm_keys(torch.cat(keys))
            want = step.block(want[None], key_SD[None], torch.ones(1, len(key_SD), dtype=torch.bool))[0]
        torch.testing.assert_close(told.x_BTD[row][real], want)


def test_hybrid_fuses_groups_first_and_tells_whose_evidence_is_whose() -> None:
    parts = three_parts()
    groups = [["photo", "question"], ["speech"]]
    layout = make_fusion(Gated, Gated.Config(), NAMES, WIDTH, groups=groups, given="film")
    cond = layout(parts)
    assert {name: tuple(t.shape) for name, t in cond.evidence.items()} == {
        "photo+question.gate": (8, 2),
        "gate": (8, 2),
    }
    group = layout.fusions["0"]({name: parts[name] for name in groups[0]}).memory
    speech = layout.steps[0](parts["speech"], [group])
    want = layout.fusion({"photo+question": group, "speech": speech})
    torch.testing.assert_close(cond.memory.x_BTD, want.memory.x_BTD)
    assert cond.parts.keys() == set(NAMES)
    assert all(cond.parts[name].x_BTD is parts[name].x_BTD for name in NAMES), "as they were encoded"


def test_options_follow_a_named_part_into_its_group() -> None:
    options = CrossAttention.Config(query="question")
    assert options_for(options, ["photo", "question"]) == options
    assert options_for(options, ["photo+question", "speech"]) == CrossAttention.Config(query="photo+question")
    assert options_for(options, ["photo", "speech"]) == CrossAttention.Config()
    assert options_for(Film.Config(modulated="photo"), ["speech"]).modulated is None  # type: ignore[attr-defined]
    layout = make_fusion(
        CrossAttention, options, NAMES, WIDTH, groups=[["photo", "question"], ["speech"]], given="film"
    )
    assert (layout.fusions["0"].query, layout.fusion.query) == ("question", "photo+question")


def test_a_layout_ignores_absent_parts_if_all_its_fusions_do() -> None:
    def make(names: Sequence[str]) -> nn.Module:
        kind: Any = Film if len(names) == 2 and names[0] == "photo" else Concat
        return kind(kind.Config(), names, WIDTH)

    assert not Layout(make, [["photo", "question"], ["speech"]], WIDTH, "film").ignores_absent
    all_film = make_fusion(Film, Film.Config(), NAMES, WIDTH, groups=pairs(NAMES), given="film")
    assert all_film.ignores_absent

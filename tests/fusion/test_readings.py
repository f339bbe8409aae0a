"""What a fusion says it reads: rows of shares over real positions, composed as the attention of its layers is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.core import registry
from sensorium.core.errors import UsageError
from sensorium.core.protocols import ReadingFusion
from sensorium.core.pytree import select
from sensorium.core.types import Encoded
from sensorium.fusion.attention import CrossAttentionBlock
from sensorium.fusion.bottleneck import Bottleneck
from sensorium.fusion.co_attention import CoAttention
from sensorium.fusion.concat import Concat
from sensorium.fusion.film import Film
from sensorium.fusion.gated import Gated
from sensorium.fusion.graph import Graph
from sensorium.fusion.joint_transformer import JointTransformer
from sensorium.fusion.layout import make_fusion
from sensorium.fusion.perceiver import Perceiver
from sensorium.fusion.registry import ENTRY_POINTS, FUSIONS
from sensorium.testing.fusion import make_part, with_garbage

NAMES, WIDTH = ("photo", "sound", "note"), 8
SOURCES_OF_THEIR_OWN = {
    "cross_attention",
    "perceiver",
    "bottleneck",
}  # learned vectors, which are read from no part
UNDEFINED = {"film"}


@pytest.fixture
def parts() -> dict[str, Encoded]:
    """Eight rows, one for each combination of presence."""
    torch.manual_seed(0)
    present_KB = torch.tensor(list(itertools.product([True, False], repeat=3))).T
    lengths = zip(NAMES, (4, 6, 3), present_KB, strict=True)
    return {name: make_part(present_B, length, WIDTH) for name, length, present_B in lengths}


def fusion_of(name: str) -> Any:
    torch.manual_seed(1)
    kind = registry.load(FUSIONS, ENTRY_POINTS, name)
    options = {key: 3 for key in ("tokens", "num_queries", "positions") if key in kind.Config.model_fields}
    options |= {"heads": 2} if "heads" in kind.Config.model_fields else {}
    return kind(kind.Config(**options), NAMES, WIDTH).eval()


@pytest.mark.parametrize("name", sorted(FUSIONS.keys() - UNDEFINED))
@torch.no_grad()
def test_rows_are_shares_of_what_is_real(name, parts) -> None:
    fusion = fusion_of(name)
    assert isinstance(fusion, ReadingFusion)
    memory, read = fusion(parts).memory, fusion.reading(parts)
    assert list(read) == list(NAMES)
    for part_name, read_BMT in read.items():
        part = parts[part_name]
        assert read_BMT.shape == (8, memory.x_BTD.shape[1], part.mask_BT.shape[1])
        assert (read_BMT >= 0).all()
        assert (read_BMT.transpose(1, 2)[~part.mask_BT] == 0).all(), "padding is never read"
        if getattr(fusion, "ignores_absent", False):
            ignored_B = ~part.present_B & memory.present_B
            assert (read_BMT[ignored_B] == 0).all(), "what is absent is not read"
    total_BM = sum(read_BMT.sum(-1) for read_BMT in read.values())[memory.mask_BT]
    if name in SOURCES_OF_THEIR_OWN:
        assert (total_BM < 1.00001).all()
        assert (total_BM > 0.05).all()
    else:
        assert torch.allclose(total_BM, torch.ones_like(total_BM), atol=1e-5)


@pytest.mark.parametrize("name", sorted(FUSIONS.keys() - UNDEFINED))
@torch.no_grad()
def test_padding_changes_no_reading(name, parts) -> None:
    fusion = fusion_of(name)
    padded = {key: with_garbage(part, 2, 1, torch.nan) for key, part in parts.items()}
    memory, wide = fusion(parts).memory, fusion(padded).memory
    before, after = fusion.reading(parts), fusion.reading(padded)
    for row, key in itertools.product(range(8), NAMES):
        expected = before[key][row][memory.mask_BT[row]][:, parts[key].mask_BT[row]]
        found = after[key][row][wide.mask_BT[row]][:, padded[key].mask_BT[row]]
        assert torch.allclose(found, expected, atol=1e-5)


def attention(block: CrossAttentionBlock, x_QD: Tensor, key_SD: Tensor) -> Tensor:
    """Work out the weights (Q, S) of a block, mean over heads, by hand."""
    q_QD, k_SD = block.to_query(block.norm_attention(x_QD)), block.to_key_value(key_SD)[:, : x_QD.shape[1]]
    size = x_QD.shape[1] // block.num_heads
    heads = [slice(h * size, (h + 1) * size) for h in range(block.num_heads)]
    weights = [((q_QD[:, h] @ k_SD[:, h].T) / size**0.5).softmax(-1) for h in heads]
    return torch.stack(weights).mean(0)


def attend(block: CrossAttentionBlock, x_QD: Tensor, key_SD: Tensor) -> Tensor:
    out_QD: Tensor = block(x_QD[None], key_SD[None], torch.ones(1, len(key_SD), dtype=torch.bool))[0]
    return out_QD


def step(size: int, rows: slice, weight_RS: Tensor) -> Tensor:
    """Return the matrix of one step on a state of `size` vectors: `rows` become half themselves, half their weights."""
    matrix = torch.eye(size)
    matrix[rows] = matrix[rows] / 2 + weight_RS / 2
    return matrix


def shown(parts: dict[str, Encoded], row: int) -> dict[str, Encoded]:
    """Return one row without its padding."""
    one = {name: select(part, torch.tensor([row])) for name, part in parts.items()}
    return {
        name: Encoded(part.x_BTD[:, part.mask_BT[0]], part.mask_BT[:, part.mask_BT[0]], part.present_B)
        for name, part in one.items()
    }


def joined(read: dict[str, Tensor]) -> Tensor:
    return torch.cat([read[name][0] for name in NAMES], dim=1)


@torch.no_grad()
def test_perceiver_composes_as_one_matrix_a_step_over_inputs_and_tokens(parts) -> None:
    """The state is all inputs and all tokens; a step is a matrix whose rows sum to 1; their product is the reading."""
    torch.manual_seed(2)
    fusion = Perceiver(Perceiver.Config(tokens=3, layers=2, self_layers=2, heads=2), NAMES, WIDTH).eval()
    one = shown(parts, 0)
    x_MD = torch.cat([one[name].x_BTD[0] + kind_D for name, kind_D in zip(NAMES, fusion.kind_KD, strict=True)])
    key_MD, z_ND, size = fusion.norm_keys(x_MD), fusion.token_ND, len(x_MD) + 3
    tokens, whole = slice(len(x_MD), size), torch.eye(size)
    for read, *think in fusion.layers:
        key_SD = torch.cat([key_MD, read.norm_attention(z_ND)])
        whole = step(size, tokens, attention(read, z_ND, key_SD)) @ whole
        z_ND = attend(read, z_ND, key_SD)
        for block in think:
            own = block.norm_attention(z_ND)
            weight = torch.cat([torch.zeros(3, len(x_MD)), attention(block, z_ND, own)], dim=1)
            whole = step(size, tokens, weight) @ whole
            z_ND = attend(block, z_ND, own)
    assert torch.allclose(whole.sum(1), torch.ones(size))
    assert torch.allclose(joined(fusion.reading(one)), whole[tokens, : len(x_MD)], atol=1e-5)


@torch.no_grad()
def test_bottleneck_composes_as_one_matrix_a_layer_over_parts_and_tokens(parts) -> None:
    torch.manual_seed(2)
    fusion = Bottleneck(Bottleneck.Config(tokens=2, layers=2, heads=2), NAMES, WIDTH).eval()
    one = shown(parts, 0)
    x = [one[name].x_BTD[0] + kind_D for name, kind_D in zip(NAMES, fusion.kind_KD, strict=True)]
    ends = list(itertools.accumulate((len(x_TD) for x_TD in x), initial=0))
    size, token_ND = ends[-1] + 2, fusion.token_ND
    whole = torch.eye(size)
    for layer in fusion.layers:
        matrix, versions = torch.zeros(size, size), []
        for k, block in enumerate(layer):
            places = torch.cat([torch.arange(ends[k], ends[k + 1]), torch.arange(ends[-1], size)])
            state = torch.cat([x[k], token_ND])
            own = block.norm_attention(state)
            weight = (attention(block, state, own) + torch.eye(len(state))) / 2
            matrix[places[:-2][:, None], places] = weight[:-2]
            matrix[places[-2:][:, None], places] += weight[-2:] / 3  # the mean over parts
            state = attend(block, state, own)
            x[k] = state[:-2]
            versions.append(state[-2:])
        token_ND = torch.stack(versions).mean(0)
        whole = matrix @ whole
    assert torch.allclose(whole.sum(1), torch.ones(size), atol=1e-5)
    assert torch.allclose(joined(fusion.reading(one)), whole[:, : ends[-1]], atol=1e-5)
    alone = Bottleneck(Bottleneck.Config(tokens=2, layers=2, heads=2, memory="tokens"), NAMES, WIDTH).eval()
    alone.load_state_dict(fusion.state_dict())
    assert torch.allclose(joined(alone.reading(one)), whole[-2:, : ends[-1]], atol=1e-5)


@torch.no_grad()
def test_joint_transformer_is_the_product_of_its_layers(parts) -> None:
    torch.manual_seed(2)
    fusion = JointTransformer(JointTransformer.Config(layers=3, heads=2), NAMES, WIDTH).eval()
    one = shown(parts, 0)
    x_MD = fusion._begin([one[name] for name in NAMES])[0][0]
    whole = torch.eye(len(x_MD))
    for block in fusion.blocks:
        own = block.norm_attention(x_MD)
        whole = step(len(x_MD), slice(None), attention(block, x_MD, own)) @ whole
        x_MD = attend(block, x_MD, own)
    assert torch.allclose(joined(fusion.reading(one)), whole, atol=1e-5)


@torch.no_grad()
def test_co_attention_reads_others_then_itself(parts) -> None:
    torch.manual_seed(2)
    fusion = CoAttention(CoAttention.Config(layers=2, heads=2), NAMES, WIDTH).eval()
    one = shown(parts, 0)
    x = [one[name].x_BTD[0] + kind_D for name, kind_D in zip(NAMES, fusion.kind_KD, strict=True)]
    ends = list(itertools.accumulate((len(x_TD) for x_TD in x), initial=0))
    size, whole = ends[-1], torch.eye(ends[-1])
    for layer in fusion.layers:
        before, matrix = torch.cat(x), torch.zeros(size, size)
        for k in range(3):
            own = slice(ends[k], ends[k + 1])
            others = torch.tensor([not own.start <= i < own.stop for i in range(size)])
            key_SD = layer.norm_keys(before)[others]
            across = torch.eye(size)[own] / 2
            across[:, others] += attention(layer.across[k], x[k], key_SD) / 2
            y_TD = attend(layer.across[k], x[k], key_SD)
            keys = layer.inside[k].norm_attention(y_TD)
            inside = (attention(layer.inside[k], y_TD, keys) + torch.eye(len(y_TD))) / 2
            matrix[own] = inside @ across
            x[k] = attend(layer.inside[k], y_TD, keys)
        whole = matrix @ whole
    assert torch.allclose(joined(fusion.reading(one)), whole, atol=1e-5)


@torch.no_grad()
def test_graph_reads_whom_its_nodes_listened_to(parts) -> None:
    """With one layer and mean pooling: half itself, half its edges, evenly over each part's positions."""
    torch.manual_seed(2)
    fusion = Graph(Graph.Config(layers=1, heads=2), NAMES, WIDTH).eval()
    one = shown(parts, 0)
    edge_KK = fusion(one).evidence["edges"][0]
    for k, name in enumerate(NAMES):
        expected_K = (edge_KK[:, k] + torch.eye(3)[:, k]) / 2
        num = one[name].mask_BT.shape[1]
        assert torch.allclose(fusion.reading(one)[name][0], expected_K[:, None].expand(-1, num) / num, atol=1e-6)


@torch.no_grad()
def test_a_layout_reads_on_its_way(parts) -> None:
    """Serial with attention: what a part was told by those before is theirs; concat lines all up."""
    torch.manual_seed(2)
    groups = [["photo"], ["sound"], ["note"]]
    layout = make_fusion(Concat, Concat.Config(), NAMES, WIDTH, groups=groups, given="cross_attention").eval()
    read, memory = layout.reading(parts), layout(parts).memory
    total_BM = sum(read_BMT.sum(-1) for read_BMT in read.values())[memory.mask_BT]
    assert torch.allclose(total_BM, torch.ones_like(total_BM), atol=1e-5)
    one = shown(parts, 0)
    photo, sound = one["photo"], one["sound"]
    key_SD = layout.steps[0].norm_keys(photo.x_BTD[0] + layout.steps[0].kind_KD[0])
    weight_TS = attention(layout.steps[0].block, sound.x_BTD[0], key_SD)
    num_photo, num_sound = photo.mask_BT.shape[1], sound.mask_BT.shape[1]
    found = layout.reading(one)
    own = slice(num_photo, num_photo + num_sound)
    assert torch.allclose(found["photo"][0, own], weight_TS / 2, atol=1e-5)
    assert torch.allclose(found["sound"][0, own], torch.eye(num_sound) / 2, atol=1e-5)
    assert torch.allclose(found["photo"][0, :num_photo], torch.eye(num_photo))


@torch.no_grad()
def test_a_layout_of_groups_multiplies_their_readings(parts) -> None:
    torch.manual_seed(2)
    groups = [["photo", "sound"], ["note"]]
    layout = make_fusion(Gated, Gated.Config(), NAMES, WIDTH, groups=groups, given="cross_attention").eval()
    read = layout.reading(parts)
    total_BM = sum(read_BMT.sum(-1) for read_BMT in read.values())
    assert torch.allclose(total_BM, torch.ones_like(total_BM), atol=1e-5)
    inner = layout.fusions["0"].reading({name: parts[name] for name in groups[0]})
    ratio = read["photo"][0].sum() / read["sound"][0].sum()
    assert torch.allclose(ratio, inner["photo"][0].sum() / inner["sound"][0].sum(), atol=1e-4)


def test_modulation_says_that_it_reads_nothing(parts) -> None:
    film = Film(Film.Config(), NAMES, WIDTH)
    with pytest.raises(UsageError, match="no reading of positions"):
        film.reading(parts)
    layout = make_fusion(Concat, Concat.Config(), NAMES, WIDTH, groups=[[n] for n in NAMES], given="film")
    with pytest.raises(UsageError, match="no reading of positions"):
        layout.reading(parts)

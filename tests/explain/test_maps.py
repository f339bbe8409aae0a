"""Maps: linear models whose maps are known, completeness, attention against its kernel, curves against all orders."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from sensorium.core.attention import attention_weights, beside_residual
from sensorium.core.errors import ConfigError, UsageError
from sensorium.core.types import Encoded
from sensorium.data.hiding import HiddenFrames, HiddenPixels, HiddenTokens
from sensorium.encoders.self_attention import SelfAttention
from sensorium.explain.curves import check_map
from sensorium.explain.gradients import integrated_gradients
from sensorium.explain.maps import METHODS, place_map
from sensorium.explain.occlusion import occlusion, window_losses
from sensorium.explain.rollout import encoder_rollout, rollout
from sensorium.explain.scorers import answer_ids
from sensorium.explain.values import log_p
from sensorium.explain.variants import Variants
from sensorium.explain.windows import gather, pooled, spread, windows
from sensorium.fusion.concat import Concat
from sensorium.fusion.cross_attention import CrossAttention
from sensorium.fusion.gated import Gated
from sensorium.fusion.mlp import MLP
from sensorium.fusion.sum import Sum


class Toy(Variants):
    """A text of two tokens whose log p is a known function of the values."""

    def __init__(self, values, hiding, function) -> None:
        self.values, self.hiding, self.function = values, hiding, function
        self.blank = hiding.blank(values)
        self.places = tuple(values.shape[axis] for axis in hiding.axes)
        self.tile = tuple(map(hiding.tile, self.places))

    def log_p(self, values_X):
        total_X = self.function(values_X).flatten(1).sum(1)
        return torch.stack([total_X, 2 * total_X], 1)


def sounds(num_frames: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, num_frames, 3, generator=torch.Generator().manual_seed(seed))


def test_windows_cover_every_place_to_the_last() -> None:
    window_R = windows((5, 4), (2, 2), (2, 2))
    assert window_R.shape == (6, 5, 4)
    assert window_R.any(0).all()
    assert (window_R.flatten(1).sum(1) == 4).all()
    assert windows((3,), (1,), (1,)).tolist() == torch.eye(3, dtype=torch.bool).tolist()


def test_spread_and_gather_are_means() -> None:
    window_R = windows((3,), (2,), (1,))  # places 0-1 and 1-2
    assert spread(torch.tensor([[2.0, 4.0]]), window_R).tolist() == [[2.0, 3.0, 4.0]]
    assert gather(torch.tensor([[2.0, 4.0, 0.0]]), window_R).tolist() == [[3.0, 2.0]]
    assert pooled(torch.ones(1, 5, 5), (2, 2)).tolist() == torch.ones(1, 5, 5).tolist()


def test_hidden_places_look_blank_and_others_as_they_are() -> None:
    image = torch.rand(1, 3, 4, 4) * 255
    toy = Toy(image, HiddenPixels(), lambda x: x)
    hidden = torch.zeros(1, 4, 4, dtype=torch.bool)
    hidden[0, 1:3, 2] = True
    version = toy.versions(hidden)
    assert torch.equal(version[0, :, 1, 2], image[0].mean((1, 2)))
    assert torch.equal(version[0, :, ~hidden[0]], image[0, :, ~hidden[0]])
    words = Toy(torch.tensor([[7, 8, 9]]), HiddenTokens(), lambda x: x.float())
    assert words.versions(torch.tensor([[False, True, False]])).tolist() == [[7, 3, 9]]


@pytest.mark.parametrize("scales", [(1,), (1, 2, 4)])
def test_occlusion_of_a_linear_model(scales) -> None:
    """With one scale a place has its own term; with several, the mean of terms around it, as brute force says."""
    weight = torch.tensor([1.0, -2.0, 0.5])
    toy = Toy(sounds(), HiddenFrames(scales=scales), lambda x: x * weight)
    term_T = ((toy.values - toy.blank)[0] * weight).sum(1).double()
    expected = torch.zeros(6, dtype=torch.float64)
    for scale in scales:
        for place in range(6):
            starts = [
                s for s in sorted({*range(0, 7 - scale, max(1, scale // 2)), 6 - scale}) if s <= place < s + scale
            ]
            expected[place] += sum(term_T[s : s + scale].mean() for s in starts) / len(starts) / len(scales)
    got = occlusion(toy)
    assert torch.allclose(got[0], expected, atol=1e-5)
    assert torch.allclose(got[1], 2 * expected, atol=1e-5)


def test_integrated_gradients_of_a_quadratic() -> None:
    """The integral of 2 (b + a d) d over a is d (2 b + d): known by place."""
    toy = Toy(sounds(), HiddenFrames(), lambda x: x.square())
    step = (toy.values - toy.blank)[0].double()
    expected = (step * (2 * toy.blank[0].double() + step)).sum(1)
    assert torch.allclose(integrated_gradients(toy, nodes=2)[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["photo", "sound", "question"])
def test_integrated_gradients_add_up_on_a_real_model(senses, seen_row, name) -> None:
    model = senses.predictor.model
    variants = Variants(model, senses.predictor.batch([seen_row]), answer_ids(model, "green"), name)
    found = integrated_gradients(variants, nodes=200)
    ends = torch.stack([torch.zeros(variants.places), torch.ones(variants.places)]).bool()
    shown, blank = variants.log_p_hidden(ends).double()
    assert found.shape[1:] == variants.places
    assert found.flatten(1).sum(1).tolist() == pytest.approx((shown - blank).tolist(), abs=0.02)
    assert float((shown - blank).abs().max()) > 1e-3  # else the test says nothing


@pytest.mark.parametrize("name", ["photo", "sound", "question"])
def test_hidden_versions_are_what_the_model_says_of_them(senses, seen_row, name) -> None:
    model = senses.predictor.model
    batch, ids = senses.predictor.batch([seen_row]), answer_ids(model, "green")
    variants = Variants(model, batch, ids, name)
    nothing = torch.zeros(1, *variants.places, dtype=torch.bool)
    assert float(variants.log_p_hidden(nothing).sum()) == pytest.approx(senses.score("green", **seen_row), abs=1e-4)
    some = windows(variants.places, variants.tile, variants.tile)[:3]
    losses = window_losses(variants, some)
    for r, window in enumerate(some):
        alone = variants.log_p_hidden(nothing) - variants.log_p_hidden(window[None])
        assert losses[:, r].tolist() == pytest.approx(alone[0].tolist(), abs=1e-4)


def test_attention_weights_are_those_of_the_kernel() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8).unbind()
    mask = torch.rand(2, 1, 1, 5) > 0.3
    mask[..., 0] = True
    assert torch.allclose(
        attention_weights(q, k, mask) @ v, functional.scaled_dot_product_attention(q, k, v, mask), atol=1e-5
    )
    layer, x = SelfAttention(16, 2).eval(), torch.randn(3, 5, 16)
    mask_UT = torch.arange(5) < torch.tensor([[5], [3], [1]])
    values = layer._heads(x, None)[2]
    joined = (layer.attention_weights(x, mask_UT) @ values).transpose(1, 2).reshape(3, 5, 16)
    assert torch.allclose(layer.out_proj(joined), layer(x, mask_UT), atol=1e-5)


def test_rollout_multiplies_from_the_first_layer_up() -> None:
    first, second = torch.rand(2, 3, 3).softmax(-1).unbind()
    together = encoder_rollout([first, second], 3)
    assert torch.allclose(together, beside_residual(second) @ beside_residual(first))
    assert torch.allclose(together.sum(1), torch.ones(3))
    assert torch.equal(encoder_rollout([], 3), torch.eye(3))


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (Concat, {}, 1.0),
        (Sum, {"pooling": "attention"}, 1.0),
        (Gated, {}, 1.0),
        (MLP, {"positions": 2, "pooling": "attention"}, 1.0),
        (CrossAttention, {"num_queries": 3, "layers": 2, "heads": 2}, 0.75),  # a quarter is the queries' own
        (CrossAttention, {"query": "a", "heads": 2}, 1.0),
    ],
)
def test_what_a_fusion_reads_is_real_and_at_most_all(kind, options, told) -> None:
    torch.manual_seed(0)
    fusion = kind(kind.Config(**options), ["a", "b"], 8).eval()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    parts = {n: Encoded(torch.randn(2, 3, 8), mask, torch.ones(2, dtype=torch.bool)) for n in "ab"}
    cond, read = fusion(parts), fusion.reading(parts)
    for name in "ab":
        assert read[name].shape == (2, cond.memory.x_BTD.shape[1], 3)
        assert (read[name] >= 0).all()
        assert (read[name][0, cond.memory.mask_BT[0], 2] == 0).all()  # padding is never read
    total = sum(read.values()).sum(-1)
    assert torch.allclose(total[cond.memory.mask_BT], torch.tensor(told), atol=1e-5)


def test_a_decoder_tells_what_it_attends_to(senses, seen_row) -> None:
    model = senses.predictor.model
    transformer = model.parts["transformer"]
    cond = model.condition(senses.predictor.batch([seen_row, {"question": "is it red?"}]))
    token_BT, mask_BT = model.sequences([answer_ids(model, "green")] * 2)
    with torch.no_grad():
        read_BTM = transformer.reading(token_BT, mask_BT, cond)
    assert read_BTM.shape == (*token_BT.shape, cond.memory.mask_BT.shape[1])
    assert (read_BTM >= 0).all()
    assert (read_BTM.sum(-1) < 1).all()
    assert (read_BTM[1][:, ~cond.memory.mask_BT[1]] == 0).all()
    assert float(read_BTM[1].sum()) > 0


def test_curves_run_from_everything_to_nothing_and_no_order_is_better_than_the_true_one() -> None:
    toy = Toy(sounds(5), HiddenFrames(), lambda x: x * 0.3)
    true_map = ((toy.values - toy.blank)[0] * 0.3).sum(1)
    check = check_map(toy, true_map, value=log_p)
    whole, nothing = (log_p(toy.log_p(x)).item() for x in (toy.values, toy.blank))
    assert (check.deletion_S[0], check.deletion_S[-1]) == pytest.approx((whole, nothing), abs=1e-5)
    assert (check.insertion_S[0], check.insertion_S[-1]) == pytest.approx((nothing, whole), abs=1e-5)
    areas = []
    for order in itertools.permutations(range(5)):
        other = check_map(toy, torch.tensor(order).float(), value=log_p)
        areas.append((other.facts()["deletion"], other.facts()["insertion"]))
    best = check.facts()
    assert best["deletion"] == pytest.approx(min(a for a, _ in areas), abs=1e-5)
    assert best["insertion"] == pytest.approx(max(a for _, a in areas), abs=1e-5)
    assert best["deletion"] < best["random_deletion"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_maps_every_input(senses, seen_row, method) -> None:
    model = senses.predictor.model
    batch, ids = senses.predictor.batch([seen_row]), answer_ids(model, "green")
    for name in seen_row:
        found = place_map(Variants(model, batch, ids, name), method)
        assert found.tokens == ("green", "</s>")
        assert found.map_T.shape[0] == len(found.token_checks) == 2
        assert found.map_T.isfinite().all()
        assert float(found.map_T.abs().sum()) > 0
        assert found.saliency.shape == found.map_T.shape[1:]
    assert found.labels == ("what", "color", "is", "it", "?")


def test_rollout_of_a_text_is_the_product_of_its_readings(senses, seen_row) -> None:
    """Concat lines parts up and a GRU has no self-attention: what is left is the decoder's own reading."""
    model = senses.predictor.model
    batch, ids = senses.predictor.batch([seen_row]), answer_ids(model, "green")
    with torch.no_grad():
        cond = model.condition(batch)
        read_BTM = model.parts["transformer"].reading(*model.sequences([ids]), cond)
    expected = read_BTM[0, :-1, -5:]  # the question comes last, and has five words
    assert torch.allclose(rollout(Variants(model, batch, ids, "question")), expected.double(), atol=1e-5)


def test_what_has_no_map_says_why(senses, seen_row) -> None:
    model = senses.predictor.model
    batch, ids = senses.predictor.batch([{"question": "is it red?"}]), answer_ids(model, "no")
    with pytest.raises(UsageError, match="lacks|no 'photo'"):
        Variants(model, batch, ids, "photo")
    with pytest.raises(ConfigError, match="did you mean 'occlusion'"):
        place_map(Variants(model, batch, ids, "question"), "oclusion")

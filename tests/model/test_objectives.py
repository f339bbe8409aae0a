"""Objectives on real encoders of each kind: scale, representatives, augmentation, gradients; layers and their rates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sensorium.core.config import Source
from sensorium.core.errors import ConfigError
from sensorium.core.types import Batch, MediaBatch
from sensorium.data.text_preparer import TextPreparer
from sensorium.encoders.image_resnet18 import ImageResNet18
from sensorium.encoders.image_vit import ImageViT
from sensorium.encoders.text_gru import TextGRU
from sensorium.encoders.text_transformer import TextTransformer
from sensorium.model.config import parse_without_target
from sensorium.model.layers import layer_of, layers, rate_factors
from sensorium.model.objectives import representatives
from sensorium.model.pretrainer import Pretrainer
from sensorium.model.saving import build_preparers

VALUES = {
    "inputs": {
        "photo": {"modality": "image", "encoder": "cnn", "size": 16, "channels": [8], "grid": 2, "norm": "group"},
        "question": {"modality": "text", "encoder": "gru", "embedding": 8, "hidden": 8},
        "speech": {"modality": "audio", "encoder": "gru", "num_mels": 8, "hidden": 8, "stack": 2, "stride": 2},
    },
    "fusion": {"features": "mlp", "width": 16, "hidden": 16},
    "objectives": {
        "masked": {"photo": 0.5, "question": {"rate": 0.3, "weight": 2.0}, "speech": {"rate": 0.5, "span": 3}},
        "matching": {"inputs": ["photo", "question"]},
    },
}


def pretrainer(**changes) -> Pretrainer:
    torch.manual_seed(0)
    inputs = {name: {**VALUES["inputs"][name], **changes.get(name, {})} for name in VALUES["inputs"]}
    config = parse_without_target({**VALUES, "inputs": inputs}, Source())
    preparers = build_preparers(config)
    preparers["question"].fit(["is it red", "what is it"])
    return Pretrainer(config, preparers)


def batch() -> Batch:
    torch.manual_seed(1)
    inputs = {
        "photo": MediaBatch(
            torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8), None, torch.tensor([0, 0, 1, 2, -1, 1])
        ),
        "question": MediaBatch(
            torch.tensor([[4, 5, 6], [5, 6, 0], [4, 4, 4], [5, 5, 5]]),
            torch.tensor([[True] * 3, [True, True, False], [True] * 3, [True] * 3]),
            torch.tensor([0, 1, 1, 2, 3, 3]),
        ),
        "speech": MediaBatch(
            torch.randn(2, 10, 8), torch.arange(10) < torch.tensor([[10], [7]]), torch.tensor([-1, 0, 1, -1, -1, 0])
        ),
    }
    return Batch(torch.arange(6), inputs)


def test_one_row_stands_for_each_medium():
    medium_B = torch.tensor([2, -1, 0, 2, 5, 0, 2])
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        row_R = representatives(medium_B)
        assert medium_B[row_R].tolist() == [0, 2, 5]
        seen |= set(row_R.tolist())
    assert seen == {0, 2, 3, 4, 5, 6}
    assert representatives(torch.tensor([-1, -1])).tolist() == []
    assert representatives(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_the_mean_over_rows_is_the_mean_over_media():
    model = pretrainer().eval()
    terms = model.terms(batch())
    weights = {"masked photo": 1.0, "masked question": 2.0, "masked speech": 1.0, "matching": 1.0}
    assert terms.keys() == weights.keys()
    counts = {"masked photo": 3, "masked question": 4, "masked speech": 2}
    for name, term in terms.items():
        total, count = term.measures["loss"]
        assert term.loss_B.mean().item() == pytest.approx(weights[name] * float(total) / count, rel=1e-5)
        assert count == counts.get(name, count)


def test_gradients_reach_every_encoder_and_the_fusion():
    model = pretrainer().train()
    loss_B, num_B = model.losses(batch())
    loss_B.sum().backward()
    assert num_B.tolist() == [1.0] * 6
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_an_input_that_no_row_has_is_no_loss():
    model, rows = pretrainer().eval(), batch().only(frozenset(["question"]))
    terms = model.terms(rows)
    assert terms["masked photo"].loss_B.tolist() == [0.0] * 6
    assert terms["matching"].loss_B.tolist() == [0.0] * 6
    assert terms["masked question"].loss_B.sum() > 0


def test_other_inputs_help_to_predict():
    model = pretrainer().eval()
    torch.manual_seed(0)
    whole = model.terms(batch())["masked photo"].loss_B
    torch.manual_seed(0)
    alone = model.terms(batch().only(frozenset(["photo"])))["masked photo"].loss_B
    assert not torch.allclose(whole, alone)


def test_targets_are_of_what_the_encoder_sees(monkeypatch):
    model = pretrainer(photo={"flip": True, "colour": 0.5}, question={"word_dropout": 0.9}).train()
    seen = []
    masking = model.objectives.maskings["photo"]
    hide = masking.hide
    monkeypatch.setattr(masking, "hide", lambda media, rate: seen.append(hide(media, rate)) or seen[-1])
    encoder = model.encoders["photo"]
    encoder.normalise.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    model._modules["objectives"]._masked("photo", batch(), model)
    hidden, encoded = seen
    assert torch.equal(encoded, hidden.media.values)
    assert not torch.equal(encoded, batch().inputs["photo"].values)
    assert encoder.augment.training


def test_layers_are_named_bottom_to_top():
    names = {
        "embed.weight": "embed",
        "trunk.0.weight": "trunk.0",
        "trunk.10.1.bias": "trunk.10",
        "trunk.layer2.0.conv1.weight": "trunk.layer2",
        "trunk.encoder.layers.encoder_layer_3.mlp.0.weight": "trunk.encoder.layers.encoder_layer_3",
        "trunk.rnn.weight_hh_l1": "trunk.rnn.l1",
        "trunk.rnn.bias_ih_l1_reverse": "trunk.rnn.l1",
        "trunk.forward_layers.1.weight_ih_l0": "trunk.layers.1",
        "trunk.backward_layers.1.weight_ih_l0": "trunk.layers.1",
        "trunk.class_token": "trunk",
    }
    assert {name: layer_of(name) for name in names} == names


def test_real_encoders_have_the_layers_they_say():
    text = TextPreparer().fit(["a b"])
    assert layers(TextTransformer(TextTransformer.Config(hidden=16, layers=2), text, 8)) == [
        "embed",
        "trunk.0",
        "trunk.1",
    ]
    gru = layers(TextGRU(TextGRU.Config(layers=2), text, 8))
    assert gru[0] == "embed"
    assert len(gru) == 3
    resnet = ImageResNet18(ImageResNet18.Config(), None, 8)
    assert layers(resnet)[-4:] == [f"trunk.layer{i}" for i in range(1, 5)]
    vit = layers(ImageViT(ImageViT.Config(size=16, patch=8, hidden=8, heads=2, layers=3, mlp=8), None, 8))
    assert [name for name in vit if "encoder_layer" in name] == [
        f"trunk.encoder.layers.encoder_layer_{i}" for i in range(3)
    ]


def test_rates_shrink_towards_the_bottom():
    text = TextPreparer().fit(["a b"])
    encoder = TextTransformer(TextTransformer.Config(hidden=16, layers=11), text, 8)
    factors = rate_factors(encoder, "encoders.q.", 2.0, 0.5)

    def factor(name: str) -> float:
        return next(value for key, value in factors.items() if name.startswith(key))

    assert factor("encoders.q.outlet.project.weight") == 2.0
    assert factor("encoders.q.outlet.absent_D") == 2.0
    assert factor("encoders.q.trunk.10.mlp.0.weight") == 1.0
    assert factor("encoders.q.trunk.1.mlp.0.weight") == 2.0 * 0.5**10
    assert factor("encoders.q.embed.weight") == 2.0 * 0.5**12
    assert rate_factors(encoder, "encoders.q.", 2.0, 1.0) == {"encoders.q.": 2.0}


def test_the_lowest_layers_stay_as_they_are():
    photo = {"frozen_layers": 1, "channels": [4, 8], "norm": "batch"}
    model = pretrainer(photo=photo)
    encoder = model.encoders["photo"]
    frozen = [name for name, parameter in encoder.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(name.startswith("trunk.0.") for name in frozen)
    model.train()
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.training for norm in norms] == [False, True]
    before = norms[0].running_mean.clone()
    model.losses(batch())
    assert torch.equal(norms[0].running_mean, before)


def test_too_many_layers_to_freeze_say_so():
    with pytest.raises(ConfigError, match=r"1 layers \(trunk\.0\), not 4"):
        pretrainer(photo={"frozen_layers": 4})

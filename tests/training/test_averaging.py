"""The moving average of the weights: its formula, its place in validation, and exact resume with it."""

import math
from pathlib import Path

import pytest
import torch
from small_run import Net, Rows, held_out_loss, new_net, run_once, weight_bytes
from torch import nn

from sensorium.core.errors import ModelError
from sensorium.training.averaging import WeightAverage
from sensorium.training.checkpoint import Position, capture_weights
from sensorium.training.config import TrainingConfig
from sensorium.training.generations import checkpoints
from sensorium.training.loop import fit
from sensorium.training.metrics_log import read_metrics
from sensorium.training.progress import Silent
from sensorium.training.validation import Validation

AVERAGED = {"average": "ema", "average_decay": 0.8}


def test_it_is_its_formula() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    average = WeightAverage(model, 0.7)
    want = {name: value.clone() for name, value in capture_weights(model).items()}
    for step in range(1, 40):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(5, 3))  # moves the running statistics
        average.update(step)
        decay = min(0.7, (1 + step) / (10 + step))
        for name, value in capture_weights(model).items():
            if value.is_floating_point():
                want[name] += (1 - decay) * (value - want[name])
    kept = average.weights
    assert set(kept) == {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    for name, value in kept.items():
        torch.testing.assert_close(value, want[name])


def test_it_stands_in_and_gives_back_to_the_bit() -> None:
    net = new_net()
    average = WeightAverage(net, 0.5)
    with torch.no_grad():
        net.out.weight.add_(1)
    before = weight_bytes(net)
    with average.in_place():
        assert torch.equal(net.out.weight, average.weights["out.weight"])
        assert weight_bytes(net) != before
    assert weight_bytes(net) == before


def test_the_average_of_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match="another model"):
        WeightAverage(new_net(), 0.5, WeightAverage(nn.Linear(2, 2), 0.5).weights)


class Judge:
    """Says a loss for the weights and for their average, whichever stands in the model."""

    def __init__(self, model: nn.Linear) -> None:
        self.model, self.loss = model, {}

    def __call__(self) -> float:
        return self.loss[float(self.model.weight)]


@pytest.mark.parametrize(
    ("of_weights", "of_average", "kept", "best"),
    [(2.0, 1.0, "average", 1.0), (1.0, 2.0, "weights", 1.0), (1.0, 1.0, "weights", 1.0),
     (math.nan, 1.0, "average", 1.0), (1.0, math.nan, "weights", 1.0), (9.0, 8.0, "before", 5.0)],
)  # fmt: skip
def test_the_better_of_both_is_kept(of_weights: float, of_average: float, kept: str, best: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.5)
    value = {"average": float(model.weight), "weights": 7.0, "before": 3.0}
    with torch.no_grad():
        model.weight.fill_(value["weights"])
    judge = Judge(model)
    judge.loss = {value["weights"]: of_weights, value["average"]: of_average}
    position = Position(step=4, best_validation=5.0, best_step=2)
    before = {"weight": torch.full((1, 1), value["before"])}
    validation = Validation(model, judge, every=1, patience=None, position=position, best=before, average=average)
    assert validation.run() == of_weights or math.isnan(of_weights)
    assert position.best_validation == best
    assert position.best_is_average == (kept == "average")
    assert position.num_bad_validations == (kept == "before")
    assert float(model.weight) == value["weights"], "training goes on with the weights themselves"
    validation.leave_best()
    assert float(model.weight) == value[kept]


def test_a_run_ends_with_what_validation_liked_best(tmp_path: Path) -> None:
    net, report = run_once(tmp_path, learning_rate=0.3, **AVERAGED)
    net.eval()
    with torch.no_grad():
        assert held_out_loss(net) == report.best_validation
    lines = [line for line in read_metrics(tmp_path) if "validation_of_average" in line]
    both = [min(line["validation"], line["validation_of_average"]) for line in lines]
    assert report.best_validation == pytest.approx(min(both))
    assert report.best_is_average
    _, plain = run_once(tmp_path / "plain", learning_rate=0.3)
    assert report.best_validation < plain.best_validation
    assert not plain.best_is_average


def test_it_leaves_training_as_it_is(tmp_path: Path) -> None:
    nets = []
    for name, changes in {"plain": {}, "averaged": AVERAGED}.items():
        net = new_net()
        fit(net, Rows(), TrainingConfig(max_steps=9, **changes), tmp_path / name, progress=Silent())
        nets.append(weight_bytes(net))
    assert nets[0] == nets[1]


class Cut(Exception):
    pass


class CutRows(Rows):
    def __init__(self, at_batch: int) -> None:
        super().__init__()
        self.left = at_batch

    def epoch(self, epoch: int, start_batch: int = 0):
        for batch in super().epoch(epoch, start_batch):
            self.left -= 1
            if not self.left:
                raise Cut
            yield batch


@pytest.mark.parametrize("at_batch", [2, 14, 27, 38])
def test_a_resumed_run_is_the_same_to_the_bit(at_batch: int, tmp_path: Path) -> None:
    whole, wanted = run_once(tmp_path / "whole", **AVERAGED)
    with pytest.raises(Cut):
        run_once(tmp_path / "cut", loader=CutRows(at_batch), **AVERAGED)
    net, report = run_once(tmp_path / "cut", resume=True, **AVERAGED)
    assert weight_bytes(net) == weight_bytes(whole)
    assert report.best_validation == wanted.best_validation
    assert report.best_is_average == wanted.best_is_average
    assert (checkpoints(tmp_path / "cut")[-1] / "average.safetensors").exists()


def test_nets_without_batch_norm_average_parameters_alone() -> None:
    assert set(WeightAverage(Net(), 0.5).weights) == {n for n, _ in Net().named_parameters()}

"""The loop: what it computes, when it ends, what it refuses, what it writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import Net, Rows, held_out_loss, new_net, run_once, weight_bytes
from torch import Tensor, nn

from sensorium.core.errors import DataError, ModelError, OutOfMemoryError
from sensorium.core.types import Batch
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import fit
from sensorium.training.metrics_log import read_metrics
from sensorium.training.progress import Silent, Status
from sensorium.training.schedule import rate_factor


def fit_quietly(net: nn.Module, run: Path, loader: Any = None, **settings: Any) -> Any:
    return fit(net, loader or Rows(), TrainingConfig(**settings), run, progress=Silent())


def bare_loop(net: Net, num_steps: int, rate: float, clip_norm: float) -> list[float]:
    """The textbook's loop, without anything of ours but the schedule."""
    decayed = [net.first[0].weight, net.out.weight]
    others = [net.first[0].bias, net.position.weight, net.out.bias]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    loss_S = []
    for step in range(num_steps):
        epoch, batch = divmod(step, Rows().num_batches)
        nll_B, num_tokens_B = net.losses(next(Rows().epoch(epoch, batch)))
        loss = nll_B.sum() / num_tokens_B.sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
        for group in optimiser.param_groups:
            group["lr"] = rate * rate_factor((step + 0.5) / num_steps, 0.05)
        optimiser.step()
        loss_S.append(loss.item())
    return loss_S


@pytest.mark.parametrize("clip_norm", [0.1, 1e9])
def test_equals_a_bare_loop(clip_norm: float, tmp_path: Path) -> None:
    expected, net = new_net(noise=False), new_net(noise=False)
    loss_S = bare_loop(expected, 20, 0.01, clip_norm)
    fit_quietly(net, tmp_path, max_steps=20, learning_rate=0.01, clip_norm=clip_norm, log_every=1)
    assert [record["loss"] for record in read_metrics(tmp_path)] == pytest.approx(loss_S, rel=1e-4)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_accumulation_equals_a_larger_batch(tmp_path: Path) -> None:
    """Rows have 1 to 4 tokens: the mean of the batches' means would differ."""
    small, large = new_net(noise=False), new_net(noise=False)
    # The running mean sees batches, so it is kept out.
    small.mean_D, large.mean_D = small.mean_D.expand(16), large.mean_D.expand(16)
    small.train, large.train = (lambda mode=True: small), (lambda mode=True: large)
    small.training = large.training = False
    fit_quietly(small, tmp_path / "small", Rows(60, 8), epochs=3, accumulate=3, log_every=1)
    fit_quietly(large, tmp_path / "large", Rows(60, 24), epochs=3, log_every=1)
    one, other = (list(read_metrics(tmp_path / name)) for name in ("small", "large"))
    assert len(one) == len(other) == 9
    for a, b in zip(one, other, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


def test_learns(tmp_path: Path) -> None:
    report = fit_quietly(new_net(), tmp_path, epochs=40, learning_rate=0.02)
    assert report.ended_by == "epochs"
    assert (report.num_steps, report.num_epochs, report.num_rows) == (320, 40.0, 2400)
    assert report.loss < 0.4


@pytest.mark.parametrize(
    ("settings", "ended_by", "num_steps"),
    [
        ({"epochs": 2}, "epochs", 16),
        ({"max_steps": 5}, "max_steps", 5),
        ({"epochs": 2, "max_steps": 5}, "max_steps", 5),
        ({"epochs": 2, "max_steps": 50}, "epochs", 16),
        ({"epochs": 2, "accumulate": 3}, "epochs", 6),
        ({"epochs": 2, "accumulate": 100}, "epochs", 2),
        ({"max_steps": 5, "seconds": 1e6}, "max_steps", 5),
    ],
)
def test_budgets(settings: dict[str, Any], ended_by: str, num_steps: int, tmp_path: Path) -> None:
    report = fit_quietly(new_net(), tmp_path, **settings)
    assert (report.ended_by, report.num_steps) == (ended_by, num_steps)


class Clock:
    """A clock that each batch of its loader moves by a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("sensorium.training.meter.time.monotonic", lambda: self.now)

    def rows(self) -> Rows:
        clock = self

        class Timed(Rows):
            def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
                for batch in super().epoch(epoch, start_batch):
                    clock.now += 1.0
                    yield batch

        return Timed()


def test_a_time_budget_ends_and_schedules_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Clock(monkeypatch).rows()
    report = fit_quietly(new_net(), tmp_path, loader, seconds=20.0, warmup=0.25, learning_rate=1.0, log_every=1)
    assert (report.ended_by, report.num_steps, report.elapsed_s) == ("seconds", 20, 20.0)
    rates = [record["lr"] for record in read_metrics(tmp_path)]
    assert rates[4] == pytest.approx(0.8)
    assert max(rates) == rates[5] == 1.0
    assert rates[-1] < 0.02
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_a_resumed_run_has_what_is_left_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_quietly(new_net(), tmp_path, Clock(monkeypatch).rows(), seconds=6.0)
    settings = TrainingConfig(seconds=10.0)
    report = fit(new_net(), Clock(monkeypatch).rows(), settings, tmp_path, resume=True, progress=Silent())
    assert (report.num_steps, report.elapsed_s) == (10, 10.0)


def test_by_time_a_checkpoint_comes_every_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(
        "sensorium.training.loop.save_checkpoint",
        lambda run, model, optimiser, position, **_: saved.append(position.step),
    )
    fit_quietly(new_net(), tmp_path, Clock(monkeypatch).rows(), max_steps=150)
    assert saved == [60, 120, 150]


def test_patience_ends_the_run_and_leaves_the_best_weights(tmp_path: Path) -> None:
    net, losses = new_net(), iter([0.9, 0.95, 0.5, 0.7, math.nan, 0.6, 0.1])
    seen: dict[float, dict[str, bytes]] = {}

    def validate() -> float:
        assert not net.training
        assert not torch.is_grad_enabled()
        loss = next(losses)
        seen[loss] = {name: bytes(value) for name, value in weight_bytes(net).items()}
        return loss

    settings = TrainingConfig(epochs=50, patience=3, validate_every=2)
    report = fit(net, Rows(), settings, tmp_path, validate=validate, progress=Silent())
    assert (report.ended_by, report.num_steps, report.best_step, report.best_validation) == ("patience", 12, 6, 0.5)
    assert weight_bytes(net) == seen[0.5]
    assert report.warnings == ["validation after step 10 is NaN"]
    written = [record["validation"] for record in read_metrics(tmp_path) if "validation" in record]
    assert written == [0.9, 0.95, 0.5, 0.7, None, 0.6]


def test_validates_each_epoch_and_at_the_end(tmp_path: Path) -> None:
    run_once(tmp_path, validate_every="epoch", max_steps=8)
    steps = [record["step"] for record in read_metrics(tmp_path) if "validation" in record]
    assert steps == [3, 6, 8]


def test_validation_does_not_shift_the_training(tmp_path: Path) -> None:
    run_once(tmp_path / "often", validate_every=1, max_steps=6)
    run_once(tmp_path / "never", validate_every=1000, max_steps=6)
    often, never = ([r["loss"] for r in read_metrics(tmp_path / name)] for name in ("often", "never"))
    assert often == never


class Faulty(Net):
    """Gives `fault` as the loss of row 17, or a loss whose gradient is infinite."""

    def __init__(self, fault: float | None) -> None:
        super().__init__(noise=False)
        self.fault = fault

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        nll_B, num_tokens_B = super().losses(batch)
        if self.fault is None:
            return nll_B + (self.out.bias.sum() * 0).sqrt() * 1.0, num_tokens_B
        return nll_B * torch.where(batch.row_id_B == 17, self.fault, 1.0), num_tokens_B


@pytest.mark.parametrize("fault", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_stops_before_the_update(fault: float | None, tmp_path: Path) -> None:
    net = Faulty(fault)
    before: dict[str, bytes] = {}

    class Watched(Rows):
        def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
            for batch in super().epoch(epoch, start_batch):
                # Weights only: the running mean moves in the forward pass.
                before.update({name: p.detach().numpy().tobytes() for name, p in net.named_parameters()})
                yield batch

    def name_rows(rows: Any) -> str:
        return ", ".join(f"train.csv:{row + 2}" for row in rows)

    with pytest.raises(ModelError, match="stopped before the update") as caught:
        fit(net, Watched(), TrainingConfig(epochs=1), tmp_path, progress=Silent(), name_rows=name_rows)
    assert {name: p.detach().numpy().tobytes() for name, p in net.named_parameters()} == before
    if fault is None:
        assert "gradient's norm" in caught.value.what
        assert caught.value.where.count("train.csv:") == 8
    else:
        assert f"the loss is {fault}" in caught.value.what
        assert caught.value.where == "train.csv:19"


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^row .* and 52 more rows: the gradient's norm"):
        fit_quietly(Faulty(None), tmp_path, Rows(60, 60), epochs=1)


def test_no_token_to_learn_from(tmp_path: Path) -> None:
    class Empty(Rows):
        def batch(self, row_B: Tensor) -> Batch:
            batch = super().batch(row_B)
            return replace(batch, mask_BT=torch.zeros_like(batch.mask_BT))

    with pytest.raises(DataError, match="no target token"):
        fit_quietly(new_net(), tmp_path, Empty(), epochs=1)


def test_batches_without_rows_are_passed_over(tmp_path: Path) -> None:
    class Holes(Rows):
        def batch(self, row_B: Tensor) -> Batch:
            return super().batch(row_B if row_B[0] % 2 else row_B[:0])

    holes = sum(batch.num_rows == 0 for batch in Holes().epoch(0))
    assert 0 < holes < 8
    net = new_net()
    report = fit_quietly(net, tmp_path, Holes(), epochs=1, log_every=1)
    assert (report.num_steps, report.ended_by) == (8, "epochs")
    lines = list(read_metrics(tmp_path))
    assert sum(line["loss"] is None for line in lines) == holes
    assert report.num_rows == sum(batch.num_rows for batch in Holes().epoch(0))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_out_of_memory(device: str, tmp_path: Path) -> None:
    class Large(Net):
        def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
            if device == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory")
            torch.empty(2**60)
            raise AssertionError

    with pytest.raises(OutOfMemoryError, match=r"batches of 64 rows.*halve training.batch_rows"):
        fit_quietly(Large(), tmp_path, epochs=1)


def test_other_errors_pass_through(tmp_path: Path) -> None:
    class Broken(Net):
        def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit_quietly(Broken(), tmp_path, epochs=1)


def test_loaders_that_break_their_promise(tmp_path: Path) -> None:
    class Short(Rows):
        @property
        def num_batches(self) -> int:
            return 9

    class None_(Rows):
        @property
        def num_batches(self) -> int:
            return 0

    with pytest.raises(DataError, match="before the 9 batches it promised"):
        fit_quietly(new_net(), tmp_path / "short", Short(), epochs=1)
    with pytest.raises(DataError, match="no rows to train on"):
        fit_quietly(new_net(), tmp_path / "none", None_(), epochs=1)


def test_loaders_are_closed(tmp_path: Path) -> None:
    closed = []

    class Closing(Rows):
        def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
            try:
                yield from super().epoch(epoch, start_batch)
            finally:
                closed.append(epoch)

    fit_quietly(new_net(), tmp_path, Closing(), max_steps=10)
    assert closed == [0, 1]


def test_models_that_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no losses"):
        fit_quietly(nn.Linear(2, 2), tmp_path)
    with pytest.raises(ModelError, match="no parameter"):
        fit_quietly(nn.ReLU(), tmp_path)

    class Pickled(Net):
        def get_extra_state(self) -> Any:
            return {"a": object()}

        def set_extra_state(self, state: Any) -> None: ...

    with pytest.raises(ModelError, match=r"'_extra_state' .* only tensors"):
        fit_quietly(Pickled(), tmp_path, epochs=1)


def test_bf16_trains_and_leaves_fp32_weights(tmp_path: Path) -> None:
    net = new_net()
    report = fit_quietly(net, tmp_path, epochs=20, learning_rate=0.02, precision="bf16")
    assert report.loss < 0.5
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_the_log_and_the_progress(tmp_path: Path) -> None:
    class Listener(Silent):
        def __init__(self) -> None:
            self.seen: list[Status] = []
            self.num_closed = 0

        def update(self, status: Status) -> None:
            self.seen.append(status)

        def close(self) -> None:
            self.num_closed += 1

    listener = Listener()
    run_once(tmp_path, progress=listener)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 16))
    assert set(lines[1]) == {
        "step", "epoch", "loss", "lr", "grad_norm", "rows_per_s", "tokens_per_s", "elapsed_s", "validation",
    }  # fmt: skip
    assert lines[-1]["epoch"] == 5
    assert [status.step for status in listener.seen] == list(range(1, 16))
    assert listener.seen[-1].fraction == 1.0
    assert listener.seen[-1].left_s == 0.0
    assert listener.num_closed == 1
    assert listener.seen[-1].validation == lines[-1]["validation"] == pytest.approx(lines[-1]["validation"])


def test_the_best_weights_are_what_validation_saw(tmp_path: Path) -> None:
    net, report = run_once(tmp_path, learning_rate=0.3)
    assert report.best_step < report.num_steps
    net.eval()
    with torch.no_grad():
        assert held_out_loss(net) == report.best_validation

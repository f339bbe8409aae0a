"""The parts of training, each by itself."""

from __future__ import annotations

import io
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small_run import Rows, new_net, weight_bytes
from torch import nn

from sensorium.core.errors import ConfigError, LockedError, ModelError
from sensorium.training.checkpoint import (
    Position,
    capture_weights,
    load_checkpoint,
    load_weights,
    restore,
    save_checkpoint,
)
from sensorium.training.config import TrainingConfig
from sensorium.training.console import PlainLines, TerminalBar
from sensorium.training.dry_run import dry_run
from sensorium.training.generations import checkpoints, tidy
from sensorium.training.lock import run_lock
from sensorium.training.metrics_log import MetricsLog, read_metrics
from sensorium.training.optimiser import build_adamw, flatten_state, unflatten_state
from sensorium.training.precision import choose, cpu_has_bf16
from sensorium.training.progress import Status, clock
from sensorium.training.schedule import Budget, rate_factor
from sensorium.training.seeding import (
    preserved_random_state,
    random_state,
    restore_random_state,
    seed_everything,
)
from sensorium.training.update import Updater

# Config


def test_without_a_budget_there_are_ten_epochs() -> None:
    assert TrainingConfig().epochs == 10
    assert TrainingConfig(seconds=5).epochs is None
    assert TrainingConfig(max_steps=5).epochs is None


@pytest.mark.parametrize(
    "values",
    [
        {"seconds": 0},
        {"seconds": math.inf},
        {"epochs": 0},
        {"batch_rows": 0},
        {"learning_rate": math.nan},
        {"warmup": 1.0},
        {"clip_norm": 0.0},
        {"precision": "fp16"},
        {"validate_every": "day"},
        {"keep_checkpoints": 0},
        {"learning_rat": 1e-3},
    ],
)
def test_bad_settings_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        TrainingConfig.parse(values)


@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 5))
def test_total_steps_counts_updates(num_batches: int, accumulate: int, epochs: int) -> None:
    counted = sum(1 for _ in range(epochs) for _ in range(0, num_batches, accumulate))
    assert TrainingConfig(epochs=epochs, accumulate=accumulate).total_steps(num_batches) == counted


# Schedule


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_rate_is_a_fraction_of_the_peak(fraction: float, warmup: float) -> None:
    assert 0 <= rate_factor(fraction, warmup) <= 1


def test_rate_at_known_points() -> None:
    points = [(0, 0.01), (0.1, 0.5), (0.2, 1.0), (0.6, 0.5), (1.0, 0.0)]
    assert [rate_factor(f, 0.2) for f, _ in points] == pytest.approx([factor for _, factor in points])
    assert rate_factor(0.0, 0.0) == 1.0


def test_the_nearer_bound_counts() -> None:
    budget = Budget(steps=100, seconds=10.0)
    assert budget.fraction(50, 2.0) == 0.5
    assert budget.fraction(10, 9.0) == 0.9
    assert budget.fraction(500, 1.0) == 1.0
    assert [budget.ended_by(99, 9.9), budget.ended_by(100, 1), budget.ended_by(1, 10)] == [None, "steps", "seconds"]


# Seeds


def draws() -> tuple[Any, ...]:
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_random_state_comes_back(seed: int, num_before: int) -> None:
    seed_everything(seed)
    for _ in range(num_before):
        draws()
    state = random_state()
    state.scalars.update(json.loads(json.dumps(state.scalars)))
    expected = draws()
    seed_everything(seed + 1 if seed < 5 else 0)
    restore_random_state(state)
    assert draws() == expected


def test_seeding_repeats_and_preserving_preserves() -> None:
    seed_everything(5)
    expected = draws()
    seed_everything(5)
    with preserved_random_state():
        draws()
    assert draws() == expected


# Optimiser


def test_only_matrices_and_filters_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Embedding(5, 4), nn.Linear(4, 2))
    model.token = nn.Parameter(torch.zeros(1, 1, 4))
    decayed, others = build_adamw(model, TrainingConfig(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [p.shape for p in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]
    assert len(others["params"]) == 6


def test_parts_may_descend_at_rates_of_their_own() -> None:
    net = new_net()
    net.rate_factors = {name: 3.0 for name, _ in list(net.named_parameters())[:1]}
    first = next(net.parameters())
    updater = Updater(net, build_adamw(net, TrainingConfig()), TrainingConfig(precision="fp32"))
    updater.step(Rows().epoch(0, 0), 0.01)
    groups = updater.optimiser.param_groups
    rates = {group["lr"] for group in groups if not any(p is first for p in group["params"])}
    assert rates == {0.01}
    assert [group["lr"] for group in groups if any(p is first for p in group["params"])] == [0.03]
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in build_adamw(model, TrainingConfig()).param_groups) == 2


def test_optimiser_state_round_trips() -> None:
    def stepped() -> tuple[Any, torch.optim.AdamW]:
        net = new_net()
        optimiser = build_adamw(net, TrainingConfig())
        for batch in Rows().epoch(0, 6):
            net.losses(batch)[0].sum().backward()
            optimiser.step()
        return net, optimiser

    net, optimiser = stepped()
    flat = flatten_state(net, optimiser)
    assert {key.rpartition("/")[2] for key in flat} == {"step", "exp_avg", "exp_avg_sq"}
    other = new_net()
    fresh = build_adamw(other, TrainingConfig())
    unflatten_state(other, fresh, flat)
    again = flatten_state(other, fresh)
    assert flat.keys() == again.keys()
    assert all(torch.equal(flat[key], again[key]) for key in flat)
    with pytest.raises(ModelError, match="does not fit"):
        unflatten_state(other, fresh, {"first.0.weight/exp_avg": torch.zeros(3)})


# Checkpoints


class Counted(nn.Module):
    """A table whose size only fitting knows, beside a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("counts_", torch.zeros(0, dtype=torch.int64))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        self.counts_ = torch.empty_like(state[prefix + "counts_"])
        super()._load_from_state_dict(state, prefix, *rest)


def test_buffers_of_any_size_and_views_are_kept(tmp_path: Path) -> None:
    model = Counted()
    model.counts_ = torch.arange(100)[10:20]
    optimiser = build_adamw(model, TrainingConfig())
    folder = save_checkpoint(tmp_path, model, optimiser, Position(step=3, best_validation=0.1 + 0.2), settings={})
    checkpoint = load_checkpoint(folder)
    fresh = Counted()
    restore(checkpoint, fresh, build_adamw(fresh, TrainingConfig()))
    assert torch.equal(fresh.counts_, torch.arange(10, 20))
    assert checkpoint.position == Position(step=3, best_validation=0.1 + 0.2)


def test_no_pickle_in_a_checkpoint(tmp_path: Path) -> None:
    net = new_net()
    folder = save_checkpoint(
        tmp_path, net, build_adamw(net, TrainingConfig()), Position(step=1, best_step=0), best={}
    )
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


def test_old_generations_go(tmp_path: Path) -> None:
    net = new_net()
    optimiser = build_adamw(net, TrainingConfig())
    for step in (1, 20, 300, 40_000_000):
        save_checkpoint(tmp_path, net, optimiser, Position(step=step), keep=3)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-40000000", "step-0000300", "step-0000020"]


def test_tidy_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    net = new_net()
    whole = save_checkpoint(tmp_path, net, build_adamw(net, TrainingConfig()), Position(step=1))
    for name in (".step-0000002.x1y2", "step-0000002", "step-0000002.damaged"):
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "file").touch()
    tidy(tmp_path, whole)
    assert sorted(path.name for path in whole.parent.iterdir()) == ["step-0000001", "step-0000002.damaged"]


def test_captured_weights_are_copies() -> None:
    net = new_net()
    weights, before = capture_weights(net), weight_bytes(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert weight_bytes(net) != before
    load_weights(net, weights)
    assert weight_bytes(net) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    net = new_net()
    folder = save_checkpoint(tmp_path, net, build_adamw(net, TrainingConfig()), Position(step=1))
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1, "files": {}}))
    (folder / "state.json").write_text("[]")
    with pytest.raises(ModelError, match="not a checkpoint"):
        load_checkpoint(folder)


# Metrics


def test_later_lines_and_half_lines_are_cut(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, after_step=0) as log:
        for step in (1, 2, 5, 9):
            log.write({"step": step, "loss": math.nan if step == 2 else 1 / step})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 5]
    with MetricsLog(tmp_path, after_step=5) as log:
        log.write({"step": 6})
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 5, 6]
    assert list(read_metrics(tmp_path))[1]["loss"] is None
    path.write_bytes(whole + b"\0\0\0\n")
    with MetricsLog(tmp_path, after_step=20) as log:
        log.write({"step": 21})
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 5, 9, 21]


def test_no_metrics_yet(tmp_path: Path) -> None:
    assert list(read_metrics(tmp_path)) == []


# Lock

HOLD = """
import sys, os
from pathlib import Path
from sensorium.core.errors import LockedError
from sensorium.training.lock import run_lock
try:
    with run_lock(Path(sys.argv[1])):
        print("held", flush=True)
        if sys.argv[2:] == ["fork"] and os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        sys.stdin.readline()
except LockedError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def holder(run: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(run), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    return process.communicate("\n", timeout=60)[0]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with run_lock(tmp_path), run_lock(tmp_path):  # nested is fine
        process = holder(tmp_path)
        assert f"another process (id {os.getpid()})" in finish(process)
        assert process.returncode == LockedError.exit_code == 7
    process = holder(tmp_path)
    assert "held" in finish(process)
    assert process.returncode == 0


def test_this_process_is_refused(tmp_path: Path) -> None:
    process = holder(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"id {process.pid}"), run_lock(tmp_path):
        pass
    finish(process)


def test_a_killed_holder_frees_the_run_though_its_child_lives(tmp_path: Path) -> None:
    process = holder(tmp_path, "fork")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    with run_lock(tmp_path):
        pass
    finish(process)


# Console


def status(step: int = 1200, validation: float | None = 0.25) -> Status:
    return Status(0.5, step, 1.5, 0.123456, 3456.7, 61.0, 3601.0, validation)


def test_status_reads_as_a_line() -> None:
    line = "step 1,200  epoch 1.50  loss 0.1235  validation 0.25  3,457 rows/s  1:01  1:00:01 left"
    assert str(status()) == line
    assert clock(59.6) == "1:00"


def test_plain_lines_are_rare_but_the_last_is_there() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, every_s=1000)
    for step in range(5):
        lines.update(status(step))
    lines.note("resumed")
    lines.close()
    lines.close()
    said = stream.getvalue().splitlines()
    assert [line.split("  ")[1] for line in said if "step" in line] == ["step 0", "step 4"]
    assert "resumed" in said


def test_terminal_bar_shows_and_can_be_used_again() -> None:
    stream = io.StringIO()
    bar = TerminalBar(Console(file=stream, force_terminal=True, width=120))
    for _ in range(2):
        bar.update(status())
        bar.note("warning: [bold] 'a.jpg'")
        bar.close()
    assert "50%" in stream.getvalue()
    assert "1:00:01 left" in stream.getvalue()
    assert stream.getvalue().count("warning: [bold] 'a.jpg'") == 2


# Precision, dry run


@pytest.mark.parametrize("has_bf16", [True, False])
def test_precision(has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.training.precision.cpu_has_bf16", lambda: has_bf16)
    small, large = [torch.zeros(10)], [torch.zeros(10), torch.zeros(1000, 1000)]
    assert choose("fp32", large) is None
    assert choose("bf16", small) is torch.bfloat16
    assert choose("auto", small) is None
    assert choose("auto", large) is (torch.bfloat16 if has_bf16 else None)


def test_cpu_has_bf16_agrees_with_the_kernel() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or "flags" not in flags.read_text():
        pytest.skip("this system does not list its CPU's flags")
    words = flags.read_text().split()
    assert cpu_has_bf16() == ("avx512_bf16" in words or "amx_bf16" in words)


def test_dry_run_measures_and_leaves_everything_as_it_was() -> None:
    net = new_net().eval()
    weights, generators = weight_bytes(net), draws_after_seed()
    seed_everything(11)
    result = dry_run(net, Rows(), TrainingConfig(epochs=3, accumulate=2))
    assert (draws(), weight_bytes(net), net.training) == (generators, weights, False)
    assert result.num_parameters == result.num_trainable == sum(p.numel() for p in net.parameters())
    assert result.parameter_bytes == 4 * result.num_parameters + 8 * 5 + 4 * 16
    assert 8 * result.num_trainable <= result.optimiser_bytes <= 8 * result.num_trainable + 4 * 5
    assert result.peak_bytes > 10_000_000
    assert (result.num_batches, result.num_steps) == (8, 12)
    assert result.run_s == pytest.approx(3 * 8 * result.batch_s)
    assert result.epoch_s == pytest.approx(8 * result.batch_s)


def test_dry_run_knows_the_time_budget() -> None:
    result = dry_run(new_net(), Rows(), TrainingConfig(seconds=1e-6, epochs=100))
    assert result.run_s == 1e-6


def draws_after_seed() -> tuple[Any, ...]:
    seed_everything(11)
    return draws()

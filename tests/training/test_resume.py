"""Exact resume: wherever a run is cut, its end is the uninterrupted run's, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_run import SETTINGS, Rows, new_net, run_once, weight_bytes

from sensorium.core.errors import ModelError, UsageError
from sensorium.core.types import Batch
from sensorium.training.config import TrainingConfig
from sensorium.training.generations import checkpoints, latest_whole
from sensorium.training.interrupt import InterruptedTrainingError
from sensorium.training.loop import fit
from sensorium.training.metrics_log import METRICS, read_metrics
from sensorium.training.progress import Silent


class Cut(Exception):
    pass


class CutRows(Rows):
    """Rows whose loader does something to the run at its n-th batch."""

    def __init__(self, at_batch: int, signal_number: int | None = None) -> None:
        super().__init__()
        self.left = at_batch
        self.signal_number = signal_number

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        for batch in super().epoch(epoch, start_batch):
            self.left -= 1
            if self.left == 0:
                if self.signal_number is None:
                    raise Cut
                os.kill(os.getpid(), self.signal_number)
            yield batch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    net, report = run_once(tmp_path_factory.mktemp("whole"))
    assert report.num_steps == 15
    return weight_bytes(net)


@pytest.mark.parametrize("at_batch", range(1, 41, 3))
def test_cut_at_any_batch(at_batch: int, tmp_path: Path, whole: dict[str, bytes]) -> None:
    with pytest.raises(Cut):
        run_once(tmp_path, loader=CutRows(at_batch))
    net, report = run_once(tmp_path, resume=True)
    assert weight_bytes(net) == whole
    assert report.num_steps == 15
    assert [record["step"] for record in read_metrics(tmp_path)] == list(range(1, 16))


@pytest.mark.parametrize(("changes", "num_steps"), [({"max_steps": 7}, 7), ({"patience": 1}, None)])
def test_other_ends(changes: dict[str, int], num_steps: int | None, tmp_path: Path) -> None:
    expected, report = run_once(tmp_path / "whole", **changes)
    assert num_steps in (None, report.num_steps)
    for at_batch in (5, 14):
        run = tmp_path / f"cut-{at_batch}"
        with pytest.raises(Cut):
            run_once(run, loader=CutRows(at_batch), **changes)
        net, again = run_once(run, resume=True, **changes)
        assert weight_bytes(net) == weight_bytes(expected)
        assert (again.num_steps, again.ended_by) == (report.num_steps, report.ended_by)
        assert (again.best_validation, again.best_step) == (report.best_validation, report.best_step)
        assert (again.num_rows, again.num_tokens) == (report.num_rows, report.num_tokens)


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, whole: dict[str, bytes]) -> None:
    run_once(tmp_path)
    before = (tmp_path / METRICS).read_bytes()
    net, report = run_once(tmp_path, resume=True)
    assert weight_bytes(net) == whole
    assert report.ended_by == "epochs"
    assert (tmp_path / METRICS).read_bytes() == before


def test_the_checkpoint_is_what_makes_it_exact(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Without its random.safetensors' content the result differs: the test above can fail."""
    with pytest.raises(Cut):
        run_once(tmp_path, loader=CutRows(20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sensorium.training.loop.restore_random_state", lambda state: None)
        net, _ = run_once(tmp_path, resume=True)
    assert weight_bytes(net) != whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(number: int, tmp_path: Path, whole: dict[str, bytes]) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedTrainingError, match=r"after step 6; everything is saved .*--resume") as caught:
        run_once(tmp_path, loader=CutRows(16, number), checkpoint_every=1000)
    assert caught.value.exit_code == 130
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    net, report = run_once(tmp_path, resume=True, checkpoint_every=1000)
    assert report.resumed_from == tmp_path / "checkpoints/step-0000006"
    assert weight_bytes(net) == whole


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    class Impatient(Rows):
        def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
            for batch in super().epoch(epoch, start_batch):
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                yield batch

    with pytest.raises(KeyboardInterrupt):
        run_once(tmp_path, loader=Impatient())
    assert not checkpoints(tmp_path)


@pytest.mark.parametrize(
    ("file", "damage"),
    [(name, "truncate") for name in ("model", "optimiser", "random", "best", "state", "manifest")]
    + [("optimiser", "flip"), ("random", "remove"), ("manifest", "remove")],
)
def test_a_damaged_newest_falls_back_loudly(file: str, damage: str, tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run_once(tmp_path, loader=CutRows(30), validate_every=3, learning_rate=0.05)
    newest, older = checkpoints(tmp_path)
    (path,) = newest.glob(f"{file}.*")
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncate" else bytes([data[0] ^ 1]) + data[1:])
    found, warnings = latest_whole(tmp_path)
    assert found == older
    assert len(warnings) == 1
    assert newest.name in warnings[0]
    _, report = run_once(tmp_path, resume=True, validate_every=3, learning_rate=0.05)
    assert report.resumed_from == older
    assert report.warnings == warnings
    assert not [
        path.name for path in (tmp_path / "checkpoints").iterdir() if not path.name.startswith("step-00000")
    ]
    assert latest_whole(tmp_path)[1] == []


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    run_once(tmp_path)
    for folder in checkpoints(tmp_path):
        (folder / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match=r"no checkpoint is whole.*step-0000015.*step-0000012"):
        run_once(tmp_path, resume=True)


def test_begun_but_never_saved_begins_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    with pytest.raises(Cut):
        run_once(tmp_path, loader=CutRows(7))
    assert not checkpoints(tmp_path)
    assert len(list(read_metrics(tmp_path))) == 2
    net, report = run_once(tmp_path, resume=True)
    assert report.resumed_from is None
    assert weight_bytes(net) == whole
    assert [record["step"] for record in read_metrics(tmp_path)] == list(range(1, 16))


def test_a_run_with_checkpoints_is_not_overwritten(tmp_path: Path) -> None:
    run_once(tmp_path)
    with pytest.raises(UsageError, match="has checkpoints already"):
        run_once(tmp_path)


def test_other_settings_are_said(tmp_path: Path) -> None:
    run_once(tmp_path)
    _, report = run_once(tmp_path, resume=True, epochs=6, checkpoint_every=2)
    assert len(report.warnings) == 1
    assert "epochs was 5 and is 6 now" in report.warnings[0]
    assert report.num_steps == 18


def test_a_smaller_budget_still_ends_with_a_validation(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run_once(tmp_path, loader=CutRows(14), validate_every=1000)
    _, report = run_once(tmp_path, resume=True, validate_every=1000, max_steps=3)
    assert (report.num_steps, report.best_step) == (4, 4)


def test_another_model_is_refused(tmp_path: Path) -> None:
    run_once(tmp_path)
    net = new_net()
    net.out = net.tied = type(net.out)(16, 7)
    with pytest.raises(ModelError, match="of another model"):
        fit(net, Rows(), TrainingConfig(**SETTINGS), tmp_path, resume=True, progress=Silent())


def killed_runs(folder: Path, kills: int, kills_a_run: int, seed: int) -> dict[str, int]:
    script = Path(__file__).with_name("killed_runs.py")
    command = [sys.executable, str(script), str(folder), str(kills), str(kills_a_run), str(seed)]
    # Threads that spin while they wait would starve each other on a machine that is busy.
    patient = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=patient)
    assert done.returncode == 0, done.stderr
    result: dict[str, int] = json.loads(done.stdout)
    return result


def test_kill_9(tmp_path: Path) -> None:
    result = killed_runs(tmp_path, kills=2, kills_a_run=2, seed=1)
    assert result["kills"] >= 2
    assert result["equal"] == result["runs"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kill_9_at_20_random_moments(tmp_path: Path) -> None:
    result = killed_runs(tmp_path, kills=20, kills_a_run=1, seed=2)
    assert result["kills"] == 20
    assert result["equal"] == result["runs"]

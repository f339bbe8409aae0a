"""Fit a model by gradient, within a budget, so that it can be killed at any moment and go on exactly.

Enters: a model with `losses(batch)`, a loader, a `TrainingConfig`, the run folder.
Leaves: the fitted model (its best weights by validation, if there is one), a `FitReport`, and in the
run folder `metrics.jsonl` and `checkpoints/`.

Exactness: a step is a function of weights, optimiser, generators and position.  All four are in a
checkpoint.  Opening an epoch and validating leave the generators untouched, so it makes no difference
when they happen or how often; when a checkpoint is written makes none either.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from sensorium.core.errors import DataError, UsageError
from sensorium.core.types import Batch
from sensorium.training import precision
from sensorium.training.checkpoint import (
    Position,
    Weights,
    capture_weights,
    checkpoints,
    latest_whole,
    load_checkpoint,
    load_weights,
    restore,
    save_checkpoint,
    tidy,
)
from sensorium.training.config import TrainingConfig
from sensorium.training.interrupt import InterruptedTrainingError, StopRequest
from sensorium.training.lock import locked
from sensorium.training.metrics_log import MetricsLog
from sensorium.training.optimiser import build_adamw
from sensorium.training.progress import Progress, Status, console
from sensorium.training.schedule import Budget, rate_factor
from sensorium.training.seeding import preserved_random_state, restore_random_state
from sensorium.training.update import NameRows, StepResult, Updater, named_memory_errors

LOG_SECONDS = 0.5


class LoaderLike(Protocol):
    """Batches in an order that is a function of the epoch alone."""

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        ...

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield batches start_batch..num_batches-1 of that epoch."""
        ...


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Attributes:
        ended_by: "epochs", "max_steps", "seconds" or "patience".
        num_steps, num_epochs, num_rows, num_tokens, elapsed_s: over all parts of a resumed run.
        loss: nats a token over the last logged moments; None if this part made no step.
        best_validation, best_step: None and -1 without validation.
        rows_per_s: of this part, validation and checkpoints included.
        resumed_from: the checkpoint this part went on from.
        warnings: what was passed over or changed; said on the console too.
    """

    ended_by: str
    num_steps: int
    num_epochs: float
    num_rows: int
    num_tokens: int
    elapsed_s: float
    loss: float | None
    best_validation: float | None
    best_step: int
    rows_per_s: float
    resumed_from: Path | None = None
    warnings: list[str] = field(default_factory=list)


def fit(
    model: nn.Module,
    loader: LoaderLike,
    config: TrainingConfig,
    run: Path,
    *,
    validate: Callable[[], float] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
    name_rows: NameRows | None = None,
) -> FitReport:
    """Fit `model` on `device` within the config's budget.

    Args:
        validate: returns a loss (lower is better) of the model as it is; called without gradient, in
            eval mode.  With it, the model ends with the weights of its best validation.
        resume: go on from the run's newest whole checkpoint; from the beginning if it has none.
        progress: None = a bar on a terminal, plain lines on stderr off one.
        name_rows: turns row numbers into names for messages.

    Raises:
        UsageError: the run has checkpoints and `resume` is not set.
        ModelError: loss or gradient is not finite; the checkpoint is of another model.
        InterruptedTrainingError: Ctrl-C or SIGTERM; a checkpoint was saved.
        LockedError, DataError, DiskError, OutOfMemoryError.
    """
    shown = console() if progress is None else progress
    with locked(run), named_memory_errors(config.batch_rows):
        try:
            return _Fit(model, loader, config, run, validate, shown, torch.device(device), name_rows).run(resume)
        finally:
            shown.close()


class _Fit:
    def __init__(
        self,
        model: nn.Module,
        loader: LoaderLike,
        config: TrainingConfig,
        run: Path,
        validate: Callable[[], float] | None,
        progress: Progress,
        device: torch.device,
        name_rows: NameRows | None,
    ) -> None:
        if loader.num_batches < 1:
            raise DataError("there are no rows to train on")
        self._model = model.to(device)
        self._loader, self._config, self._run = loader, config, run
        self._validate, self._progress = validate, progress
        self._optimiser = build_adamw(model, config.learning_rate, config.weight_decay)
        self._updater = Updater(
            model,
            self._optimiser,
            clip_norm=config.clip_norm,
            dtype=precision.choose(config.precision, device, model),
            device=device,
            compiled=config.compile,
            name_rows=name_rows,
        )
        self._budget = Budget(config.total_steps(loader.num_batches), config.seconds)
        self._position = Position()
        self._best: Weights | None = None
        self._warnings: list[str] = []
        self._resumed_from: Path | None = None

    def run(self, resume: bool) -> FitReport:
        self._begin(resume)
        position = self._position
        with MetricsLog(self._run, position.step) as log, StopRequest(self._say_stopping) as stop:
            self._log, self._stop = log, stop
            self._meter = Meter(position)
            self._saved_step, self._pace = position.step if self._resumed_from else -1, Pace()
            self._model.train()
            while (reason := self._ended_by()) is None:
                self._epoch()
            self._finish()
        return self._report(reason)

    # Beginning

    def _begin(self, resume: bool) -> None:
        if not resume:
            if checkpoints(self._run):
                raise UsageError(
                    "this run has checkpoints", where=str(self._run), advice="resume it, or choose another --out"
                )
            return
        folder, warnings = latest_whole(self._run)
        tidy(self._run, folder)
        for text in warnings:
            self._warn(text)
        if folder is None:
            self._progress.note("no checkpoint yet: training from the beginning")
            return
        checkpoint = load_checkpoint(folder)
        for text in _changes(checkpoint.settings, self._settings()):
            self._warn(text)
        restore(checkpoint, self._model, self._optimiser)
        restore_random_state(checkpoint.random)
        self._position, self._best, self._resumed_from = checkpoint.position, checkpoint.best, folder
        self._progress.note(f"resumed from {folder}")

    def _settings(self) -> dict[str, Any]:
        return {**self._config.model_dump(mode="json"), "num_batches": self._loader.num_batches}

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._progress.note(f"warning: {text}")

    # Running

    def _ended_by(self) -> str | None:
        config, position = self._config, self._position
        if config.patience is not None and position.num_bad_validations >= config.patience:
            return "patience"
        reason = self._budget.ended_by(position.step, self._meter.elapsed_s())
        if reason == "steps":
            return "max_steps" if config.max_steps == self._budget.steps else "epochs"
        return reason

    def _epoch(self) -> None:
        position, epoch = self._position, self._position.epoch
        source = self._loader.epoch(epoch, position.batch)
        try:
            with preserved_random_state():  # loaders may draw when they start
                first = list(itertools.islice(source, 1))
            batches = itertools.chain(first, source)
            while position.epoch == epoch and self._ended_by() is None:
                self._step(batches)
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()

    def _step(self, batches: Iterator[Batch]) -> None:
        position, meter = self._position, self._meter
        num_batches = min(self._config.accumulate, self._loader.num_batches - position.batch)
        group = _exactly(batches, num_batches, self._loader.num_batches)
        fraction = self._budget.fraction(position.step + 0.5, meter.elapsed_s())
        rate = self._config.learning_rate * rate_factor(fraction, self._config.warmup)
        result = self._updater.step(group, rate)
        position.step += 1
        position.batch += num_batches
        if position.batch == self._loader.num_batches:
            position.epoch, position.batch = position.epoch + 1, 0
        position.num_rows += result.num_rows
        position.num_tokens += result.num_tokens
        meter.add(result, rate)
        self._after_step()

    def _after_step(self) -> None:
        config, position = self._config, self._position
        every = config.validate_every
        due = position.batch == 0 if every == "epoch" else position.step % every == 0
        validation = self._validation() if due and self._validate is not None else None
        log_due = self._meter.due() if config.log_every is None else position.step % config.log_every == 0
        if validation is not None or log_due:
            self._write_line(validation)
        save_due = (
            self._pace.due() if config.checkpoint_every is None else position.step % config.checkpoint_every == 0
        )
        if save_due or self._stop.received:
            self._save()
        if self._stop.received:
            raise self._interrupted()

    def _validation(self) -> float:
        assert self._validate is not None
        position = self._position
        self._model.eval()
        try:
            with torch.no_grad(), preserved_random_state():
                value = float(self._validate())
        finally:
            self._model.train()
        position.validated_step = position.step
        if position.best_validation is None or value < position.best_validation:
            if value == value:
                position.best_validation, position.best_step, position.num_bad_validations = value, position.step, 0
                self._best = capture_weights(self._model)
                return value
        position.num_bad_validations += 1
        return value

    def _write_line(self, validation: float | None) -> None:
        position, window = self._position, self._meter.close_window()
        epoch = position.epoch + position.batch / self._loader.num_batches
        record = {"step": position.step, "epoch": round(epoch, 4), **window}
        if validation is not None:
            record["validation"] = validation
        self._log.write(record)
        elapsed = window["elapsed_s"]
        fraction = self._budget.fraction(position.step, elapsed)
        self._progress.update(
            Status(
                fraction=fraction,
                step=position.step,
                epoch=epoch,
                loss=window["loss"],
                rows_per_s=window["rows_per_s"],
                elapsed_s=elapsed,
                left_s=self._meter.left_s(fraction),
                validation=validation if validation is not None else None,
            )
        )

    def _save(self) -> None:
        position = self._position
        position.elapsed_s = self._meter.elapsed_s()
        with self._pace:
            save_checkpoint(
                self._run,
                self._model,
                self._optimiser,
                position,
                best=self._best,
                settings=self._settings(),
                keep=self._config.keep_checkpoints,
            )
        self._saved_step = position.step

    # Ending

    def _finish(self) -> None:
        position = self._position
        if self._validate is not None and position.validated_step != position.step:
            self._write_line(self._validation())
            self._save()
        elif self._saved_step != position.step:
            self._write_line(None)
            self._save()
        if self._stop.received:
            raise self._interrupted()
        if self._best is not None:
            load_weights(self._model, self._best)

    def _say_stopping(self, name: str) -> None:
        self._progress.note(f"{name}: stopping after this step (once more to stop at once, without a checkpoint)")

    def _interrupted(self) -> InterruptedTrainingError:
        return InterruptedTrainingError(
            f"stopped by {self._stop.received} after step {self._position.step}; everything is saved",
            where=str(self._run),
            advice=f"go on with: sensorium train {self._run / 'config.toml'} --out {self._run} --resume",
        )

    def _report(self, reason: str) -> FitReport:
        position = self._position
        return FitReport(
            ended_by=reason,
            num_steps=position.step,
            num_epochs=position.epoch + position.batch / self._loader.num_batches,
            num_rows=position.num_rows,
            num_tokens=position.num_tokens,
            elapsed_s=self._meter.elapsed_s(),
            loss=self._meter.last_loss,
            best_validation=position.best_validation,
            best_step=position.best_step,
            rows_per_s=self._meter.rows_per_s(),
            resumed_from=self._resumed_from,
            warnings=self._warnings,
        )


class Meter:
    """Count what passes between two lines of the log, and keep the run's clock."""

    def __init__(self, position: Position) -> None:
        self._before_s = position.elapsed_s
        self._begun = self._window_begun = time.monotonic()
        self._first_fraction: float | None = None
        self._num_rows_all = 0
        self.last_loss: float | None = None
        self._clear()

    def _clear(self) -> None:
        self._nll, self._num_tokens, self._num_rows, self._rate, self._norm = 0.0, 0, 0, 0.0, 0.0

    def elapsed_s(self) -> float:
        return self._before_s + time.monotonic() - self._begun

    def add(self, result: StepResult, rate: float) -> None:
        self._nll += result.nll
        self._num_tokens += result.num_tokens
        self._num_rows += result.num_rows
        self._num_rows_all += result.num_rows
        self._rate, self._norm = rate, result.grad_norm

    def due(self) -> bool:
        return time.monotonic() - self._window_begun >= LOG_SECONDS

    def close_window(self) -> dict[str, float]:
        now = time.monotonic()
        seconds = max(now - self._window_begun, 1e-9)
        if self._num_tokens:
            self.last_loss = self._nll / self._num_tokens
        line = {
            "loss": self.last_loss if self.last_loss is not None else float("nan"),
            "lr": self._rate,
            "grad_norm": self._norm,
            "rows_per_s": round(self._num_rows / seconds, 1),
            "tokens_per_s": round(self._num_tokens / seconds, 1),
            "elapsed_s": round(self.elapsed_s(), 3),
        }
        self._window_begun = now
        self._clear()
        return line

    def rows_per_s(self) -> float:
        return self._num_rows_all / max(time.monotonic() - self._begun, 1e-9)

    def left_s(self, fraction: float) -> float | None:
        if self._first_fraction is None:
            self._first_fraction, self._fraction_at = fraction, time.monotonic()
            return None
        gained = fraction - self._first_fraction
        return (1 - fraction) * (time.monotonic() - self._fraction_at) / gained if gained > 0 else None


class Pace:
    """Say when a checkpoint is due by time: after 60 s, but at most a fiftieth of the time."""

    def __init__(self, every_s: float = 60.0) -> None:
        self._every_s = every_s
        self._last = time.monotonic()
        self._cost_s = 0.0

    def due(self) -> bool:
        return time.monotonic() - self._last >= max(self._every_s, 50 * self._cost_s)

    def __enter__(self) -> None:
        self._last = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._cost_s, self._last = now - self._last, now


def _exactly(batches: Iterator[Batch], count: int, total: int) -> Iterator[Batch]:
    for _ in range(count):
        batch = next(batches, None)
        if batch is None:
            raise DataError(f"the loader ended early: it promised {total} batches an epoch")
        yield batch


def _changes(before: Any, now: Any) -> list[str]:
    free = {"checkpoint_every", "keep_checkpoints", "log_every", "workers"}
    return [
        f"{key} was {before[key]!r} and is {now[key]!r}: this is not the run it would have been"
        for key in now
        if key in before and key not in free and before[key] != now[key]
    ]

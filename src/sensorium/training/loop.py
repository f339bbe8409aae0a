"""Fit a model by gradient, within a budget, so that it can be killed at any moment and go on exactly.

Enters: a model with `losses(batch)`, a loader, a `TrainingConfig`, the run folder.
Leaves: the fitted model (its best weights by validation, if there is one), a `FitReport`, and in the
run folder `metrics.jsonl` and `checkpoints/`.

Exactness: a step is a function of weights, optimiser, generators and position, and all four are in a
checkpoint.  Opening an epoch, validating and saving leave the generators untouched, so when they
happen makes no difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from sensorium.core.errors import DataError, UsageError
from sensorium.core.memory import WHILE_TRAINING, named_memory_errors
from sensorium.core.types import Batch
from sensorium.training.averaging import WeightAverage
from sensorium.training.checkpoint import (
    Checkpoint,
    Position,
    load_checkpoint,
    require_same_data,
    restore,
    save_checkpoint,
)
from sensorium.training.config import FREE_TO_CHANGE, TrainingConfig
from sensorium.training.console import console_progress
from sensorium.training.generations import checkpoints, latest_whole, tidy
from sensorium.training.interrupt import InterruptedTrainingError, StopRequest
from sensorium.training.lock import run_lock
from sensorium.training.meter import Meter, Pace
from sensorium.training.metrics_log import MetricsLog
from sensorium.training.optimiser import build_adamw
from sensorium.training.progress import Progress, Status
from sensorium.training.schedule import Budget, rate_factor
from sensorium.training.seeding import preserved_random_state, restore_random_state
from sensorium.training.update import NameRows, StepResult, Updater
from sensorium.training.validation import Validation


class LoaderLike(Protocol):
    """Batches in an order that is a function of the epoch alone, whatever the generators' state."""

    @property
    def num_batches(self) -> int:
        """Count the batches of an epoch."""
        ...

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield batches start_batch..num_batches-1 of that epoch, each of them.

        A batch whose rows all turned out bad comes with no rows: a position is a count of batches.
        """
        ...


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Attributes:
        ended_by: "epochs", "max_steps", "seconds" or "patience".
        num_steps, num_epochs, num_rows, num_tokens, elapsed_s: over all parts of a resumed run.
        loss: nats a token over the last logged moments; None if this part made no step.
        best_validation, best_step: None and -1 without validation.
        best_is_average: whether the model was left with averaged weights.
        rows_per_s: of this part, validation and checkpoints included.
        resumed_from: the checkpoint this part went on from.
        warnings: what was passed over or changed; said by `progress` too.
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
    best_is_average: bool
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
    data: Mapping[str, str] | None = None,
) -> FitReport:
    """Fit `model` on `device` within the config's budget.

    Args:
        validate: returns a loss (lower is better) of the model as it is; called without gradient, in
            eval mode.  With it, the model ends with the weights of its best validation.
        resume: go on from the run's newest whole checkpoint; from the beginning if it has none.
        progress: None = a bar on a terminal, plain lines on stderr off one.
        name_rows: turns row numbers into places a person can find, for messages.
        data: a digest of each thing that the weights depend on beside the config, by what it is; a checkpoint keeps
            them, and is not gone on from with others.

    Raises:
        UsageError: the run has checkpoints and `resume` is not set.
        ModelError: loss or gradient is not finite; no checkpoint is whole, or it is of another model.
        InterruptedTrainingError: Ctrl-C or SIGTERM came; a checkpoint was saved.
        LockedError, DataError, DiskError, OutOfMemoryError: as their names say.
    """
    shown = console_progress() if progress is None else progress
    with run_lock(run), named_memory_errors(config.batch_rows, WHILE_TRAINING):
        try:
            past = _past(run, resume, shown, data or {})
            updater = Updater(model.to(device), build_adamw(model, config), config, name_rows)
            with StopRequest(lambda name: shown.note(_STOPPING.format(name))) as stop:
                return _Fit(updater, loader, config, run, validate, shown, stop, past, data or {}).run()
        finally:
            shown.close()


_STOPPING = "{}: stopping after this step (a second one stops at once, without a checkpoint)"


@dataclass(frozen=True)
class _Past:
    """What a run has behind it: nothing, or a checkpoint and what was passed over to reach it."""

    folder: Path | None = None
    checkpoint: Checkpoint | None = None
    warnings: list[str] = field(default_factory=list)


def _past(run: Path, resume: bool, progress: Progress, data: Mapping[str, str]) -> _Past:
    if not resume:
        if checkpoints(run):
            raise UsageError(
                "this run has checkpoints already", where=str(run), advice="resume it, or choose another --out"
            )
        return _Past()
    folder, warnings = latest_whole(run)
    tidy(run, folder)
    if folder is None:
        progress.note("no checkpoint yet: training from the beginning")
        return _Past()
    require_same_data(run, data)
    return _Past(folder, load_checkpoint(folder), warnings)


class _Fit:
    """One part of a run: from where it stands to its end, a stop or an error."""

    def __init__(
        self,
        updater: Updater,
        loader: LoaderLike,
        config: TrainingConfig,
        run: Path,
        validate: Callable[[], float] | None,
        progress: Progress,
        stop: StopRequest,
        past: _Past,
        data: Mapping[str, str],
    ) -> None:
        if loader.num_batches < 1:
            raise DataError("there are no rows to train on", where=str(run))
        self._updater, self._loader, self._config, self._run = updater, loader, config, run
        self._progress, self._stop, self._past, self._data = progress, stop, past, data
        self._settings = {**config.model_dump(mode="json"), "num_batches": loader.num_batches}
        self._warnings: list[str] = []
        self._position = Position() if past.checkpoint is None else past.checkpoint.position
        self._average = _averaged(updater.model, config, past.checkpoint)
        self._validation = Validation(
            updater.model,
            validate,
            every=config.validate_every,
            patience=config.patience,
            position=self._position,
            best=None if past.checkpoint is None else past.checkpoint.best,
            average=self._average,
        )
        self._budget = Budget(config.total_steps(loader.num_batches), config.seconds)

    def run(self) -> FitReport:
        """Train to the end, save, and leave the best weights."""
        self._take_up()
        self._meter, self._pace = Meter(self._position.elapsed_s), Pace()
        self._updater.model.train()
        self._ended_by = self._used_up()
        with MetricsLog(self._run, after_step=self._position.step) as self._log:
            while self._ended_by is None:
                self._epoch()
        if self._validation.is_missing():  # only if a resumed run was given a smaller budget
            self._validate()
            self._save()
        self._validation.leave_best()
        return self._report(self._ended_by)

    def _take_up(self) -> None:
        """Put everything back as the checkpoint has it, the generators last."""
        for text in self._past.warnings:
            self._warn(text)
        if (checkpoint := self._past.checkpoint) is not None:
            for text in _changes(checkpoint.settings, self._settings):
                self._warn(text)
            restore(checkpoint, self._updater.model, self._updater.optimiser)
            restore_random_state(checkpoint.random)
            self._progress.note(f"resumed from {self._past.folder}")

    def _used_up(self) -> str | None:
        """Name the budget that is used up, if any."""
        if self._validation.is_exhausted():
            return "patience"
        bound = self._budget.ended_by(self._position.step, self._meter.elapsed_s())
        if bound == "steps":
            return "max_steps" if self._config.max_steps == self._budget.steps else "epochs"
        return bound

    def _epoch(self) -> None:
        """Train from where the position is to the end of its epoch, or of the run."""
        epoch = self._position.epoch
        source = self._loader.epoch(epoch, self._position.batch)
        try:
            with preserved_random_state():  # loaders may draw when they start
                first = list(itertools.islice(source, 1))
            batches = itertools.chain(first, source)
            while self._position.epoch == epoch and self._ended_by is None:
                self._step(batches)
                self._after_step()
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()

    def _step(self, batches: Iterator[Batch]) -> None:
        position, config = self._position, self._config
        num_batches = min(config.accumulate, self._loader.num_batches - position.batch)
        fraction = self._budget.fraction(position.step + 0.5, self._meter.elapsed_s())
        rate = config.learning_rate * rate_factor(fraction, config.warmup)
        result = self._updater.step(self._exactly(num_batches, batches), rate)
        self._meter.add(result)
        self._advance(num_batches, result)
        if self._average is not None:
            self._average.update(position.step)

    def _exactly(self, count: int, batches: Iterator[Batch]) -> Iterator[Batch]:
        for _ in range(count):
            if (batch := next(batches, None)) is None:
                promised = self._loader.num_batches
                raise DataError(f"the loader ended an epoch before the {promised} batches it promised")
            yield batch

    def _advance(self, num_batches: int, result: StepResult) -> None:
        position = self._position
        position.step += 1
        position.batch += num_batches
        if position.batch == self._loader.num_batches:
            position.epoch, position.batch = position.epoch + 1, 0
        position.num_rows += result.num_rows
        position.num_tokens += result.num_tokens

    def _after_step(self) -> None:
        """Do what is due after a step: validation, a line of the log, a checkpoint, the end."""
        self._ended_by = self._used_up()
        validates = self._validation.is_due() or (self._ended_by is not None and self._validation.is_missing())
        if validates:
            self._validate()
            if self._ended_by is None and self._validation.is_exhausted():
                self._ended_by = "patience"
        is_last = self._ended_by is not None or self._stop.received is not None
        if is_last or validates or self._is_due(self._config.log_every, self._meter.is_line_due):
            self._write_line()
        if is_last or self._is_due(self._config.checkpoint_every, self._pace.is_due):
            self._save()
        if self._stop.received is not None:
            raise self._interrupted()

    def _is_due(self, every: int | None, by_time: Callable[[], bool]) -> bool:
        return by_time() if every is None else self._position.step % every == 0

    def _validate(self) -> None:
        loss = self._validation.run()
        if loss != loss:
            self._warn(f"validation after step {self._position.step} is NaN")

    def _write_line(self) -> None:
        position = self._position
        means = self._meter.close_window()
        record = {"step": position.step, "epoch": round(self._num_epochs(), 4), **asdict(means)}
        if position.validated_step == position.step:
            record["validation"] = position.validation
            if position.average_validation is not None:
                record["validation_of_average"] = position.average_validation
        self._log.write(record)
        fraction = self._budget.fraction(position.step, means.elapsed_s)
        self._progress.update(
            Status(
                fraction=fraction,
                step=position.step,
                epoch=self._num_epochs(),
                loss=means.loss,
                rows_per_s=means.rows_per_s,
                elapsed_s=means.elapsed_s,
                left_s=self._meter.left_s(fraction),
                validation=position.validation,
            )
        )

    def _num_epochs(self) -> float:
        return self._position.epoch + self._position.batch / self._loader.num_batches

    def _save(self) -> None:
        self._position.elapsed_s = self._meter.elapsed_s()
        with self._pace:
            save_checkpoint(
                self._run,
                self._updater.model,
                self._updater.optimiser,
                self._position,
                best=self._validation.best,
                average=None if self._average is None else self._average.weights,
                settings=self._settings,
                data=self._data,
                keep=self._config.keep_checkpoints,
            )

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._progress.note(f"warning: {text}")

    def _interrupted(self) -> InterruptedTrainingError:
        return InterruptedTrainingError(
            f"stopped by {self._stop.received} after step {self._position.step}; everything is saved",
            where=str(self._run),
            advice=f"go on with: sensorium train {self._run / 'config.toml'} --out {self._run} --resume",
        )

    def _report(self, ended_by: str) -> FitReport:
        position = self._position
        return FitReport(
            ended_by=ended_by,
            num_steps=position.step,
            num_epochs=self._num_epochs(),
            num_rows=position.num_rows,
            num_tokens=position.num_tokens,
            elapsed_s=self._meter.elapsed_s(),
            loss=self._meter.loss,
            best_validation=position.best_validation,
            best_step=position.best_step,
            best_is_average=position.best_is_average,
            rows_per_s=self._meter.rows_per_s(),
            resumed_from=self._past.folder,
            warnings=self._warnings,
        )


def _averaged(model: nn.Module, config: TrainingConfig, past: Checkpoint | None) -> WeightAverage | None:
    if config.average is None:
        return None
    return WeightAverage(model, config.average_decay, None if past is None else past.average)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} was {before.get(key)!r} and is {value!r} now: this is not the run it would have been"
        for key, value in now.items()
        if key not in FREE_TO_CHANGE and before.get(key) != value
    ]

"""Two batches, then what a whole run would take: memory and time.

Enters: what `fit` would be given.  Leaves: a `DryRun`; the model's weights, buffers and the
generators are as they were, and no file is written.
"""

from __future__ import annotations

import itertools
import resource
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.core.errors import DataError
from sensorium.core.memory import WHILE_TRAINING, named_memory_errors
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import LoaderLike
from sensorium.training.optimiser import build_adamw
from sensorium.training.seeding import preserved_random_state
from sensorium.training.update import NameRows, Updater


@dataclass(frozen=True)
class DryRun:
    """What two batches cost, and what follows from it.

    Attributes:
        num_parameters, num_trainable: numbers in the model; those that are fitted by gradient.
        parameter_bytes, optimiser_bytes: of all weights and buffers; of AdamW's state.
        peak_bytes: the largest resident set of this process so far (on CUDA: of the device's memory).
        first_batch_s, batch_s: the first has one-time costs (allocation, compilation).
        num_batches: of an epoch.
        num_steps: of the run, None if only a time budget bounds it.
        rows_per_s: loading included.
        epoch_s, run_s: estimates, validation and checkpoints not included.
    """

    num_parameters: int
    num_trainable: int
    parameter_bytes: int
    optimiser_bytes: int
    peak_bytes: int
    first_batch_s: float
    batch_s: float
    num_batches: int
    num_steps: int | None
    rows_per_s: float
    epoch_s: float
    run_s: float


def dry_run(
    model: nn.Module,
    loader: LoaderLike,
    config: TrainingConfig,
    *,
    device: str | torch.device = "cpu",
    name_rows: NameRows | None = None,
) -> DryRun:
    """Make two whole steps at learning rate 0, and measure them.

    Raises:
        ModelError, DataError, OutOfMemoryError: what training would raise on these batches.
    """
    was_training = model.training
    with preserved_random_state(), named_memory_errors(config.batch_rows, WHILE_TRAINING):
        updater = Updater(model.to(device).train(), build_adamw(model, config), config, name_rows)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        try:
            seconds, num_rows = _time_steps(updater, loader)
        finally:
            _put_back(model, buffers)
            model.train(was_training)
    return _estimate(updater, loader.num_batches, config, seconds, num_rows)


def _time_steps(updater: Updater, loader: LoaderLike) -> tuple[list[float], int]:
    seconds: list[float] = []
    num_rows = 0
    source = loader.epoch(0, 0)
    try:
        for _ in range(2):
            begun = time.monotonic()
            # Weights stay: AdamW at rate 0 multiplies by 1 and adds 0.  All the rest is as in training.
            batches = list(itertools.islice(source, 1))
            if batches:
                num_rows = updater.step(batches, rate=0.0).num_rows
                seconds.append(time.monotonic() - begun)
    finally:
        if (close := getattr(source, "close", None)) is not None:
            close()
    if not seconds:
        raise DataError("there are no rows to train on")
    return seconds, num_rows


def _estimate(
    updater: Updater, num_batches: int, config: TrainingConfig, seconds: list[float], num_rows: int
) -> DryRun:
    model, batch_s = updater.model, seconds[-1]
    tensors = [*model.parameters(), *model.buffers()]
    num_steps = config.total_steps(num_batches)
    by_steps = float("inf") if num_steps is None else num_steps * batch_s * min(config.accumulate, num_batches)
    return DryRun(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        parameter_bytes=sum(_num_bytes(t) for t in tensors),
        optimiser_bytes=sum(_num_bytes(t) for slots in updater.optimiser.state.values() for t in slots.values()),
        peak_bytes=_peak_bytes(tensors[0].device),
        first_batch_s=seconds[0],
        batch_s=batch_s,
        num_batches=num_batches,
        num_steps=num_steps,
        rows_per_s=num_rows / max(batch_s, 1e-9),
        epoch_s=num_batches * batch_s,
        run_s=min(by_steps, float("inf") if config.seconds is None else config.seconds),
    )


def _put_back(model: nn.Module, buffers: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in buffers and buffers[name].shape == buffer.shape:
                buffer.copy_(buffers[name])
    model.zero_grad(set_to_none=True)


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB

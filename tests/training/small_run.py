"""A small run that draws from every generator, and a loader for it; shared by the tests of training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.core.types import Batch, MediaBatch
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import FitReport, fit
from sensorium.training.progress import Progress, Silent
from sensorium.training.seeding import seed_everything


class Rows:
    """60 rows of six numbers and a text of 1 to 4 tokens each, in memory."""

    def __init__(self, num_rows: int = 60, batch_rows: int = 8) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x_ND = torch.randn(num_rows, 6, generator=generator)
        self.length_N = torch.randint(1, 5, (num_rows,), generator=generator)
        word_N = (self.x_ND.sum(1) > 0).long() + 4
        self.token_NT = torch.cat([torch.ones(num_rows, 1).long(), word_N[:, None].expand(-1, 4)], 1)
        self.batch_rows = batch_rows

    @property
    def num_batches(self) -> int:
        return -(-len(self.x_ND) // self.batch_rows)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        order = torch.randperm(len(self.x_ND), generator=torch.Generator().manual_seed(epoch))
        torch.rand(3)  # as DataLoader does when it starts: the loop has to put up with it
        for row_B in order.split(self.batch_rows)[start_batch:]:
            yield self.batch(row_B)

    def batch(self, row_B: Tensor) -> Batch:
        mask_BT = torch.arange(5) <= self.length_N[row_B, None]
        media = MediaBatch(self.x_ND[row_B], None, torch.arange(len(row_B)))
        return Batch(row_B, {"x": media}, self.token_NT[row_B], mask_BT)


class Net(nn.Module):
    """A classifier of each position, with dropout, a running mean, tied weights and a table.

    Its operations run on one thread at this size, so that the tests are quick on a busy machine.
    """

    def __init__(self, noise: bool = True) -> None:
        super().__init__()
        self.noise = noise
        self.first = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.dropout = nn.Dropout(0.3 if noise else 0.0)
        self.position = nn.Embedding(5, 16)
        self.out = nn.Linear(16, 6)
        self.tied = self.out
        self.register_buffer("counts_", torch.arange(5))
        self.register_buffer("mean_D", torch.zeros(16))

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.token_BT is not None
        assert batch.mask_BT is not None
        x_BD = self.first(batch.inputs["x"].values)
        if self.training:
            self.mean_D.lerp_(x_BD.detach().float().mean(0), 0.1)
        x_BD = x_BD - self.mean_D
        if self.noise and self.training:
            x_BD = x_BD * (1 + 0.1 * random.random() + 0.1 * float(np.random.rand()))
        logits_BTV = self.out(self.dropout(x_BD[:, None] + self.position.weight[:-1]))
        target_BT, mask_BT = batch.token_BT[:, 1:], batch.mask_BT[:, 1:]
        nll_BT = -logits_BTV.log_softmax(-1).gather(-1, target_BT[..., None]).squeeze(-1)
        return (nll_BT * mask_BT).sum(1), mask_BT.sum(1)


SETTINGS: dict[str, Any] = {
    "epochs": 5,
    "accumulate": 3,
    "learning_rate": 0.01,
    "checkpoint_every": 4,
    "validate_every": 2,
    "log_every": 1,
}


def new_net(noise: bool = True) -> Net:
    seed_everything(3)
    return Net(noise)


def held_out_loss(net: Net) -> float:
    torch.rand(1), random.random()  # validation may draw; training must not notice
    nll_B, num_tokens_B = net.losses(Rows(num_rows=90).batch(torch.arange(60, 90)))
    return float(nll_B.sum() / num_tokens_B.sum())


def run_once(
    run: Path, *, resume: bool = False, loader: Any = None, progress: Progress | None = None, **changes: Any
) -> tuple[Net, FitReport]:
    """Begin, or go on with, the same run in `run`; returns the fitted model."""
    net = new_net()
    report = fit(
        net,
        loader or Rows(),
        TrainingConfig(**{**SETTINGS, **changes}),
        run,
        validate=lambda: held_out_loss(net),
        resume=resume,
        progress=progress or Silent(),
    )
    return net, report


def weight_bytes(net: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in net.state_dict().items()}

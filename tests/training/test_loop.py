"""The loop against its own uninterrupted self, on a small model with dropout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sensorium.core.types import Batch, MediaBatch
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import fit
from sensorium.training.progress import Silent
from sensorium.training.seeding import seed_everything


class Rows:
    def __init__(self, num_rows: int = 60, batch_rows: int = 8) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(num_rows, 6, generator=generator)
        self.y = (self.x.sum(1) > 0).long() + 4
        self.batch_rows = batch_rows

    @property
    def num_batches(self) -> int:
        return -(-len(self.x) // self.batch_rows)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(self.batch_rows)[start_batch:]:
            media = MediaBatch(self.x[rows], None, torch.arange(len(rows)))
            token = torch.stack([torch.ones_like(self.y[rows]), self.y[rows]], 1)
            yield Batch(rows, {"x": media}, token, torch.ones_like(token, dtype=torch.bool))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 6))

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.token_BT is not None
        logits = self.layers(batch.inputs["x"].values)
        target = batch.token_BT[:, 1]
        return nn.functional.cross_entropy(logits, target, reduction="none"), torch.ones_like(target)


@pytest.fixture
def net() -> Net:
    seed_everything(3)
    return Net()


def test_learns(net: Net, tmp_path: Path) -> None:
    report = fit(net, Rows(), TrainingConfig(epochs=30, learning_rate=0.01), tmp_path, progress=Silent())
    assert report.ended_by == "epochs"
    assert report.num_steps == 30 * 8
    assert report.loss is not None
    assert report.loss < 0.3

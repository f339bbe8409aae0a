"""Refitting on held-out rows: what changes, what stays, exact resume, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.language.ngram import Ngram
from sensorium.training.progress import Silent, Status
from sensorium.workflow.config import load_config
from sensorium.workflow.refitting import FOLDER, JoinedLoaders
from sensorium.workflow.train import train

CHANGES = (
    'language.scorers=["transformer", "ngram"]',
    "evaluation.baselines=false",
    "training.max_steps=8",
    "training.log_every=1",
    "training.checkpoint_every=1",
)


@pytest.fixture
def tested(shapes_folder: Path, tmp_path: Path) -> Path:
    """The shapes, with the same rows to be judged on: what is under test here is fitting."""
    folder = tmp_path / "shapes"
    shutil.copytree(shapes_folder, folder)
    text = (folder / "shapes.toml").read_text().replace("[data]\n", '[data]\ntest = "shapes.csv"\n', 1)
    (folder / "shapes.toml").write_text(text)
    return folder


def run(folder: Path, out: Path, *changes: str, progress=None, resume: bool = False):
    config = load_config(folder / "shapes.toml", [*CHANGES, *changes])
    return train(config, out=out, progress=progress or Silent(), resume=resume)


def test_counts_know_all_rows_in_the_end_and_the_rest_stays(tested, tmp_path):
    plain = run(tested, tmp_path / "plain")
    refitted = run(tested, tmp_path / "refitted", "training.refit_counts=true")
    assert refitted.fitted.weights == plain.fitted.weights
    assert "refitting" in refitted.fitted.seconds
    model, prepared = refitted.prepared.model, refitted.prepared
    both = [*prepared.train.targets(), *prepared.validation.targets()]
    whole = Ngram(model.config.scorers["ngram"][1], model.vocab, width=1).fit(both)
    for name, table in whole.state_dict().items():
        assert torch.equal(table, model.parts["ngram"].state_dict()[name])
    before, after = plain.prepared.model.state_dict(), model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("scorer.parts.1"))
    assert not torch.equal(before["scorer.parts.1.log_p_"], after["scorer.parts.1.log_p_"])


def test_the_network_reads_the_held_out_rows_within_the_budget(tested, tmp_path):
    result = run(tested, tmp_path / "run", "training.refit_share=0.5", "training.refit_counts=true")
    assert result.fitted.report.num_steps == 4
    steps = sorted(path.name for path in (tmp_path / "run" / FOLDER / "checkpoints").iterdir())
    assert steps[-1].endswith("4")


class CutError(Exception):
    pass


class CutSecond(Silent):
    """Progress that ends the run in its second descent."""

    descents = 1

    def update(self, status: Status) -> None:
        if self.descents == 2 and status.step == 3:
            raise CutError

    def close(self) -> None:
        self.descents += 1


def test_a_run_cut_in_its_second_descent_ends_as_the_whole_one(tested, tmp_path):
    share = ("training.refit_share=0.5", "training.refit_counts=true", "fusion.input_dropout=0.3")
    whole = run(tested, tmp_path / "whole", *share)
    with pytest.raises(CutError):
        run(tested, tmp_path / "cut", *share, progress=CutSecond())
    resumed = run(tested, tmp_path / "cut", *share, resume=True)
    one, two = (r.prepared.model.state_dict() for r in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


class Numbers:
    """A loader of numbers in place of batches."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.num_batches = first, count

    def epoch(self, epoch: int, start_batch: int = 0):
        return iter(range(self.first + start_batch, self.first + self.num_batches))


def test_joined_loaders_give_every_batch_once_and_go_on_anywhere():
    joined = JoinedLoaders([Numbers(0, 7), Numbers(100, 3)], seed=1)
    whole = list(joined.epoch(4))
    assert joined.num_batches == 10
    assert sorted(whole) == [*range(7), 100, 101, 102]
    assert whole != list(joined.epoch(5))
    for start in range(11):
        assert list(joined.epoch(4, start)) == whole[start:]


def test_a_run_that_could_be_judged_on_nothing_else_is_refused(shapes):
    for change in ("training.refit_counts=true", "training.refit_share=0.2"):
        with pytest.raises(ConfigError, match="no others"):
            train(load_config(shapes / "shapes.toml", [*CHANGES, change]), progress=Silent())
    with pytest.raises(ConfigError, match="no fold"):
        load_config(shapes / "shapes.toml", [*CHANGES, 'language.train="through"', "training.refit_share=0.2"])

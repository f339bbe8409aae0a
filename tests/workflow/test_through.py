"""Training through counts in whole runs: folds, every mix, exact resume, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.types import Sample
from sensorium.data.corpus import Corpus
from sensorium.training.progress import Silent, Status
from sensorium.workflow.config import load_config
from sensorium.workflow.left_out import folds
from sensorium.workflow.prepare import prepare
from sensorium.workflow.train import train

THROUGH = (
    'language.scorers=["transformer", "ngram"]',
    'language.train="through"',
    "language.folds=3",
    "evaluation.baselines=false",
    "training.max_steps=8",
    "training.validate_every=3",
    "training.log_every=1",
    "training.checkpoint_every=1",
)


class CutError(Exception):
    pass


class CutAt(Silent):
    """Progress that ends the run at a step, before its checkpoint is written."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, status: Status) -> None:
        if status.step == self.step:
            raise CutError


def config(shapes: Path, *changes: str):
    return load_config(shapes / "shapes.toml", [*THROUGH, *changes])


@pytest.mark.parametrize("mix", ["linear", "product"])
@pytest.mark.parametrize("step", [3, 5])
def test_a_run_that_was_cut_ends_as_the_whole_one(shapes, tmp_path, mix, step):
    chosen = config(shapes, f"language.mix={mix}")
    whole = train(chosen, out=tmp_path / "whole", progress=Silent())
    assert whole.prepared.model.through is None
    with pytest.raises(CutError):
        train(chosen, out=tmp_path / "cut", progress=CutAt(step))
    resumed = train(chosen, out=tmp_path / "cut", progress=Silent(), resume=True)
    assert resumed.fitted.report.resumed_from is not None
    one, two = (r.prepared.model.state_dict() for r in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_training_through_counts_is_another_training_and_saves_the_same_tensors(shapes, tmp_path):
    runs = [
        train(config(shapes, *changes, "language.mix=gate"), out=tmp_path / how, progress=Silent())
        for how, changes in (("alone", ["language.train=alone", "language.folds=5"]), ("through", []))
    ]
    alone, through = (run.prepared.model.state_dict() for run in runs)
    assert alone.keys() == through.keys()
    assert not all(torch.equal(alone[name], through[name]) for name in alone if name.startswith("encoders"))
    assert "counting by folds" in runs[1].fitted.seconds


def test_rows_that_share_a_photo_share_a_fold_and_the_deal_is_even(shapes):
    corpus = prepare(config(shapes)).train
    fold_N = folds(corpus, 3)
    assert np.array_equal(fold_N, folds(corpus, 3))
    for photo in np.unique(corpus.group_N("photo")):
        rows = np.flatnonzero(corpus.group_N("photo") == photo)
        assert photo < 0 or len(set(fold_N[rows].tolist())) == 1
    groups = {(int(p), int(f)) for p, f in zip(corpus.group_N("photo"), fold_N, strict=True) if p >= 0}
    sizes = np.bincount([f for _, f in groups])
    assert sizes.max() - sizes.min() <= 8


def test_rows_in_another_order_are_dealt_to_the_same_folds(tmp_path):
    rows = [f"some {i % 40} words,{i % 3}" for i in range(60)]
    section = '[inputs.text]\nmodality="text"\nencoder="bag_of_words"\n[target]\ncolumn="label"\ntask="classify"\n'

    def dealt(name, ordered):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *ordered, ""]), encoding="utf-8")
        data = f'[data]\ntrain="{name}.csv"\nvalidation="{name}.csv"\ncache=""\n'
        (tmp_path / f"{name}.toml").write_text(data + section, encoding="utf-8")
        fold_N = folds(prepare(load_config(tmp_path / f"{name}.toml")).train, 4)
        return sorted(zip(ordered, fold_N.tolist(), strict=True))

    assert dealt("one", rows) == dealt("other", np.random.default_rng(0).permutation(rows).tolist())


def test_what_cannot_be_trained_through_is_refused(shapes):
    with pytest.raises(ConfigError, match="a scorer that counts"):
        config(shapes, 'language.scorers=["transformer"]')
    with pytest.raises(DataError, match="folds"):
        folds(Corpus.from_samples([Sample("one", {}, "yes")], {}), 3)


def test_naive_bayes_leaves_its_rows_out_too(shapes, tmp_path):
    changes = ["target.task=classify", 'language.scorers=["transformer", "naive_bayes"]']
    result = train(config(shapes, *changes), out=tmp_path / "run", progress=Silent())
    assert 0 < sum(result.fitted.weights.values()) < 1.001

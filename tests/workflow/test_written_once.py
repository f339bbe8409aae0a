"""A run writes its model once; the card alone is exchanged when it has been judged."""

from __future__ import annotations

import json

import pytest

from sensorium.core.commit import verify
from sensorium.model import saving, saving_tasks
from sensorium.training.progress import Silent
from sensorium.workflow.tasks_config import any_from_text
from sensorium.workflow.tasks_train import train_any

CONFIG = """
[data]
train = "t.csv"
validation = "t.csv"
cache = ""
[inputs.text]
modality = "text"
encoder = "bag_of_words"
[fusion]
width = 8
[language]
scorers = ["ngram"]
[training]
max_steps = 1
[evaluation]
report = false
baselines = false
"""
ONE = '[target]\ncolumn = "label"\ntask = "classify"\n'
SEVERAL = "".join(f'[tasks.{name}.target]\ncolumn = "label"\ntask = "classify"\n' for name in "ab")


@pytest.mark.parametrize("target", [ONE, SEVERAL], ids=["one task", "several tasks"])
def test_weights_are_written_once_and_the_card_says_what_was_measured(tmp_path, monkeypatch, target):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"w{i % 3},{'xy'[i % 2]}\n" for i in range(24)))
    written = []
    for module in (saving, saving_tasks):
        whole = module.save_file

        def counted(tensors, path, whole=whole):
            written.append(path)
            whole(tensors, path)

        monkeypatch.setattr(module, "save_file", counted)
    train_any(any_from_text(CONFIG + target, tmp_path, "t.toml"), out=tmp_path / "run", progress=Silent())
    assert len(written) == 1
    model = tmp_path / "run" / "model"
    verify(model)
    card = (model / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    assert all(name.rpartition("/")[2] in card for name in metrics)
    assert {path.name for path in model.parent.iterdir() if path.name.startswith(".model")} == set()

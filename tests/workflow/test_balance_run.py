"""A strong input silences a weak one that could answer too; balance lets both speak."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from sensorium.core.errors import ConfigError
from sensorium.training.progress import Silent
from sensorium.workflow.api import Sensorium
from sensorium.workflow.config import config_from_text
from sensorium.workflow.prepare import prepare

CONFIG = """
[data]
train = "train.csv"
test = "test.csv"
cache = ""
[inputs.strong]
modality = "text"
encoder = "gru"
[inputs.weak]
modality = "text"
encoder = "gru"
[target]
column = "y"
task = "classify"
[fusion]
width = 16
[language]
scorers = ["readout"]
[training]
epochs = 20
batch_rows = 32
learning_rate = 0.01
[evaluation]
baselines = false
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose one text names the class, while the other says it as the sum of two numbers modulo 3."""
    folder, rng = tmp_path_factory.mktemp("balance"), random.Random(0)
    for name, num_rows in (("train.csv", 300), ("test.csv", 100)):
        pairs = [(rng.randrange(3), rng.randrange(3)) for _ in range(num_rows)]
        rows = [(f"it is y{(p + q) % 3}", f"p{p} q{q}", f"y{(p + q) % 3}") for p, q in pairs]
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("strong", "weak", "y"), *rows])
    return folder


def accuracy(table: Path, out: Path, balance: str) -> dict[str, float]:
    (table / "run.toml").write_text(CONFIG.replace("width = 16", f"width = 16\n{balance}"), encoding="utf-8")
    model = Sensorium.from_config(table / "run.toml").fit(out=out, progress=Silent())
    shown = {"both": None, "weak": ["weak"], "strong": ["strong"]}
    return {name: model.evaluate(only=only).metrics["accuracy"] for name, only in shown.items()}


@pytest.mark.parametrize("balance", ["[fusion.balance]", '[fusion.balance]\nmethod = "fixed"\nfused = 2.0'])
def test_the_weak_input_alone_predicts_better_with_balance(table, tmp_path, balance):
    without = accuracy(table, tmp_path / "without", "")
    with_balance = accuracy(table, tmp_path / "with", balance)
    assert without["both"] == with_balance["both"] == 1.0
    assert without["weak"] < 0.6
    assert with_balance["weak"] > without["weak"] + 0.3


def test_configs_and_models_without_two_inputs_have_none(table):
    def config(balance: str):
        return config_from_text(CONFIG.replace("width = 16", f"width = 16\n{balance}"), table, "my.toml")

    for balance in ('[fusion.balance]\ninputs = ["wek"]', "[fusion.balance]\nweights = {wek = 1.0}"):
        with pytest.raises(ConfigError, match="did you mean 'weak'"):
            config(balance)
    with pytest.raises(ConfigError, match="method"):
        config('[fusion.balance]\nmethod = "blended"')
    alone = config("[fusion.balance]")
    assert alone.model.only(["weak"]).fusion.balance is None
    assert prepare(alone).model.balance.weights == pytest.approx({"strong": 1 / 3, "weak": 1 / 3, "fused": 1 / 3})

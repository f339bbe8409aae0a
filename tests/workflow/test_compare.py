"""Fusions compared on a small table: same budget for all, kept results, a tested verdict."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.cli import compare as command_line
from sensorium.core.errors import ConfigError, ModelError, UsageError
from sensorium.core.types import Batch
from sensorium.core.vocabulary import BOS, PAD
from sensorium.model.late_fusion import LateFusion
from sensorium.model.multimodal import MultimodalLM
from sensorium.training.seeding import seed_everything
from sensorium.workflow import compare as module
from sensorium.workflow.compare import compare, conclude, contenders_of
from sensorium.workflow.config import load_config
from sensorium.workflow.contenders import Contender, Outcome, key_of, measure
from sensorium.workflow.prepare import prepare

CHANGES = ["training.max_steps=20", "evaluation.baselines=false"]


def outcome(name: str, kind: str, seed: int, scores: list[float], **changes) -> Outcome:
    made = Outcome(
        contender=name,
        kind=kind,
        seed=seed,
        judged_on="test",
        metrics={"accuracy": float(np.mean(scores))},
        majority={"accuracy": 0.1},
        row_scores=scores,
        parameters=10,
        ms_per_row=1.0,
        peak_mib=None,
        steps=5,
        seconds=1.0,
        weights={},
    )
    return dataclasses.replace(made, **changes)


def right(share: float, rows: int = 400, seed: int = 0) -> list[float]:
    return (np.random.default_rng(seed).permutation(rows) < share * rows).astype(float).tolist()


@pytest.fixture(scope="module")
def config(shapes_folder: Path):
    return load_config(shapes_folder / "shapes.toml", CHANGES)


@pytest.fixture(scope="module")
def models(config):
    """A model of each input, fitted a little, and their rows."""
    prepared = prepare(config)
    found = {}
    for name in config.model.inputs:
        seed_everything(0)
        preparers = {name: prepared.model.preparers[name]}
        found[name] = MultimodalLM(config.model.only([name]), preparers, prepared.model.tokenizer).eval()
    return found, prepared


def test_late_fusion_is_the_weighted_product_of_its_models(models):
    singles, prepared = models
    late = LateFusion(singles).eval()
    late.scorer.set_weights([0.7, 1.2])
    batch = prepared.train.batch(np.arange(30))
    batch = Batch(batch.row_id_B, batch.inputs, batch.token_BT, batch.mask_BT)
    cond = late.condition(batch)
    start_BT = torch.full((30, 1), BOS)
    log_p_BV, _ = late.scorer.extend(late.scorer.start(cond), start_BT, torch.ones_like(start_BT, dtype=torch.bool))
    assert log_p_BV.exp().sum(1).tolist() == pytest.approx([1.0] * 30, abs=1e-5)
    expected_BV, exponents = torch.zeros_like(log_p_BV), {"photo": 0.7, "question": 1.2}
    for name, model in singles.items():
        own = model.condition(batch)
        own_BV, _ = model.scorer.extend(
            model.scorer.start(own), start_BT, torch.ones_like(start_BT, dtype=torch.bool)
        )
        has_B = batch.inputs[name].row_B >= 0
        assert not has_B.all()
        expected_BV += torch.where(has_B[:, None], exponents[name] * own_BV, 0.0)
    expected_BV[:, [PAD, BOS]] = -torch.inf
    torch.testing.assert_close(log_p_BV, expected_BV.log_softmax(1))


def test_late_fusion_scores_as_it_extends(models):
    singles, prepared = models
    late = LateFusion(singles).eval()
    batch = prepared.train.batch(np.arange(30))
    nll_B, _ = late.losses(batch)
    cond, state_BT = late.condition(batch), batch.token_BT
    state, total_B = late.scorer.start(cond), torch.zeros(30)
    for t in range(state_BT.shape[1] - 1):
        log_p_BV, state = late.scorer.extend(state, state_BT[:, t : t + 1], torch.ones(30, 1, dtype=torch.bool))
        log_p_B = log_p_BV.gather(1, state_BT[:, t + 1 : t + 2])[:, 0]
        total_B += torch.where(batch.mask_BT[:, t + 1], log_p_B, 0.0)
    torch.testing.assert_close(nll_B, -total_B)
    parts_KB = late.scorer.score_parts(batch.token_BT, batch.mask_BT, cond).sum(2)
    for part_B, model in zip(parts_KB, singles.values(), strict=True):
        has_B = model.condition(batch).memory.present_B
        torch.testing.assert_close(part_B[has_B], -model.losses(batch)[0][has_B])


def test_fitted_exponents_gain_on_held_out_rows(models):
    singles, prepared = models
    late = LateFusion(singles).eval()
    batch = prepared.train.batch(np.arange(prepared.train.num_rows))
    with torch.no_grad():
        before = late.losses(batch)[0].sum()
        weights = late.fit_weights([batch])
        assert late.losses(batch)[0].sum() < before
    assert len(weights) == 2
    assert list(late.parts) == list(late.config.inputs) == ["photo", "question"]
    with pytest.raises(ModelError, match="at least one"):
        LateFusion({})


def test_all_contend_and_known_results_are_kept(config, tmp_path, monkeypatch):
    said: list[str] = []
    found = compare(config, ["concat", "sum"], num_seeds=2, jobs=0, out=tmp_path, say=said.append)
    assert {s.name for s in found.standings} == {"photo only", "question only", "late fusion", "concat", "sum"}
    assert not found.failures
    values = [s.mean("accuracy") for s in found.standings]
    assert values == sorted(values, reverse=True)
    steps = {}
    for standing in found.standings:
        assert [o.seed for o in standing.outcomes] == [0, 1]
        assert all(len(o.row_scores) == found.num_rows for o in standing.outcomes)
        assert np.mean(standing.rows()) == pytest.approx(standing.mean("accuracy"))
        assert (standing.against is None) == (standing.name == found.reference)
        facts = standing.facts()
        steps[standing.name] = facts["steps"]
        assert facts["parameters"] > 0
        assert facts["ms_per_row"] > 0
    assert steps["late fusion"] == steps["photo only"] == steps["question only"] == steps["concat"]
    assert len(list((tmp_path / "results").iterdir())) == 10
    assert json.loads((tmp_path / "comparison.json").read_text())["verdict"] == found.verdict

    measured: list[str] = []
    monkeypatch.setattr(
        module, "measure", lambda c, who, seed, **_: measured.append(who.name) or measure(c, who, seed)
    )
    again = compare(config, ["sum", "concat"], num_seeds=2, jobs=0, out=tmp_path)
    assert not measured
    assert again.facts()["verdict"] == found.facts()["verdict"]
    next((tmp_path / "results").iterdir()).unlink()
    compare(config, ["concat", "sum", "gated"], num_seeds=2, jobs=0, out=tmp_path)
    assert measured.count("gated") == 2
    assert len(measured) == 3


def test_one_that_fails_does_not_take_the_others_with_it(config, tmp_path, monkeypatch):
    def sometimes(config, who, seed, **_):
        if who.name == "sum":
            raise ModelError("does not fit")
        return outcome(who.name, who.kind, seed, right({"concat": 0.9}.get(who.name, 0.5)))

    monkeypatch.setattr(module, "measure", sometimes)
    found = compare(config, ["concat", "sum"], num_seeds=2, jobs=0, out=tmp_path)
    assert found.failures == {"sum": "does not fit"}
    assert "Take concat" in found.verdict
    assert len(list((tmp_path / "results").iterdir())) == 8
    monkeypatch.undo()
    with pytest.raises(ModelError, match="nothing to compare"):
        conclude([outcome("photo only", "input", 0, [1.0])], {"sum": "does not fit"}, tmp_path)


@pytest.mark.parametrize(
    ("fused", "plain", "says"),
    [
        (0.9, 0.6, "Take concat (accuracy 0.9): it is 0.3 better than photo only"),
        (0.6, 0.9, "Take photo only (accuracy 0.9): the best fusion of features, concat, is 0.3 worse"),
        (0.6, 0.6, "Take photo only (accuracy 0.6): no fusion of features is better than it by more than chance"),
    ],
)
def test_one_sentence_of_verdict(fused, plain, says, tmp_path):
    outcomes = [outcome("photo only", "input", seed, right(plain, seed=seed)) for seed in range(3)]
    outcomes += [outcome("concat", "fusion", seed, right(fused, seed=9 + seed)) for seed in range(3)]
    found = conclude(outcomes, {}, tmp_path)
    assert found.verdict.startswith(says)
    assert found.reference == "photo only"


def test_where_less_is_better(tmp_path):
    plain = outcome("photo only", "input", 0, [-x for x in right(0.9)], metrics={"wer": 0.9})
    fused = outcome("concat", "fusion", 0, [-x for x in right(0.2)], metrics={"wer": 0.2})
    worse = outcome("late fusion", "late", 0, [-x for x in right(0.95)], metrics={"wer": 0.95})
    found = conclude([plain, fused, worse], {}, tmp_path)
    assert [s.name for s in found.standings] == ["concat", "photo only", "late fusion"]
    assert found.verdict.startswith("Take concat (wer 0.2): it is 0.7 better than photo only")


def test_keys_say_what_a_result_depends_on(shapes_folder):
    def key(*changes: str, who=Contender("fusion", "concat"), seed=0):
        return key_of(load_config(shapes_folder / "shapes.toml", [*CHANGES, *changes]), who, seed)

    photo = Contender("input", "photo")
    assert key() == key("run.name='other'") == key("evaluation.baselines=true")
    assert len({key(), key("training.max_steps=21"), key(seed=1), key(who=Contender("fusion", "sum"))}) == 4
    assert key(who=photo) == key("fusion.features='sum'", who=photo)
    assert key(who=photo) != key("fusion.width=16", who=photo)


def test_keys_know_by_what_is_judged_and_all_content(shapes_folder, tmp_path):
    """Whatever decides a result makes another one of it, and nothing else does."""
    here = shutil.copytree(shapes_folder, tmp_path / "here")
    (here / "vectors.txt").write_text("2 2\nyes 1 0\nno 0 1\n")

    def key(*changes: str) -> str:
        return key_of(load_config(here / "shapes.toml", [*CHANGES, *changes]), Contender("input", "photo"), 0)

    metrics = (
        "evaluation.metrics=['accuracy']",
        "evaluation.metrics=['wer']",
        "evaluation.metrics=['wer','accuracy']",
    )
    vectors = "evaluation.vectors='vectors.txt'"
    assert len({key(), *map(key, metrics), key(vectors), key("decoding.max_tokens=5")}) == 6
    before = key(), key(vectors)
    os.utime(here / "shapes.csv", (1, 1))
    (here / "other.txt").write_text("nobody names it")
    assert (key(), key(vectors)) == before
    (here / "vectors.txt").write_text("2 2\nyes 1 0\nno 0 2\n")
    assert key() == before[0]
    assert key(vectors) != before[1]
    table = (here / "shapes.csv").read_text()
    (here / "shapes.csv").write_text(table.replace("yes", "Yes", 1))
    os.utime(here / "shapes.csv", (1, 1))
    assert key() != before[0]
    (here / "shapes.csv").write_text(table)
    assert key() == before[0]
    Image.new("RGB", (61, 61)).save(here / "0.png")
    assert key() != before[0]


def test_keys_move_with_the_folder(shapes_folder, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(shapes_folder, copy)
    who = Contender("fusion", "concat")
    here, there = (load_config(folder / "shapes.toml", CHANGES) for folder in (shapes_folder, copy))
    assert key_of(here, who, 0) == key_of(there, who, 0)
    changed = load_config(copy / "shapes.toml", [*CHANGES, "data.folder='other'"])
    assert key_of(changed, who, 0) != key_of(there, who, 0)


def test_the_verdict_takes_a_fusion_that_is_surely_better_before_one_with_a_better_mean(tmp_path):
    """A mean may be carried by a few rows; the paired test is not."""
    plain = [0.5] * 100
    sure, lucky = [0.52] * 100, [9.0, *[0.45] * 99]
    outcomes = [outcome("photo only", "input", 0, plain), outcome("sum", "fusion", 0, sure)]
    found = conclude([*outcomes, outcome("concat", "fusion", 0, lucky)], {}, tmp_path)
    assert found.standings[0].name == "concat"
    assert found.verdict.startswith("Take sum (accuracy 0.52): it is 0.02 better than photo only")


def test_what_cannot_be_compared_is_refused(config, shapes_folder, tmp_path):
    with pytest.raises(ConfigError, match="concat"):
        contenders_of(config, ["conct"])
    assert len(contenders_of(config, [])) >= 8
    alone = config.replace(model=config.model.only(["photo"]))
    with pytest.raises(UsageError, match="one input"):
        compare(alone, ["concat"], out=tmp_path)


def test_the_command_prints_a_table_or_an_object(shapes_folder, tmp_path, capsys):
    def command(as_json: bool) -> str:
        toml, changes = shapes_folder / "shapes.toml", ["training.max_steps=2"]
        command_line.compare(toml, "concat, sum", 1, None, 0, tmp_path, changes, as_json)
        return capsys.readouterr().out

    facts = json.loads(command(as_json=True))
    table = command(as_json=False)
    assert facts["verdict"] in table
    for name in ("concat", "sum", "photo only", "question only", "late fusion", "majority"):
        assert f"\n{name} " in table


TWO_TEXTS = """
[data]
train = "train.csv"
test = "test.csv"
cache = ""
[inputs.one]
modality = "text"
encoder = "bag_of_words"
[inputs.other]
modality = "text"
encoder = "bag_of_words"
[target]
column = "label"
task = "classify"
[training]
max_steps = 2
"""


def test_what_is_amiss_with_the_judged_rows_is_said(tmp_path, capsys):
    rows = [f"one{i} of these words,other{i} of those words,{'yes' if i % 2 else 'no'}" for i in range(30)]
    for name, some in {"train": rows, "test": [*rows[:10], "new,newer,YES"]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["one,other,label", *some, ""]), encoding="utf-8")
    (tmp_path / "c.toml").write_text(TWO_TEXTS, encoding="utf-8")
    for name in ("made", "known"):
        found = compare(load_config(tmp_path / "c.toml"), ["concat"], num_seeds=2, jobs=0, out=tmp_path / "out")
        known, unseen = found.facts()["notes"]
        assert known.startswith("test: of 11 rows "), name
        assert "have the very texts of training rows" in known
        assert "1 of 11 rows have a label that training never had" in unseen
    command_line.print_comparison(found)
    out = capsys.readouterr().out
    assert f"warning: {known}" in out
    assert f"warning: {unseen}" in out


@pytest.mark.slow
def test_each_measurement_has_its_own_process(shapes_folder, tmp_path):
    command = [
        sys.executable,
        "-m",
        "sensorium",
        "compare",
        str(shapes_folder / "shapes.toml"),
        "--fusions",
        "concat",
    ]
    command += ["--seeds", "1", "-j", "2", "--out", str(tmp_path), "--set", "training.max_steps=2", "--json"]
    facts = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert len(facts["contenders"]) == 4
    assert all(line["peak_mib"] > 50 for line in facts["contenders"])

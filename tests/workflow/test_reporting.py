"""A run's report: written after training, made again, looked at in a real browser."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import ModelError
from sensorium.evaluation.runner import Evaluation
from sensorium.media.policy import MediaPolicy
from sensorium.report.inline_media import Inliner
from sensorium.tasks.task import Prediction
from sensorium.training.progress import Silent
from sensorium.workflow import reporting
from sensorium.workflow.config import load_config
from sensorium.workflow.report_rows import JudgedRows
from sensorium.workflow.reporting_again import reports_again
from sensorium.workflow.train import train

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from browser import find_browser, opened_browser

EVIL = 'is it <script>alert(1)</script> &amp; "red"?'


@pytest.fixture(scope="module")
def table(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes with an evil question, an evil file name and a bad row."""
    folder = tmp_path_factory.mktemp("evil")
    shutil.copytree(shapes_folder, folder, dirs_exist_ok=True)
    (folder / "0.png").rename(folder / "<img src=x onerror=alert(1)>.png")
    with (folder / "shapes.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    for row in rows:
        row[0] = "<img src=x onerror=alert(1)>.png" if row[0] == "0.png" else row[0]
        row[1] = EVIL if row[1] == "is it red?" else row[1]
    rows.append(["missing <b>.png", "is it red?", "no"])
    with (folder / "shapes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs") / "run"
    config = load_config(table / "shapes.toml", ["training.epochs=8", "data.max_bad_fraction=0.1"])
    return train(config, out=out, progress=Silent())


def test_training_leaves_a_report_of_itself(run):
    page = (run.run / "report.html").read_text(encoding="utf-8")
    assert len(page) < 10_000_000
    for part in (
        "baselines",
        "patterns",
        "contributions",
        "curves",
        "confusion",
        "worst",
        "best",
        "left-out",
        "again",
    ):
        assert f'<section id="{part}"' in page or f'id="{part}"' in page, part
    assert "<script" not in page
    assert "onerror=alert(1)&gt;" in page
    assert "missing &lt;b&gt;.png" in page
    assert f"sensorium train {run.run}/config.toml" in page


def test_the_summary_holds_intervals_digests_and_versions(run):
    summary = json.loads((run.run / "evaluation.json").read_text())
    low, high = summary["intervals"]["accuracy"]
    assert low <= summary["metrics"]["accuracy"] <= high
    assert len(summary["digests"]["train"]) == 64
    assert summary["versions"]["sensorium"]
    assert summary["part_rows"]["train"] == run.prepared.train.num_rows


def test_every_baseline_is_tested_on_the_models_own_rows(run):
    summary = json.loads((run.run / "evaluation.json").read_text())
    assert {"majority", "photo only"} <= {baseline["name"] for baseline in summary["baselines"]}
    for baseline in summary["baselines"]:
        gain = run.evaluation.metrics["accuracy"] - baseline["metrics"]["accuracy"]
        assert baseline["difference"]["mean"] == pytest.approx(gain)
        assert baseline["difference"]["low"] <= gain <= baseline["difference"]["high"]
    best = max(summary["baselines"], key=lambda baseline: baseline["metrics"]["accuracy"])
    page = (run.run / "report.html").read_text(encoding="utf-8")
    assert f"paired test, p = {best['difference']['p']:.2g}" in page


def test_the_interval_of_a_mean_is_that_of_the_plain_bootstrap(run):
    from sensorium.evaluation.intervals import intervals
    from sensorium.evaluation.metrics import accuracy
    from sensorium.evaluation.metrics_interval import bootstrap_interval

    found = intervals(run.evaluation)
    said = [p.text for _, p, _ in run.evaluation.predictions]
    right = [refs[0] for _, _, refs in run.evaluation.predictions]
    slow = bootstrap_interval(accuracy, said, right)
    assert found["accuracy"] == pytest.approx((slow.low, slow.high), abs=0.03)
    assert "perplexity" not in found


def test_the_card_says_what_was_measured_on_which_data(run):
    card = (run.run / "model" / "README.md").read_text(encoding="utf-8")
    summary = json.loads((run.run / "evaluation.json").read_text())
    assert summary["digests"]["train"] in card
    assert "majority" in card
    for heading in ("## Use", "## Measured", "## Data", "## Limits", "## Licence"):
        assert heading in card, heading
    low, high = summary["intervals"]["accuracy"]
    assert f"({low:.4g}–{high:.4g})" in card
    assert "sensorium.load(" in card


def test_the_report_can_be_made_again(run, tmp_path):
    (path,) = reports_again(run.run, tmp_path / "again.html")
    first, again = (p.read_text(encoding="utf-8") for p in (run.run / "report.html", path))
    assert first[first.index("<body>") :] == again[again.index("<body>") :]
    with pytest.raises(ModelError, match="no finished run"):
        reports_again(tmp_path)


def test_a_report_that_fails_does_not_stop_training(table, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(reporting, "write_page", fail)
    said = []
    config = load_config(
        table / "shapes.toml", ["training.epochs=1", "data.max_bad_fraction=0.1", "evaluation.baselines=false"]
    )
    result = train(config, out=tmp_path / "run", progress=Silent(), say=said.append)
    assert result.evaluation.num_rows > 0
    assert not (tmp_path / "run" / "report.html").exists()
    assert any("no ink" in line and "sensorium report" in line for line in said)
    assert "no report was written" in caplog.text


def test_a_config_can_do_without(table, tmp_path):
    changes = [
        "training.epochs=1",
        "data.max_bad_fraction=0.1",
        "evaluation.baselines=false",
        "evaluation.report=false",
    ]
    train(load_config(table / "shapes.toml", changes), out=tmp_path / "run", progress=Silent())
    assert not (tmp_path / "run" / "report.html").exists()


def test_best_and_worst_rows_are_that(run):
    rows = JudgedRows(
        run.prepared.model,
        run.prepared.validation,
        run.evaluation,
        "accuracy",
        Inliner(MediaPolicy()),
        lower_is_better=False,
    )
    best, worst = rows.extremes(6)
    assert len(best) == len(worst) == 6
    assert min(r.score for r in best) >= max(r.score for r in worst)
    assert not {r.where for r in best} & {r.where for r in worst}
    sure = [r.probability for r in best]
    assert sure == sorted(sure, reverse=True)
    judged = run.evaluation.predictions
    right = [p.probability for _, p, refs in judged if p.text == refs[0]]
    assert sure[0] == max(right)
    wrong = [p.probability for _, p, refs in judged if p.text != refs[0]]
    if wrong:
        assert worst[0].probability == max(wrong)
    found = rows.confusion()
    assert sum(map(sum, found.counts)) == len(judged)
    diagonal = sum(found.counts[i][i] for i in range(len(found.counts)))
    assert diagonal / len(judged) == pytest.approx(run.evaluation.metrics["accuracy"])


def test_of_equal_rows_the_surest_mistake_is_worst_and_the_surest_hit_best(run):
    corpus = run.prepared.validation
    told = [(0, True, 0.6), (1, False, 0.4), (2, True, 0.9), (3, False, 0.8), (4, True, 0.7), (5, False, 0.5)]
    predictions = [
        (row, Prediction(corpus.target_text(row) if is_right else "never", p), [corpus.target_text(row)])
        for row, is_right, p in told
    ]
    evaluation = Evaluation("answer", 6, {"accuracy": 0.5}, 0.0, predictions)
    rows = JudgedRows(
        run.prepared.model,
        corpus,
        evaluation,
        "accuracy",
        Inliner(MediaPolicy()),
        lower_is_better=False,
    )
    best, worst = rows.extremes()
    assert [row.probability for row in best] == [0.9, 0.7, 0.6]
    assert [row.probability for row in worst] == [0.8, 0.5, 0.4]


@pytest.fixture(scope="module")
def browser():
    binary = find_browser()
    if binary is None:
        pytest.skip("no Chromium or Chrome is installed")
    with opened_browser(binary) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_in_a_browser(run, browser, width, dark, tmp_path):
    from PIL import Image

    browser.open(run.run / "report.html", width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    wide = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, nav, svg') &&"
        " e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []
    picture = Image.open(browser.screenshot(tmp_path / "page.png")).convert("L")
    assert picture.width == width
    ground = int(np.median(np.asarray(picture)))
    assert (ground < 60) if dark else (ground > 220)
    assert np.asarray(picture).std() > 10  # something is drawn
    assert browser.evaluate("[...document.images].every(e => e.naturalWidth > 0)")
    assert browser.evaluate("document.images.length") > 10
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith(("data:", "file:"))] == []


def test_a_cell_shows_its_rows_when_chosen(run, browser):
    browser.open(run.run / "report.html", 1280)
    shown = "[...document.querySelectorAll('.cell-rows')].filter(e => e.offsetHeight > 0).map(e => e.id)"
    assert browser.evaluate(shown) == []
    browser.click(".confusion td a")
    target = browser.evaluate("document.querySelector('.confusion td a').getAttribute('href').slice(1)")
    assert browser.evaluate(shown) == [target]
    assert browser.evaluate(f"document.getElementById('{target}').querySelectorAll('.card').length") > 0
    assert browser.errors == []


def test_small_targets_are_large_enough_and_headings_are_in_order(run, browser):
    browser.open(run.run / "report.html", 360)
    sizes = browser.evaluate(
        "[...document.querySelectorAll('.confusion td a')].map(e => [e.offsetWidth, e.offsetHeight])"
    )
    assert sizes
    assert all(width >= 24 and height >= 24 for width, height in sizes)
    levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_patterns_of_which_no_row_fits_into_the_time_are_left_out_and_said(run):
    slow = run.evaluation.num_rows * 100.0
    summary = run.summary()
    config = load_config(run.run / "config.toml")
    judged = run.judged(config, summary)
    assert reporting.presence_patterns(judged)
    held_up = replace(judged, evaluation=replace(judged.evaluation, seconds=slow))
    assert reporting.presence_patterns(held_up) == []
    assert any("--missing` does" in note for note in reporting.gather(held_up).notes)

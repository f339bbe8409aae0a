"""Retrieval from the config to the command: trained, judged beside chance, saved, searched; and what cannot be meant."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import sensorium
from sensorium.cli.main import app
from sensorium.core.errors import ConfigError, DataError, ModelError, UsageError
from sensorium.media.policy import MediaPolicy
from sensorium.report.inline_media import Inliner
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.report_queries import rank_counts, searches
from sensorium.workflow.searching import embed_query, retrieve
from sensorium.workflow.train import train

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "white": (250, 250, 250)}
CONFIG = """
[data]
train = "pairs.csv"
test = "pairs.csv"
cache = ""
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 16
channels = [8, 16]
grid = 2
[inputs.caption]
modality = "text"
encoder = "gru"
[target]
task = "retrieve"
[fusion]
width = 32
[training]
epochs = 40
batch_rows = 16
learning_rate = 0.005
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen photos of two colours, two captions each, and two rows with a hole."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = [("", "a caption alone"), ("lone.png", "")]
    Image.new("RGB", (16, 16), (0, 0, 0)).save(folder / "lone.png")
    for left, a in COLORS.items():
        for right, b in COLORS.items():
            image = Image.new("RGB", (16, 16), a)
            image.paste(b, (8, 0, 16, 16))
            name = f"{left}-{right}.png"
            image.save(folder / name)
            rows += [(name, f"{left} then {right}"), (name, f"left {left} right {right}")]
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("photo", "caption"), *rows])
    return folder


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("found") / "run"
    return train(config_from_text(CONFIG, pairs), out=out, progress=Silent())


def test_it_finds_far_more_than_chance(trained):
    chance = {b.name: b.metrics for b in trained.baselines}["chance"]
    metrics = trained.evaluation.metrics
    assert metrics.keys() == chance.keys()
    assert metrics["photo_to_caption_recall_at_5"] >= 0.9 > 0.5 > chance["photo_to_caption_recall_at_5"]
    assert metrics["caption_to_photo_median_rank"] <= 2 < chance["caption_to_photo_median_rank"]
    assert "photo_to_caption_f1_at_5" in metrics  # two captions a photo
    assert "caption_to_photo_f1_at_5" not in metrics
    assert "perplexity" not in metrics
    (difference,) = trained.differences  # a paired test of every query's first hit
    assert difference.mean > 0
    assert difference.p < 0.05


def test_metrics_are_those_of_ranking_every_item_by_hand(trained):
    model, corpus = trained.prepared.model, trained.prepared.test
    vectors = {}
    for name in ("photo", "caption"):
        for row in range(corpus.num_rows):
            media = corpus.batch(np.array([row])).inputs[name]
            if (unit := int(corpus.group_N(name)[row])) >= 0:
                vectors[name, unit] = model.embed(name, media)[0].detach()
    pairs = set(zip(corpus.group_N("photo").tolist(), corpus.group_N("caption").tolist(), strict=True))
    for query, found in (("photo", "caption"), ("caption", "photo")):
        first = []
        for (name, unit), vector in vectors.items():
            order = sorted((-float(vector @ v), u) for (other, u), v in vectors.items() if other == found)
            right = [i for i, (_, u) in enumerate(order) if ((unit, u) if query == "photo" else (u, unit)) in pairs]
            if name == query and right:
                first.append(right[0] + 1)
        assert len(first) == {"photo": 16, "caption": 32}[query]
        for k in (1, 5, 10):
            want = sum(rank <= k for rank in first) / len(first)
            assert trained.evaluation.metrics[f"{query}_to_{found}_recall_at_{k}"] == pytest.approx(want)


def test_the_report_shows_ranks_and_queries_with_what_they_found(trained):
    page = (trained.run / "report.html").read_text(encoding="utf-8")
    for part in ("ranks", "worst-queries", "best-queries"):
        assert f'<section id="{part}"' in page, part
    shown = searches(
        trained.evaluation.directions,
        trained.prepared.test,
        Inliner(MediaPolicy()),
        {"photo": "image", "caption": "text"},
        show_rows=True,
    )
    assert [(s.query, s.found) for s in shown] == [("photo", "caption"), ("caption", "photo")]
    for search in shown:
        name = f"{search.query}_to_{search.found}"
        assert search.metrics["recall_at_1"] == trained.evaluation.metrics[f"{name}_recall_at_1"]
        assert sum(count for _, count in search.rank_counts) == search.num_queries
        hits = dict(search.rank_counts)["1"]
        assert hits / search.num_queries == pytest.approx(search.metrics["recall_at_1"])
        assert len(search.best) == len(search.worst) == min(12, search.num_queries // 2)
        assert max(q.rank for q in search.best) <= min(q.rank for q in search.worst)
        for query in [*search.best, *search.worst]:
            place = next((i for i, found in enumerate(query.found, start=1) if found.is_right), None)
            assert place == (query.rank if query.rank <= 5 else None)
            assert bool(query.right) == (query.rank > 5)
            scores = [found.score for found in query.found]
            assert scores == sorted(scores, reverse=True)


def test_ranks_are_counted_up_to_the_number_of_candidates():
    assert rank_counts([1, 1, 2, 5, 7, 12], 12) == [("1", 2), ("2–5", 2), ("6–10", 1), ("11–12", 1)]
    assert rank_counts([1], 1) == [("1", 1)]


def test_saved_and_searched(trained, pairs, tmp_path):
    model = sensorium.load(trained.run)
    assert model.evaluate().metrics == pytest.approx(trained.evaluation.metrics)
    copy = sensorium.load(model.save(tmp_path / "alone"))
    found = copy.retrieve(caption="red then blue", among=pairs / "pairs.csv", top=3)
    assert len(found) == 3
    assert found[0].cell == "red-blue.png"
    assert 1 >= found[0].cosine > found[1].cosine
    captions = copy.retrieve(photo=pairs / "green-white.png", among=pairs / "pairs.csv", top=2)
    assert {one.cell for one in captions} == {"green then white", "left green right white"}
    assert captions[0].where.startswith("pairs.csv:")
    everything = copy.retrieve(photo=pairs / "green-white.png", among=pairs / "pairs.csv", top=99)
    assert len(everything) == 33


def test_the_command(trained, pairs):
    table = str(pairs / "pairs.csv")
    run = CliRunner().invoke(
        app, ["retrieve", str(trained.run), "--input", "caption=blue then red", "--among", table, "--json"]
    )
    assert run.exit_code == 0, run.output
    answer = json.loads(run.stdout)
    assert answer["find"] == "photo"
    assert answer["found"][0]["cell"] == "blue-red.png"
    assert len(answer["found"]) == 5
    shown = CliRunner().invoke(app, ["evaluate", str(trained.run)])
    assert "photo_to_caption_recall_at_10" in shown.stdout


def test_what_cannot_be_asked(trained, pairs, shapes_folder, tmp_path):
    model = sensorium.load(trained.run)
    with pytest.raises(UsageError, match="finds rows and writes nothing"):
        model.predict(caption="red then red")
    with pytest.raises(UsageError, match="did you mean 'photo'"):
        model.retrieve(caption="red", among=pairs / "pairs.csv", find="photos")
    with pytest.raises(UsageError, match="not clear which input"):
        model.retrieve(caption="red", photo=pairs / "lone.png", among=pairs / "pairs.csv")
    (tmp_path / "other.csv").write_text("caption\nred\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'photo'"):
        model.retrieve(caption="red", among=tmp_path / "other.csv")
    with pytest.raises(UsageError, match="two aligned inputs"):
        model.evaluate(only=["photo"])


@pytest.mark.parametrize("top", [0, -1])
def test_none_or_fewer_cannot_be_shown(trained, pairs, top):
    with pytest.raises(UsageError, match=f"top = {top} shows nothing"):
        retrieve(
            sensorium.load(trained.run).predictor, {"caption": "red"}, pairs / "pairs.csv", find="photo", top=top
        )


@pytest.mark.parametrize("empty", ["", " ", float("nan"), None])
def test_an_empty_cell_of_a_query_says_nothing(trained, pairs, empty):
    predictor = sensorium.load(trained.run).predictor
    alone = embed_query(predictor, {"photo": pairs / "lone.png"})
    assert torch.equal(embed_query(predictor, {"photo": pairs / "lone.png", "caption": empty}), alone)


def test_a_fitted_model_finds_media_where_its_config_says_as_a_loaded_one_does(pairs, tmp_path):
    (tmp_path / "pairs.csv").write_bytes((pairs / "pairs.csv").read_bytes())
    text = CONFIG.replace("epochs = 40", "epochs = 1").replace("[data]", f"[data]\nfolder = '{pairs}'")
    text = text.replace("[training]", "[evaluation]\nbaselines = false\nreport = false\n[training]")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    fitted = sensorium.Sensorium.from_config(tmp_path / "config.toml").fit(tmp_path / "run")
    found = [
        model.retrieve(caption="red", among=tmp_path / "pairs.csv")
        for model in (fitted, sensorium.load(tmp_path / "run"))
    ]
    assert found[0] == found[1]


def test_a_model_that_writes_is_asked_for_retrieval_where_it_aligns(pairs, tmp_path):
    text = CONFIG.replace('task = "retrieve"', 'column = "caption"\ntask = "caption"')
    text = text.replace("[inputs.caption]", '[inputs.words]\ncolumn = "caption"').replace(
        "epochs = 40", "epochs = 1"
    )
    aligned = text.replace("width = 32", 'width = 32\n[fusion.alignment]\ninputs = ["photo", "words"]')
    train(
        config_from_text(aligned + "[evaluation]\nbaselines = false", pairs),
        out=tmp_path / "run",
        progress=Silent(),
    )
    model = sensorium.load(tmp_path / "run")
    assert model.evaluate(task="retrieve").metrics.keys() >= {"recall_at_1", "words_to_photo_median_rank"}
    assert len(model.retrieve(words="red then red", among=pairs / "pairs.csv", top=2)) == 2
    train(
        config_from_text(text + "[evaluation]\nbaselines = false", pairs), out=tmp_path / "plain", progress=Silent()
    )
    with pytest.raises(ModelError, match="not aligned"):
        sensorium.load(tmp_path / "plain").retrieve(words="red", among=pairs / "pairs.csv", find="photo")


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ('task = "retrieve"', 'task = "retrieve"\ncolumn = "caption"', "writes no text"),
        ('task = "retrieve"', 'task = "caption"', "'target.column' is missing"),
        ("[fusion]", '[language]\nscorers = ["ngram"]\n[fusion]', "has no scorers"),
        ("[fusion]", '[fusion.alignment]\ninputs = ["photo", "cation"]\n[fusion]', "did you mean 'caption'"),
        ('[inputs.caption]\nmodality = "text"\nencoder = "gru"\n', "", "two inputs or more"),
    ],
)
def test_configs_that_cannot_be_meant(change, to, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_text(CONFIG.replace(change, to), Path("/somewhere"), "my.toml")
    assert "my.toml" in str(caught.value)

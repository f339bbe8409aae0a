"""Tagging from end to end: a small column file, a CRF, a softmax, another scorer, a photo beside the text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

import sensorium
from sensorium.core.errors import DataError, ModelError
from sensorium.tasks.tag import tagged_inputs
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.train import train

CONFIG = """
[data]
train = "conll:train.txt"
validation_fraction = 0.2
cache = ""

[inputs.tokens]
modality = "text"
encoder = "token_features"
templates = ["0[0]", "1[0]", "0[-1]|0[0]"]

[target]
column = "tags"
task = "tag"
scheme = "bioes"

[fusion]
width = 12

[language]
scorers = ["crf"]

[language.crf]
project = false

[training]
epochs = 8
batch_rows = 16
learning_rate = 0.1
"""
NAMES, PLACES = ["Ann", "Bob", "Cleo"], ["Oslo", "Rome"]


def sentence(rng: random.Random) -> list[str]:
    """Name (one or two words) visits place: what a name is depends on the words beside it."""
    first = rng.choice(NAMES + PLACES)  # a place may be a person's name: only the verb tells
    second = ["Rome NNP I-PER"] if rng.random() < 0.5 else []
    return [f"{first} NNP B-PER", *second, "visits VB O", f"{rng.choice(PLACES)} NNP B-LOC", ". . O"]


def write(path: Path, num: int, seed: int) -> None:
    rng = random.Random(seed)
    path.write_text("".join("\n".join(sentence(rng)) + "\n\n" for _ in range(num)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tagging")
    write(folder / "train.txt", 150, seed=0)
    write(folder / "test.txt", 40, seed=1)
    return folder


def fit(folder: Path, text: str = CONFIG, **options):
    return train(config_from_text(text, folder), progress=Silent(), **options)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return fit(folder, out=tmp_path_factory.mktemp("runs") / "run")


def test_a_crf_learns_to_tag_and_is_judged_beside_the_majority(trained):
    assert trained.evaluation.metrics["span_f1"] > 0.97
    assert trained.evaluation.metrics["perplexity"] < 1.1
    (baseline,) = trained.baselines
    assert 0.3 < baseline.metrics["span_f1"] < 0.9


def test_a_loaded_run_evaluates_and_predicts(trained, folder):
    loaded = sensorium.load(trained.run)
    assert loaded.evaluate(f"conll:{folder / 'test.txt'}").metrics["span_f1"] > 0.97
    found = loaded.predict(tokens="Oslo￨NNP Rome￨NNP visits￨VB Rome￨NNP")
    assert found.text == "B-PER I-PER O B-LOC"
    assert found.probability == pytest.approx(
        torch.tensor(loaded.score(found.text, tokens="Oslo￨NNP Rome￨NNP visits￨VB Rome￨NNP")).exp().item(), abs=1e-4
    )
    probabilities = [p for _, p in found.alternatives]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1 + 1e-5
    assert all(len(text.split()) == 4 for text, _ in found.alternatives)


def test_other_scorers_tag_every_token_too(folder, tmp_path):
    changed = CONFIG.replace('scorers = ["crf"]', 'scorers = ["crf", "ngram"]')
    result = fit(folder, changed, out=tmp_path / "mixed")
    for _, prediction, (reference,) in result.evaluation.predictions:
        assert len(prediction.text.split()) == len(reference.split())
    assert result.evaluation.metrics["span_f1"] > 0.9
    alone = (
        CONFIG[: CONFIG.index("[language]")] + '[language]\nscorers = ["ngram"]\n[evaluation]\nbaselines = false\n'
    )
    counted = fit(folder, alone, out=tmp_path / "counted")
    assert 0 < counted.evaluation.metrics["token_accuracy"] < 1


TWO = (
    CONFIG.replace("[target]", '''
[inputs.read]
column = "tokens"
modality = "text"
encoder = "token_features_lstm"
templates = ["0[0]", "1[0]"]
embedding = 8
hidden = 8
rate_factor = 0.2

[target]''')
    .replace('scorers = ["crf"]', 'scorers = ["features", "bilstm"]\nmix = "chain"')
    .replace("[language.crf]", '''
[language.bilstm]
scorer = "crf"
inputs = ["read"]
[language.features]
scorer = "crf"
inputs = ["tokens"]''')
)  # fmt: skip


def test_two_crfs_over_inputs_of_their_own_are_multiplied_saved_and_loaded(folder, tmp_path):
    result = fit(folder, TWO, out=tmp_path / "two")
    assert set(result.fitted.weights) == {"features", "bilstm"}
    assert result.evaluation.metrics["span_f1"] > 0.95
    row = {"tokens": "Oslo￨NNP visits￨VB Rome￨NNP", "read": "Oslo￨NNP visits￨VB Rome￨NNP"}
    loaded = sensorium.load(result.run)
    assert list(Predictor.load(result.run).model.parts) == ["features", "bilstm"]
    assert loaded.predict(**row).text == "B-PER O B-LOC"
    assert loaded.predict(tokens=row["tokens"]).text == "B-PER O B-LOC"  # the other input is absent
    explained = loaded.explain(**row)
    assert explained.mix == "chain"
    assert explained.log_p == pytest.approx(loaded.score("B-PER O B-LOC", **row), abs=1e-4)


def test_without_transitions_it_is_a_softmax(folder, tmp_path):
    result = fit(
        folder, CONFIG.replace("project = false", "project = false\ntransitions = false"), out=tmp_path / "run"
    )
    assert result.prepared.model.scorer.step_SS.numel() == 0
    assert result.evaluation.metrics["token_accuracy"] > 0.6


def test_rows_of_other_lengths_are_named(folder, tmp_path):
    rows = ["words\ttags\n", *("a b\tO B-X\n" for _ in range(40)), "a b c\tO B-X\n"]
    (tmp_path / "rows.tsv").write_text("".join(rows))
    config = CONFIG.replace("conll:train.txt", "rows.tsv").replace(
        "[inputs.tokens]", "[inputs.words]\nmin_count = 1"
    )
    config = config.replace('templates = ["0[0]", "1[0]", "0[-1]|0[0]"]', 'templates = ["0[0]"]')
    with pytest.raises(DataError, match=r"rows\.tsv:42.*words.*has 3 tokens, but 2 tags"):
        fit(tmp_path, config, out=tmp_path / "strict")
    lenient = config.replace('cache = ""', 'cache = ""\nmax_bad_fraction = 0.5').replace("epochs = 8", "epochs = 1")
    result = fit(tmp_path, lenient, out=tmp_path / "lenient")
    assert result.summary()["quarantined"] == 1
    assert "rows.tsv:42" in (tmp_path / "lenient" / "bad_rows.jsonl").read_text()


def test_a_photo_decides_what_the_words_leave_open(tmp_path):
    """'Rome' is a person beside a red photo, a place beside a blue one; nothing else tells."""
    rng = random.Random(0)
    for color in ("red", "blue"):
        Image.new("RGB", (16, 16), color).save(tmp_path / f"{color}.png")
    rows = ["photo\twords\ttags\n"]
    for _ in range(120):
        color = rng.choice(["red", "blue"])
        rows.append(f"{color}.png\tlook {rng.choice(PLACES)}\tO B-{'PER' if color == 'red' else 'LOC'}\n")
    (tmp_path / "rows.tsv").write_text("".join(rows))
    config = CONFIG.replace("conll:train.txt", "rows.tsv").replace("tokens", "words").replace("project = false", "")
    config = config.replace('templates = ["0[0]", "1[0]", "0[-1]|0[0]"]', 'templates = ["0[0]"]')
    config = config.replace(
        "[target]", '[inputs.photo]\nmodality = "image"\nencoder = "cnn"\nsize = 16\nchannels = [8, 16]\n\n[target]'
    )
    config = config.replace("validation_fraction = 0.2", 'split_column = "split"').replace(
        "epochs = 8\nbatch_rows = 16\nlearning_rate = 0.1", "epochs = 24\nbatch_rows = 16\nlearning_rate = 0.005"
    )
    lines = (tmp_path / "rows.tsv").read_text().splitlines()
    parts = ["split", *("validation" if i % 5 == 0 else "train" for i in range(120))]
    (tmp_path / "rows.tsv").write_text(
        "".join(f"{line}\t{part}\n" for line, part in zip(lines, parts, strict=True))
    )
    config = config.replace('cache = ""', 'cache = ""\n[evaluation]\nbaselines = false\n')
    with_photo = config.replace(
        "[language.crf]", '[language.crf]\ninputs = ["words"]\ncontext = "memory"\nhidden = 16'
    )
    seen = fit(tmp_path, with_photo, out=tmp_path / "seen")
    blind = fit(
        tmp_path, config.replace("[language.crf]", '[language.crf]\ninputs = ["words"]'), out=tmp_path / "no"
    )
    assert seen.evaluation.metrics["span_f1"] > 0.95
    assert blind.evaluation.metrics["span_f1"] < 0.8
    assert tagged_inputs(seen.prepared.model) == ["words"]
    with pytest.raises(ModelError, match="which of"):
        fit(tmp_path, config, out=tmp_path / "open")

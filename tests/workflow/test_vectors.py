"""Word vectors learned in a run: from its own training texts, kept, and begun with; a resumed run is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError, SensoriumError
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorConfig, train_word_vectors
from sensorium.encoders.text_input import begin_with
from sensorium.training.progress import Silent
from sensorium.workflow import vectors
from sensorium.workflow.config import config_from_text
from sensorium.workflow.prepare import prepare
from sensorium.workflow.train import train
from sensorium.workflow.vectors import begin_with_learned, distinct_texts

CONFIG = """
[data]
train = "rows.csv"
cache = "cache"
[inputs.review]
modality = "text"
encoder = "cnn"
embedding = 6
channels = 4
kernels = [1, 2]
max_tokens = 3
[inputs.review.learned_vectors]
epochs = 2
seed = 3
[target]
column = "label"
task = "classify"
[language]
scorers = ["readout"]
[training]
max_steps = 2
batch_rows = 8
[evaluation]
baselines = false
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "poor", "weak"]}
    rows = [f"{' '.join(draw.choice(words[label], 4))},{label}" for label in ("good", "bad") * 30]
    rows += [",good"] * 3  # rows without a text
    (tmp_path / "rows.csv").write_text("review,label\n" + "\n".join(rows) + "\n")
    return tmp_path


def learned_embedding(folder: Path, text: str = CONFIG) -> torch.Tensor:
    config = config_from_text(text, folder)
    prepared = prepare(config)
    begin_with_learned(prepared.model, prepared.train, folder / "cache")
    return prepared.model.encoders["review"].embed.weight.detach().clone()


def test_the_embedding_begins_with_vectors_of_the_training_texts_alone(folder):
    prepared = prepare(config_from_text(CONFIG, folder))
    encoder = prepared.model.encoders["review"]
    before = encoder.embed.weight.detach().clone()
    rows = {prepared.train.sample(i).inputs["review"] for i in range(prepared.train.num_rows)} - {None}
    preparer = prepared.model.preparers["review"]
    by_hand = sorted(preparer(text).tolist() for text in rows)
    texts = list(distinct_texts(prepared.train, "review"))
    assert sorted(texts) == by_hand
    assert all(len(text) == 3 for text in texts), "texts are cut as the encoder reads them"
    found = begin_with_learned(prepared.model, prepared.train, None)
    assert found == {"review": 6}
    config = WordVectorConfig(epochs=2, seed=3, width=6)
    want = train_word_vectors(texts, preparer.vocab, config)
    centred_VD = want.x_VD - want.x_VD.mean(0)
    scale = before.std() / centred_VD.std()
    for word, x_D in zip(want.words, centred_VD, strict=True):
        torch.testing.assert_close(encoder.embed.weight[preparer.vocab.id(word)].detach(), x_D * scale)
    assert torch.equal(encoder.embed.weight[:4].detach(), before[:4]), "special tokens have no vector"


def test_they_are_kept_and_learned_again_where_anything_differs(folder, monkeypatch, caplog):
    trained = []

    def counted(*args, **kwargs):
        trained.append(args)
        return train_word_vectors(*args, **kwargs)

    monkeypatch.setattr(vectors, "train_word_vectors", counted)
    first = learned_embedding(folder)
    assert torch.equal(learned_embedding(folder), first)
    assert len(trained) == 1
    assert not torch.equal(learned_embedding(folder, CONFIG.replace("seed = 3", "seed = 4")), first)
    assert len(trained) == 2
    learned_embedding(folder, CONFIG.replace("max_tokens = 3", "max_tokens = 4"))
    assert len(trained) == 3
    for path in (folder / "cache" / "word_vectors").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert torch.equal(learned_embedding(folder), first)
    assert len(trained) == 4
    assert "learned again" in caplog.text


def test_a_run_records_them_and_a_resumed_one_ends_with_the_same_weights(folder):
    config = config_from_text(CONFIG.replace("max_steps = 2", "max_steps = 6\ncheckpoint_every = 2"), folder)
    whole = train(config, out=folder / "whole", progress=Silent())
    assert "word vectors" in whole.fitted.seconds
    assert "[inputs.review.learned_vectors]" in (folder / "whole" / "config.toml").read_text()
    again = train(config, out=folder / "whole", resume=True, progress=Silent())
    for name, tensor in whole.prepared.model.state_dict().items():
        assert torch.equal(tensor, again.prepared.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epoch = 2", "epochs"),
        ("epochs = 2", "epochs = 0", "learned_vectors.epochs"),
        ('encoder = "cnn"', 'encoder = "cnn"\nvectors = "v.txt"', "not both"),
        ('encoder = "cnn"', 'encoder = "cnn"\nfrozen = true', "frozen"),
    ],
)
def test_bad_configs_say_what_is_wrong(folder, old, new, message):
    with pytest.raises(ConfigError, match=message):
        config_from_text(CONFIG.replace(old, new), folder)


def test_true_takes_the_defaults_and_false_is_none(folder):
    text = CONFIG.replace("[inputs.review.learned_vectors]\nepochs = 2\nseed = 3\n", "")
    for word, is_learned in (("true", True), ("false", False)):
        config = config_from_text(text.replace("max_tokens = 3", f"learned_vectors = {word}"), folder)
        options = config.model.inputs["review"].options
        assert (options.learned_vectors is not None) == is_learned


def test_vectors_of_another_width_are_refused(folder):
    encoder = prepare(config_from_text(CONFIG, folder)).model.encoders["review"]
    with pytest.raises(SensoriumError, match="do not fit"):
        begin_with(encoder, WordVectors(("fine",), torch.ones(1, 5)))

"""An encoder fitted by counting is fitted before the gradient, saved with the model, and answers again."""

import weakref
from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import load_file

import sensorium
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
from sensorium.workflow.fitting import batches
from sensorium.workflow.prepare import prepare
from sensorium.workflow.train import train

CONFIG = """
[data]
train = "rows.csv"
cache = ""
[inputs.review]
modality = "text"
encoder = "hmm"
states = 3
[target]
column = "label"
task = "classify"
[language]
scorers = ["transformer"]
[training]
max_steps = 2
batch_rows = 8
[evaluation]
baselines = false
"""


def write_rows(folder):
    draw = np.random.default_rng(0)
    words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "poor", "weak"]}
    rows = [f"{' '.join(draw.choice(words[label], 4))},{label}" for label in ("good", "bad") * 30]
    (folder / "rows.csv").write_text("review,label\n" + "\n".join(rows) + "\n")


def test_it_is_counted_then_trained_then_saved(tmp_path):
    write_rows(tmp_path)
    result = train(config_from_text(CONFIG, tmp_path), out=tmp_path / "run", progress=Silent())
    encoder = result.prepared.model.encoders["review"]
    entropy = -(encoder.emission_ * encoder.emission_.clamp_min(1e-12).log()).sum(1)
    assert (entropy < 0.9 * np.log(encoder.emission_.shape[1])).any(), "tables were fitted, not left as made"
    again = sensorium.load(tmp_path / "run")
    saved = load_file(tmp_path / "run" / "model" / "weights.safetensors")
    assert torch.equal(saved["encoders.review.emission_"], encoder.emission_)
    assert again.predict([{"review": "fine great"}])


def test_batches_are_read_once_for_each_such_encoder_and_none_is_kept(tmp_path):
    write_rows(tmp_path)
    second = CONFIG.replace(
        "[target]", '[inputs.again]\nmodality = "text"\nencoder = "hmm"\ncolumn = "review"\n[target]'
    )
    prepared = prepare(config_from_text(second, tmp_path))
    passes, most_alive = 0, 0

    def one_pass():
        nonlocal passes, most_alive
        passes += 1
        seen = []
        for batch in batches(prepared.train, 8):
            ids = batch.token_BT.clone()
            seen.append(weakref.ref(ids))
            most_alive = max(most_alive, sum(ref() is not None for ref in seen))
            yield replace(batch, token_BT=ids)
            del batch, ids

    before = prepared.model.encoders["again"].emission_.clone()
    assert prepared.model.fit_encoders(one_pass)
    assert passes == 2
    assert most_alive <= 2, "the one in hand, and the next"
    assert not torch.equal(prepared.model.encoders["again"].emission_, before)

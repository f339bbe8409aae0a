"""An encoder fitted by counting is fitted before the gradient, saved with the model, and answers again."""

import numpy as np
import torch
from safetensors.torch import load_file

import sensorium
from sensorium.training.progress import Silent
from sensorium.workflow.config import config_from_text
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


def test_it_is_counted_then_trained_then_saved(tmp_path):
    draw = np.random.default_rng(0)
    words = {"good": ["fine", "great", "lovely"], "bad": ["dull", "poor", "weak"]}
    rows = [f"{' '.join(draw.choice(words[label], 4))},{label}" for label in ("good", "bad") * 30]
    (tmp_path / "rows.csv").write_text("review,label\n" + "\n".join(rows) + "\n")
    result = train(config_from_text(CONFIG, tmp_path), out=tmp_path / "run", progress=Silent())
    encoder = result.prepared.model.encoders["review"]
    entropy = -(encoder.emission_ * encoder.emission_.clamp_min(1e-12).log()).sum(1)
    assert (entropy < 0.9 * np.log(encoder.emission_.shape[1])).any(), "tables were fitted, not left as made"
    again = sensorium.load(tmp_path / "run")
    saved = load_file(tmp_path / "run" / "model" / "weights.safetensors")
    assert torch.equal(saved["encoders.review.emission_"], encoder.emission_)
    assert again.predict([{"review": "fine great"}])

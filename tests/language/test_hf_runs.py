"""A published language model through a whole run: trained, saved, its source deleted, loaded, asked."""

import shutil

import numpy as np
import pytest
from PIL import Image
from published_writers import TEXTS, save_published

import sensorium
from sensorium import Sensorium
from sensorium.core.errors import ConfigError
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import build_preparers, build_tokenizer
from sensorium.workflow.config import config_from_text

pytest.importorskip("transformers")
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def photos(folder, kind):
    save_published(kind, folder / "lm")
    rows = ["photo,caption"]
    for i in range(16):
        name = list(COLOURS)[i % 2]
        Image.fromarray(np.full((16, 16, 3), COLOURS[name], np.uint8)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,a {name} bike")
    (folder / "photos.csv").write_text("\n".join(rows) + "\n")


def config_of(options, *, scorers=("hf:lm", "ngram"), steps=3, **target):
    return {
        "data": {"train": "photos.csv"},
        "inputs": {"photo": {"modality": "image", "encoder": "cnn", "size": 16, "channels": [8, 8]}},
        "target": {"column": "caption", "task": "caption", **target},
        "fusion": {"width": 16},
        "language": {"scorers": list(scorers), "hf": options},
        "training": {"max_steps": steps, "batch_rows": 8, "learning_rate": 0.01},
        "evaluation": {"baselines": False, "report": False},
        "decoding": {"max_tokens": 12},
    }


@pytest.mark.parametrize(
    ("kind", "options", "target"),
    [
        ("gpt2", {"lora": {"rank": 2}, "rate_factor": 0.5, "rate_decay": 0.9}, {"keep": "seen"}),
        ("llama", {"conditioning": "cross_attention", "gradient_checkpointing": True}, {}),
        ("whisper", {"frozen": False, "frozen_layers": 1, "prompt": ["<|en|>"]}, {}),
    ],
    ids=["gpt2", "llama", "whisper"],
)
def test_a_saved_model_needs_no_source(tmp_path, kind, options, target):
    photos(tmp_path, kind)
    trained = Sensorium.from_config(config_of(options, **target), tmp_path).fit(tmp_path / "run")
    before = trained.predict(photo=tmp_path / "0.png")
    shutil.rmtree(tmp_path / "lm")
    loaded = sensorium.load(tmp_path / "run")
    after = loaded.predict(photo=tmp_path / "0.png")
    assert (after.text, after.probability) == (before.text, pytest.approx(before.probability, rel=1e-5))
    assert loaded.score("a red bike", photo=tmp_path / "0.png") == pytest.approx(
        trained.score("a red bike", photo=tmp_path / "0.png"), rel=1e-4
    )


def test_it_learns_what_the_photos_show(tmp_path):
    photos(tmp_path, "llama")
    config = config_of({"frozen": False}, scorers=["hf:lm"], steps=60)
    trained = Sensorium.from_config(config, tmp_path).fit(tmp_path / "run")
    assert [trained.predict(photo=tmp_path / f"{i}.png").text for i in range(2)] == ["a red bike", "a blue bike"]


CONFIG = """
[data]
train = "photos.csv"
[inputs.photo]
modality = "image"
encoder = "cnn"
[target]
column = "caption"
task = "caption"
{target}
[language]
scorers = [{scorers}]
{language}
"""


def parsed(folder, *, scorers='"hf:lm"', target="", language=""):
    return config_from_text(CONFIG.format(scorers=scorers, target=target, language=language), folder)


def test_the_scorer_brings_its_tokenizer(tmp_path):
    save_published("gpt2", tmp_path / "lm")
    config = parsed(tmp_path, scorers='"hf:lm", "ngram"').model
    assert (config.target.tokenizer, config.tokenizer_options.source) == ("hf", str(tmp_path / "lm"))
    named = '[language.writer]\nscorer = "hf"\nsource = "lm"'
    assert parsed(tmp_path, scorers='"writer"', language=named).model.target.tokenizer == "hf"
    alone = parsed(tmp_path, scorers='"ngram"', target='tokenizer = "hf:lm"').model
    tokenizer = alone.tokenizer(alone.tokenizer_options).fit(())
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]


def test_another_tokenizer_is_refused(tmp_path):
    save_published("gpt2", tmp_path / "lm")
    with pytest.raises(ConfigError, match=r'config:\d+:1: \'hf\' writes the tokens.*"hf", not "word"'):
        parsed(tmp_path, target='tokenizer = "word"')
    save_published("llama", tmp_path / "other")
    two = '[language.second]\nscorer = "hf"\nsource = "other"'
    with pytest.raises(ConfigError, match="'second' writes the tokens of its own tokenizer, source"):
        parsed(tmp_path, scorers='"hf:lm", "second"', language=two)
    with pytest.raises(ConfigError, match="unknown key 'language.hf.loras'.*did you mean 'lora'"):
        parsed(tmp_path, language="[language.hf]\nloras = 3")


@pytest.mark.parametrize("scorers", ['"hf:lm"', '"hf:lm", "ngram"'])
def test_the_network_descends_slower_the_deeper(tmp_path, scorers):
    save_published("gpt2", tmp_path / "lm")
    options = "[language.hf]\nlora = {rank = 2}\nrate_factor = 0.5\nrate_decay = 0.1"
    config = parsed(tmp_path, scorers=scorers, language=options).model
    model = MultimodalLM(config, build_preparers(config), build_tokenizer(config).fit(()))
    factors = model.rate_factors
    rates = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rates[name] = next((rate for prefix, rate in factors.items() if name.startswith(prefix)), 1.0)
    by_block = [{rate for name, rate in rates.items() if f".h.{i}." in name} for i in range(2)]
    assert all(len(found) == 1 for found in by_block)
    lower, upper = (found.pop() for found in by_block)
    assert lower == pytest.approx(0.1 * upper)
    assert upper < 1
    assert {rate for name, rate in rates.items() if ".prefix." in name} == {1.0}

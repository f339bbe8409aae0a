"""Registries: what is known, what a third party's package adds, and what happens when it is broken."""

import sys
from pathlib import Path

import pytest
import torch

from sensorium.core import registry
from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.protocols import Preparer
from sensorium.core.types import MediaBatch
from sensorium.core.vocabulary import Vocab
from sensorium.encoders.registry import ENCODERS
from sensorium.encoders.registry import ENTRY_POINTS as ENCODER_GROUP
from sensorium.fusion.registry import ENTRY_POINTS as FUSION_GROUP
from sensorium.fusion.registry import FUSIONS
from sensorium.language.registry import ENTRY_POINTS as SCORER_GROUP
from sensorium.language.registry import SCORERS
from sensorium.testing import check_encoder, check_scorer

ENCODER = '''
"""A third party's modality: lists of numbers such as "0.5 1 2"."""

import torch
from torch import nn

from sensorium.core.config import Section
from sensorium.core.types import per_row


class VectorPreparer:
    modality = "vector"
    fingerprint = "vector-3"

    def item(self, cell, folder):
        return cell or None

    def fit(self, items):
        return self

    def __call__(self, item):
        return torch.tensor([float(word) for word in item.split()])

    def collate(self, values):
        return (torch.stack(list(values)) if values else torch.empty(0, 3)), None

    def save(self, folder):
        pass

    def load(self, folder):
        return self


class VectorEncoder(nn.Module):
    modality = "vector"

    class Config(Section):
        scale: float = 1.0

        def preparer(self):
            return VectorPreparer()

    def __init__(self, config, preparer, width):
        super().__init__()
        self.width, self.scale = width, config.scale
        self.project = nn.Linear(3, width)
        self.absent_D = nn.Parameter(torch.randn(width))

    def forward(self, media):
        return per_row(self.project(self.scale * media.values)[:, None], None, media.row_B, self.absent_D)
'''

SCORER = '''
"""A third party's scorer: how often each word was seen, whatever came before."""

import torch
from torch import nn

from sensorium.core.config import Section
from sensorium.core.vocabulary import BOS


class Frequencies(nn.Module):
    fitted_by = "counting"

    class Config(Section):
        pass

    def __init__(self, config, vocab, width):
        super().__init__()
        self.vocab = vocab
        self.register_buffer("count_V_", torch.ones(len(vocab)))

    def fit(self, sequences):
        for sequence in sequences:
            for token in list(sequence)[1:]:
                self.count_V_[token] += 1
        return self

    @property
    def log_p_V(self):
        return (self.count_V_ * (torch.arange(len(self.vocab)) > BOS)).log().log_softmax(0)

    def start(self, cond):
        return ()

    def extend(self, state, token_BT, mask_BT):
        return self.log_p_V.expand(len(token_BT), -1), state

    def score(self, token_BT, mask_BT, cond):
        predicted = mask_BT & (torch.arange(token_BT.shape[1]) > 0)
        return torch.where(predicted, self.log_p_V[token_BT], 0.0)
'''

ENTRIES = f"""
[{ENCODER_GROUP}]
vector.linear = sensorium_plugin.encoder:VectorEncoder
vector.broken = sensorium_plugin.missing:Nothing
image.cnn = sensorium_plugin.encoder:VectorEncoder

[{SCORER_GROUP}]
frequencies = sensorium_plugin.scorer:Frequencies
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed third-party package: modules, and the metadata that pip would write."""
    package, metadata = tmp_path / "sensorium_plugin", tmp_path / "sensorium_plugin-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    (package / "encoder.py").write_text(ENCODER)
    (package / "scorer.py").write_text(SCORER)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sensorium-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "sensorium_plugin"]:
        del sys.modules[name]


@pytest.mark.usefixtures("plugin")
def test_a_third_partys_encoder_is_loaded_by_name_and_keeps_the_contract():
    assert "vector.linear" in registry.names(ENCODERS, ENCODER_GROUP)
    encoder = registry.load(ENCODERS, ENCODER_GROUP, "vector.linear")
    config = encoder.Config.parse({"scale": 2.0})
    preparer = config.preparer()
    assert isinstance(preparer, Preparer)

    def media(num):
        values, mask = preparer.collate([preparer(f"{i} 1 {i * i}") for i in range(num)])
        return MediaBatch(values, mask, torch.arange(num))

    check_encoder(lambda: encoder(config, preparer, 8), media)


@pytest.mark.usefixtures("plugin")
def test_a_third_partys_scorer_is_loaded_by_name_and_keeps_the_contract():
    scorer = registry.load(SCORERS, SCORER_GROUP, "frequencies")
    vocab = Vocab.of("ab")
    check_scorer(lambda: scorer(scorer.Config(), vocab, 8), fit=lambda fresh: fresh.fit([[1, 4, 4, 5, 2]]))


@pytest.mark.usefixtures("plugin")
def test_our_own_names_stay_ours():
    assert registry.load(ENCODERS, ENCODER_GROUP, "image.cnn").modality == "image"


@pytest.mark.usefixtures("plugin")
def test_a_broken_plugin_is_named():
    with pytest.raises(ModelError, match=r"x\.toml:3:1: 'vector.broken' from 'sensorium_plugin.missing:Nothing'"):
        registry.load(ENCODERS, ENCODER_GROUP, "vector.broken", where="x.toml:3:1")


@pytest.mark.usefixtures("plugin")
def test_advice_knows_the_plugins_names():
    with pytest.raises(ConfigError, match=r"no encoder 'vector.linea' \(did you mean 'vector.linear'\?\)"):
        registry.load(ENCODERS, ENCODER_GROUP, "vector.linea")


def test_without_the_package_its_name_is_unknown():
    with pytest.raises(ConfigError, match=r"no encoder 'vector.linear'"):
        registry.load(ENCODERS, ENCODER_GROUP, "vector.linear")


def test_an_unlikely_name_lists_what_is_known():
    with pytest.raises(ConfigError, match=r"no scorer 'qqqq' \(known: .*ngram, .*readout, recurrent, transformer"):
        registry.load(SCORERS, SCORER_GROUP, "qqqq")


@pytest.mark.parametrize(
    ("known", "group"), [(ENCODERS, ENCODER_GROUP), (FUSIONS, FUSION_GROUP), (SCORERS, SCORER_GROUP)]
)
def test_every_name_of_ours_imports(known, group):
    for name in known:
        assert hasattr(registry.load(known, group, name), "Config"), name


def test_a_source_is_parted_from_its_kind():
    assert registry.split_source("cnn", {"size": 3}) == ("cnn", {"size": 3})
    assert registry.split_source("hf:a/b:c", {"x": 1}) == ("hf", {"x": 1, "source": "a/b:c"})
    assert registry.split_source("hf:a", {"source": "a"}) == ("hf", {"source": "a"})


@pytest.mark.parametrize(("name", "values"), [("hf:", {}), ("hf:a", {"source": "b"})])
def test_a_source_that_is_empty_or_twofold_is_refused(name, values):
    with pytest.raises(ConfigError, match="beside it|nothing after"):
        registry.split_source(name, values, where="x.toml")

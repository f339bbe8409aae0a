"""Clips whose pictures go through a published image network: its weights are found, kept, and not needed again."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from published_folders import PATCHES, SQUARE, TINY

from sensorium.core.errors import ConfigError
from sensorium.core.types import Media, MediaBatch
from sensorium.decoding.config import DecodingConfig
from sensorium.encoders.efficientnet import named_as_here
from sensorium.encoders.pretrained import read_weights
from sensorium.encoders.video_frames import VideoFrames
from sensorium.media.packaged import LISTING, packaged_files
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import load_model, save_model
from sensorium.tasks.registry import default_tokenizers
from sensorium.testing.encoder import check_encoder
from sensorium.workflow.config import config_from_text
from sensorium.workflow.prepare import prepare

sys.path.append(str(Path(__file__).parents[1] / "media"))
from filming import film

CONFIG = """
[data]
train = "clips.csv"
cache = ""
[inputs.clip]
modality = "video"
encoder = "frames"
num_frames = 2
hidden = 16
{more}
[inputs.clip.frame_encoder]
encoder = "{source}"
{options}
[target]
column = "answer"
task = "answer"
[fusion]
features = "concat"
width = 16
[language]
scorers = ["transformer"]
[language.transformer]
layers = 1
width = 16
heads = 2
"""


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    folder = tmp_path / "vit"
    transformers.ViTModel(transformers.ViTConfig(**TINY, **PATCHES)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
    return folder


def begun(folder: Path, source: str, *, more: str = "", options: str = "") -> MultimodalLM:
    """Return a model as training begins with it."""
    clips = [film(folder / f"{i}.mp4", num=4).name for i in range(4)]
    (folder / "clips.csv").write_text("clip,answer\n" + "".join(f"{clip},yes\n" for clip in clips))
    return prepare(config_from_text(CONFIG.format(source=source, more=more, options=options), folder)).model


@pytest.mark.parametrize("more", ["", "frozen = true"])
def test_a_network_of_pictures_begins_with_its_weights_and_is_saved_whole(
    vit: Path, tmp_path: Path, more: str
) -> None:
    want = transformers.AutoModel.from_pretrained(vit).state_dict()
    model = begun(tmp_path, f"hf:{vit}", more=more).eval()
    clip: Any = model.encoders["clip"]
    network = (clip.encoder if more else clip).frame.network.state_dict()
    shared = [name for name in network if name in want]
    assert len(shared) > 10
    assert all(torch.equal(network[name], want[name]) for name in shared)
    save_model(model, tmp_path / "model", answers=["yes"], card="", decoding=DecodingConfig())
    shutil.rmtree(vit)
    again, _ = load_model(tmp_path / "model", default_tokenizer=default_tokenizers())
    said = []
    for one in (model, again):
        preparer = one.preparers["clip"]
        media = MediaBatch(*preparer.collate([preparer(Media(path=tmp_path / "0.mp4"))]), torch.zeros(1).long())
        with torch.no_grad():
            said.append(one.encode("clip", media).x_BTD)
    assert torch.equal(*said)


def test_the_contract(vit: Path, tmp_path: Path) -> None:
    config = VideoFrames.Config(frame_encoder=f"hf:{vit}", num_frames=3, hidden=16, dropout=0.0)
    preparer = config.preparer().fit([])
    clips = [Media(path=film(tmp_path / f"{num}.mp4", num=num)) for num in (8, 2, 4, 1)]
    values = [preparer(clip) for clip in clips]
    assert [len(value) for value in values] == [3, 2, 3, 1]
    check_encoder(
        lambda: VideoFrames(config, preparer, 12),
        lambda num: MediaBatch(*preparer.collate(values[:num]), torch.arange(num)),
    )


def test_a_packaged_network_begins_with_its_weights(tmp_path: Path) -> None:
    name = "efficientnet-lite0"
    try:
        distribution(LISTING[name].package)
    except PackageNotFoundError:
        pytest.skip(f"the weights are not installed: {LISTING[name].install}")
    (path,) = packaged_files(name).values()
    model: Any = begun(tmp_path, f"packaged:{name}", options="size = 32")
    trunk, want = model.encoders["clip"].frame.trunk.state_dict(), named_as_here(read_weights(path))
    assert sum(torch.equal(trunk[name], want[name]) for name in trunk if name in want) > 100


def test_a_published_network_reads_a_number_of_pictures(vit: Path) -> None:
    with pytest.raises(ConfigError, match="not some a second"):
        VideoFrames.Config.parse({"frame_encoder": f"hf:{vit}", "rate_hz": 2.0}, prefix="inputs.clip")

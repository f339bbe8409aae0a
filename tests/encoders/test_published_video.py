"""Published networks of clips as encoders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import transformers
from published_folders import PATCHES, SQUARE, TINY

from sensorium.core.errors import ModelError
from sensorium.core.types import Media, MediaBatch
from sensorium.encoders.video_hf import VideoHF
from sensorium.testing.encoder import check_encoder

NUM_FRAMES = 4


def clip(num: int, seed: int) -> Media:
    """A clip of some pictures in memory, each a flat colour of its own."""
    draw, file = np.random.default_rng(seed), io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 24, 20, "bgr0"
        for _ in range(num):
            pixel_HW3 = np.broadcast_to(draw.integers(0, 256, 3, dtype=np.uint8), (20, 24, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixel_HW3), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Media(data=file.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videomae")
    config = transformers.VideoMAEConfig(**TINY, **PATCHES, num_frames=NUM_FRAMES, tubelet_size=2)
    transformers.VideoMAEModel(config).save_pretrained(folder)
    transformers.VideoMAEImageProcessorPil(size={"shortest_edge": 18}, crop_size=SQUARE).save_pretrained(folder)
    return folder


def batch_of(preparer: Any, num: int) -> MediaBatch:
    values = [preparer(clip(length, seed)) for seed, length in enumerate((9, 2, 4, 6)[:num])]
    return MediaBatch(*preparer.collate(values), torch.arange(num))


def test_the_contract(folder: Path) -> None:
    config = VideoHF.Config(source=str(folder))
    preparer = config.preparer().fit([])
    assert batch_of(preparer, 4).values.shape == (4, NUM_FRAMES, 3, 17, 16)
    check_encoder(lambda: VideoHF(config, preparer, 24), lambda num: batch_of(preparer, num))


def test_features_are_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    config = VideoHF.Config(source=str(folder))
    preparer = config.preparer().fit([])
    encoder = VideoHF(config, preparer, 24).load_pretrained().eval()
    preparer.save(tmp_path)
    media = batch_of(config.preparer().load(tmp_path), 3)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = transformers.AutoModel.from_pretrained(folder).eval()
    frames = [frame.permute(1, 2, 0).numpy() for frame in media.values[2, :, :, :-1]]
    given = processor(frames, do_resize=False, do_center_crop=False, return_tensors="pt")
    with torch.no_grad():
        want = network(given["pixel_values"]).last_hidden_state
        x_UTF, mask = encoder.features(media.values, media.mask_UT)
        short, whole = media.values[1:2, :2], media.values[1:2, [0, 1, 1, 1]]
        repeated = [encoder.features(values, None)[0] for values in (short, whole)]
    assert mask is None
    torch.testing.assert_close(x_UTF[2:3], want, atol=2e-5, rtol=1e-4)
    assert torch.equal(*repeated), "a short clip ends in its last picture, repeated"


def test_a_network_of_pictures_takes_no_clips(tmp_path: Path) -> None:
    transformers.ViTModel(transformers.ViTConfig(**TINY, **PATCHES)).save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size=SQUARE).save_pretrained(tmp_path)
    config = VideoHF.Config(source=str(tmp_path))
    with pytest.raises(ModelError, match="ViTModel does not take video"):
        VideoHF(config, config.preparer().fit([]), 24)

"""What video encoders make of order, of time, and of the image encoder inside."""

from __future__ import annotations

import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.core.types import MediaBatch
from sensorium.data.time_code import with_times
from sensorium.encoders.time_embedding import TimeEmbedding
from sensorium.encoders.video_frames import VideoFrames
from sensorium.testing.encoder import check_encoder

CNN = {"encoder": "cnn", "size": 16, "channels": [4, 6], "grid": 2, "norm": "group"}
FRAMES = {
    "cnn": CNN,
    "vit": {"encoder": "vit", "size": 16, "patch": 8, "hidden": 16, "heads": 2, "layers": 1, "mlp": 16},
    "resnet18": {"encoder": "resnet18", "size": 64},
}


def encoder_of(**options) -> VideoFrames:
    config = VideoFrames.Config(**{"frame_encoder": CNN, "hidden": 16, **options})
    return VideoFrames(config, config.preparer(), 12).eval()


def clips(num: int, side: int = 16, lengths=(3, 1, 5, 4), step_s: float = 0.25) -> MediaBatch:
    preparer = VideoFrames.Config(frame_encoder={**CNN, "size": side}).preparer()
    values = [
        with_times(torch.randint(256, (n, 3, side, side), dtype=torch.uint8), torch.arange(n) * step_s)
        for n in lengths[:num]
    ]
    return MediaBatch(*preparer.collate(values), torch.arange(num))


@pytest.mark.parametrize("over_time", ["mean", "gru", "transformer"])
@pytest.mark.parametrize("places", ["all", "mean"])
def test_every_way_keeps_the_contract(over_time, places):
    check_encoder(lambda: encoder_of(over_time=over_time, places=places, dropout=0.0), clips)


@pytest.mark.parametrize("name", FRAMES)
def test_any_image_encoder(name):
    encoder = encoder_of(frame_encoder=FRAMES[name])
    side = FRAMES[name]["size"]
    encoded = encoder(clips(2, side))
    assert encoded.x_BTD.shape == (2, 3, 12)
    assert encoded.mask_BT.sum(1).tolist() == [3, 1]


@pytest.mark.parametrize("over_time", ["gru", "transformer"])
def test_order_and_times_matter(over_time):
    torch.manual_seed(0)
    encoder = encoder_of(over_time=over_time)
    media = clips(1, lengths=(4,))
    backwards = media.values.clone()
    backwards[:, :, :, :-1] = media.values[:, :, :, :-1].flip(1)
    slower = clips(1, lengths=(4,), step_s=1.0)
    slower.values[:, :, :, :-1] = media.values[:, :, :, :-1]
    with torch.no_grad():
        x_1TD = encoder(media).x_BTD
        for other in (backwards, slower.values):
            found = encoder(MediaBatch(other, media.mask_UT, media.row_B)).x_BTD
            assert (found.mean(1) - x_1TD.mean(1)).abs().max() > 1e-4


def test_padding_does_not_reach_batch_statistics():
    torch.manual_seed(0)
    config = {**CNN, "norm": "batch"}
    media = clips(2, lengths=(4, 2))
    means = []
    for padding in (0, 255):
        encoder = encoder_of(frame_encoder=config)
        torch.manual_seed(1)
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter)
        values = media.values.clone()
        values[1, 2:] = padding
        encoder.train()
        encoder(MediaBatch(values, media.mask_UT, media.row_B))
        means.append(dict(encoder.named_buffers())["frame.trunk.0.1.running_mean"].clone())
    assert torch.equal(*means)


def test_one_clock_for_all_rates():
    embed = TimeEmbedding(8)
    fast, slow = embed(torch.arange(9)[None] / 8.0), embed(torch.arange(3)[None] / 2.0)
    torch.testing.assert_close(fast[0, [0, 4, 8]], slow[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("cnm", "did you mean 'image.cnn'"),
        ({"encoder": "cnn", "sise": 16}, "did you mean 'size'"),
        ({"size": 16}, "a key 'encoder'"),
        ("words", "reads no pixels"),
    ],
)
def test_bad_image_encoders(given, words):
    with pytest.raises(ConfigError, match=words):
        VideoFrames.Config.parse({"frame_encoder": given}, prefix="inputs.clip")

"""Clips as tensors: pictures, and times beneath them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, DataError, MediaError
from sensorium.core.types import Media
from sensorium.data.cache import PreparedCache
from sensorium.data.time_code import LONGEST_S, parted, with_times
from sensorium.data.video_preparer import VideoPreparer
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import read_video

sys.path.append(str(Path(__file__).parents[1] / "media"))
from filming import film


@given(st.lists(st.floats(0, 100_000), min_size=1, max_size=4))
def test_times_come_back(times):
    picture = torch.randint(256, (len(times), 3, 8, 8), dtype=torch.uint8)
    value = with_times(picture, torch.tensor(times, dtype=torch.float64))
    back, time_N = parted(value)
    assert torch.equal(back, picture)
    torch.testing.assert_close(time_N, torch.tensor(times, dtype=torch.float32), atol=1e-4, rtol=1e-6)
    assert torch.equal(parted(value.float() + 0.2)[1], time_N), "what is blended with itself stays"
    assert parted(with_times(picture[:1], torch.tensor([1e12])))[1].item() == pytest.approx(LONGEST_S)


def test_prepares_and_pads(tmp_path):
    long, short = film(tmp_path / "long.mp4", num=24), film(tmp_path / "short.mp4", num=3)
    preparer = VideoPreparer(num_frames=6, size=16, exact=True)
    values = [preparer(Media(path=path)) for path in (long, short)]
    assert [tuple(value.shape) for value in values] == [(6, 3, 17, 16), (3, 3, 17, 16)]
    picture_NCSS, time_N = parted(values[0])
    clip = read_video(Media(path=long), MediaPolicy(), num_frames=6, exact=True)
    np.testing.assert_allclose(time_N.numpy(), clip.time_N, atol=1e-4)
    want = clip.frame_NHW3.mean((1, 2, 3))
    np.testing.assert_allclose(picture_NCSS.float().mean((1, 2, 3)).numpy(), want, atol=1)
    batch, mask_UN = preparer.collate(values)
    assert batch.shape == (2, 6, 3, 17, 16)
    assert mask_UN.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    assert preparer.collate([])[0].shape == (0, 0, 3, 17, 16)


def test_what_is_cut_is_counted(tmp_path):
    path = film(tmp_path / "a.mp4", num=24)
    preparer = VideoPreparer(rate_hz=6, max_frames=5, size=16)
    assert len(preparer(Media(path=path))) == 5
    assert preparer.truncated == 1
    enough = VideoPreparer(rate_hz=6, max_frames=12, size=16)
    assert len(enough(Media(path=path))) == 12
    assert enough.truncated == 0


def test_fingerprints_name_what_matters_and_the_cache_keeps(tmp_path):
    path = film(tmp_path / "a.mp4", num=6)
    names = {
        VideoPreparer(**options).fingerprint
        for options in ({}, {"num_frames": 4}, {"exact": True}, {"size": 32}, {"rate_hz": 8}, {"resize": "pad"})
    }
    assert len(names) == 6
    preparer = VideoPreparer(num_frames=3, size=16)
    items = [Media(path=path), Media(path=path, span_s=(0.2, 0.5))]
    first = PreparedCache(tmp_path / "cache").warm(items, preparer)
    again = PreparedCache(tmp_path / "cache").warm(items, preparer)
    assert (first.num_prepared, again.num_prepared) == (2, 0)
    assert torch.equal(again.tensors[0], preparer(items[0]))
    assert torch.equal(again.tensors[1], preparer(items[1]))


def test_bad_settings_and_items():
    for options in ({"num_frames": 0}, {"rate_hz": 0.0}, {"size": 4}):
        with pytest.raises(ConfigError):
            VideoPreparer(**options)
    with pytest.raises(DataError, match="holds clips"):
        VideoPreparer()("a text")
    with pytest.raises(MediaError, match="not a clip"):
        VideoPreparer()(Media(data=b"no clip"))

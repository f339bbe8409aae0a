"""What is kept in a cache is given only where the media policy of today would open the file, and while it is the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.core.types import Media
from sensorium.data import digests
from sensorium.data.cache import PreparedCache
from sensorium.data.digests import DigestMemo
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.synthesis.speech import write_wav
from sensorium.data.table import _state as table_state
from sensorium.encoders.image_cnn import ImageCNN
from sensorium.media.policy import MediaPolicy
from sensorium.model.frozen import FeaturePreparer

NUMBER = 6


def image() -> Any:
    return ImagePreparer(size=8)


def features() -> Any:
    torch.manual_seed(0)
    config = ImageCNN.Config(size=8, channels=(4,), grid=1)
    return FeaturePreparer(config.preparer(), ImageCNN(config, config.preparer(), 4), "photo")


def sound() -> Any:
    return LogMelPreparer(rate_hz=8000, num_mels=8)


IMAGES = {"max_pixels": 100, "max_aspect": 1.2, "max_image_bytes": 20}
SOUNDS = {"max_audio_seconds": 0.1, "max_audio_bytes": 20, "min_rate_hz": 9000, "max_rate_hz": 7000}
CASES = [
    *((make, name, cap) for make in (image, features) for name, cap in IMAGES.items()),
    *((sound, name, cap) for name, cap in SOUNDS.items()),
    *((make, "roots", None) for make in (image, features, sound)),
]


def media(folder: Path, make: Callable[[], Any]) -> list[Media]:
    folder.mkdir()
    found = []
    for i in range(NUMBER):
        path = folder / f"{i}"
        if make is sound:
            write_wav(path, np.sin(np.arange(8000) * (i + 1) / 20).astype(np.float32), 8000)
        else:
            Image.new("RGB", (20, 10), (i, 2 * i, 3 * i)).save(path, "PNG")
        os.utime(path, (1e9, 1e9))
        found.append(Media(path=path))
    return found


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were made a moment ago are remembered as those of yesterday are."""
    monkeypatch.setattr(digests, "_UNSETTLED_NS", -1)


@pytest.mark.parametrize(("make", "name", "cap"), CASES)
def test_a_policy_that_is_tightened_holds_for_what_is_kept(tmp_path, make, name, cap):
    items, cache = media(tmp_path / "media", make), PreparedCache(tmp_path / "cache")
    first = cache.warm(items, make())
    assert (first.num_prepared, first.failures) == (NUMBER, {})
    assert cache.warm(items, make()).num_prepared == 0
    tight = make()
    tight.policy = MediaPolicy(**{name: (tmp_path / "granted",) if name == "roots" else cap})
    refused = PreparedCache(tmp_path / "cache").warm(items, tight)
    assert (len(refused.tensors), sorted(refused.failures)) == (0, list(range(NUMBER)))
    again = cache.warm(items, make())
    assert (again.num_prepared, len(again.tensors)) == (0, NUMBER)


@pytest.mark.parametrize("make", [image, features, sound])
def test_granting_another_folder_prepares_nothing_anew(tmp_path, make):
    items, cache = media(tmp_path / "media", make), PreparedCache(tmp_path / "cache")
    cache.warm(items, make())
    granted = make()
    granted.policy = MediaPolicy(roots=(tmp_path,))
    assert cache.warm(items, granted).num_prepared == 0


def overwrite(path: Path, data: bytes) -> None:
    """Put other content in place, of equal size and with the time of writing that the old one had."""
    status = path.stat()
    assert len(data) == status.st_size
    before = status.st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_content_that_is_exchanged_in_place_is_seen(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    memo = DigestMemo(tmp_path / "memo.sqlite")
    (first,) = memo.digests([Media(path=path)])
    state = table_state(path)
    assert list(memo.digests([Media(path=path)])) == [first]
    overwrite(path, b"two")
    assert table_state(path) != state
    (second,) = memo.digests([Media(path=path)])
    assert second != first
    (tmp_path / "b.bin").write_bytes(b"one")
    os.utime(tmp_path / "b.bin", (1e9, 1e9))
    (tmp_path / "b.bin").replace(path)
    assert list(memo.digests([Media(path=path)])) == [first]


def test_a_file_that_was_changed_a_moment_ago_is_not_remembered(tmp_path, monkeypatch):
    """It may change again within one tick of the clock; the time of writing that it shows may be any."""
    monkeypatch.setattr(digests, "_UNSETTLED_NS", 2_000_000_000)
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    memo = DigestMemo(tmp_path / "memo.sqlite")
    (first,) = memo.digests([Media(path=path)])
    path.write_bytes(b"two")
    os.utime(path, (1e9, 1e9))
    assert list(memo.digests([Media(path=path)])) != [first]

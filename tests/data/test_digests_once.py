"""A file's content is read once, however many spans of it rows name; published weights once while untouched."""

import hashlib

import pytest

from sensorium.core.errors import ModelError, SensoriumError
from sensorium.core.types import Media
from sensorium.data.digests import DigestMemo
from sensorium.media import bytes as media_bytes
from sensorium.media import packaged
from sensorium.media.bytes import digest


def test_cues_of_one_recording_read_it_once(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(name.encode() * 1000)
    spans = [None, (0.0, 1.0), (1.0, 2.5), (2.5, None)]
    cues = [Media(tmp_path / f"{name}.wav", span_s=span) for span in spans for name in "ab"]
    want, reads, real = [digest(cue) for cue in cues], [], media_bytes.read_bytes
    monkeypatch.setattr(
        media_bytes, "read_bytes", lambda media, *rest: (reads.append(media.path), real(media, *rest))[1]
    )
    assert list(DigestMemo(tmp_path / "memo.sqlite").digests(cues)) == want
    assert len(set(want)) == 8
    assert sorted(reads) == [tmp_path / "a.wav", tmp_path / "b.wav"]


def test_each_cue_of_a_missing_recording_has_its_own_reason(tmp_path):
    cues = [Media(tmp_path / "none.wav", span_s=(second, second + 1.0)) for second in (0.0, 1.0)]
    first, second = DigestMemo(tmp_path / "memo.sqlite").digests(cues)
    assert isinstance(first, SensoriumError)
    assert "#t=0,1" in str(first)
    assert "#t=1,2" in str(second)


def test_packaged_weights_are_hashed_once_until_they_change(tmp_path, monkeypatch):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"right")
    weights, sha256 = packaged.LISTING["minilm"], hashlib.sha256(b"right").hexdigest()
    calls, real = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: (calls.append(1), real(*args))[1])
    for _ in range(3):
        packaged._verify(path, sha256, weights, "here")
    assert len(calls) == 1
    path.write_bytes(b"another")
    with pytest.raises(ModelError, match="not the pinned file"):
        packaged._verify(path, sha256, weights, "here")

"""The small files of published networks, and what prepares media from them."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from published_folders import CASES, media_of, picture, sound

from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.core.types import Media
from sensorium.data.published import Published, folder_of, is_hub_name, pinned_revision
from sensorium.data.published_audio import PublishedAudioPreparer
from sensorium.data.published_image import PublishedImagePreparer
from sensorium.data.published_text import PublishedTextPreparer
from sensorium.media.audio import read_audio
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy

Folder = Callable[[str], Path]
PREPARERS: dict[str, Any] = {
    "text": PublishedTextPreparer,
    "image": PublishedImagePreparer,
    "audio": PublishedAudioPreparer,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(published: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub's copies on a machine without a network: one network, `org/tiny`, at one commit."""
    from huggingface_hub import constants

    kept = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(published("bert"), kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return "org/tiny"


def test_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    names = {
        "org/name": True,
        "gpt2": True,
        "there": False,
        "/a/b": False,
        "./a": False,
        "../a/b": False,
        "a/b/c": False,
    }
    assert {name: is_hub_name(name) for name in names} == names


def test_a_revision_of_the_hub_is_pinned_to_a_commit(hub: str) -> None:
    assert pinned_revision(hub, None) == pinned_revision(hub, "main") == COMMIT
    assert pinned_revision("org/never-seen", COMMIT) == COMMIT, "a commit needs no answer"
    assert folder_of(hub, COMMIT, with_weights=True).name == COMMIT
    read = Published.read(hub, COMMIT)
    assert (read.source, read.revision) == (hub, COMMIT)


def test_without_a_network_the_error_says_what_to_do(hub: str) -> None:
    for name, revision in [("org/other", None), (hub, "v2")]:
        with pytest.raises(ConfigError, match=r"hf:.*cannot be had from the hub.*hf download"):
            pinned_revision(name, revision)
    with pytest.raises(ModelError, match="cannot be had from the hub"):
        folder_of("org/other", COMMIT)


def test_a_folder_has_no_revision(published: Folder) -> None:
    assert pinned_revision(str(published("bert")), None) is None
    with pytest.raises(ConfigError, match="no revisions"):
        pinned_revision(str(published("bert")), "main")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "holds no config.json"), (b"{", "not JSON"), (b"[]", "holds no keys")],
)
def test_a_folder_without_a_usable_config(content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        Published.read(str(tmp_path), None)


def test_a_processor_that_is_missing_or_damaged(published: Folder, tmp_path: Path) -> None:
    for name, file, what in [
        ("bert", "tokenizer.json", "tokenizer"),
        ("vit", "preprocessor_config.json", "image processor"),
        ("whisper", "preprocessor_config.json", "feature extractor"),
    ]:
        copy = shutil.copytree(published(name), tmp_path / name)
        prepare = PREPARERS[CASES[name].modality]
        (copy / file).write_text('{"broken')
        with pytest.raises(ModelError, match=what):
            prepare(str(copy)).fit([])
        (copy / file).unlink()
        with pytest.raises(ModelError, match=what):
            prepare(str(copy)).fit([])


@pytest.mark.parametrize(
    "name", ["bert", "gpt2", "clip", "convnext", "whisper", "wav2vec2", "audio-spectrogram-transformer"]
)
def test_saved_pickled_and_loaded_it_prepares_the_same(name: str, published: Folder, tmp_path: Path) -> None:
    modality = CASES[name].modality
    first = PREPARERS[modality](str(published(name))).fit([])
    first.save(tmp_path)
    loaded = PREPARERS[modality]("/gone/away").load(tmp_path)
    sent = pickle.loads(pickle.dumps(first))
    item = media_of(modality)[0]
    assert loaded.fingerprint == sent.fingerprint == first.fingerprint
    assert torch.equal(first(item), loaded(item))
    assert torch.equal(first(item), sent(item))
    assert not list(tmp_path.glob("*.safetensors")), "weights are saved with the model, once"


def test_before_it_has_read_its_files_it_says_so() -> None:
    with pytest.raises(ModelError, match="not read yet"):
        _ = PublishedTextPreparer("x").fingerprint
    with pytest.raises(ModelError, match="network it is of"):
        PublishedTextPreparer("x").load(Path("/nowhere"))


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.modality == "image"])
def test_pictures_are_those_of_the_processor(name: str, published: Folder) -> None:
    preparer = PublishedImagePreparer(str(published(name))).fit([])
    theirs = transformers.AutoImageProcessor.from_pretrained(published(name), backend="pil")
    for item in media_of("image"):
        value_CHW = preparer(item)
        assert value_CHW.dtype == torch.uint8
        shape = (3, 1, 1)
        mean, std = (torch.tensor(x).view(shape) for x in (preparer.mean_C, preparer.std_C))
        want = theirs(read_image(item, MediaPolicy()), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close((value_CHW * preparer.rescale - mean) / std, want, atol=2e-6, rtol=1e-5)


def test_a_processor_that_keeps_shapes_is_refused(published: Folder, tmp_path: Path) -> None:
    copy = shutil.copytree(published("vit"), tmp_path / "vit")
    facts = json.loads((copy / "preprocessor_config.json").read_text())
    facts["do_resize"] = False
    (copy / "preprocessor_config.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="several shapes"):
        PublishedImagePreparer(str(copy)).fit([])


def test_long_texts_are_cut_and_counted(published: Folder) -> None:
    preparer = PublishedTextPreparer(str(published("bert")), max_tokens=5).fit([])
    assert preparer("what is the blue red green shape").tolist()[0] == 1
    assert len(preparer("what is the blue red green shape")) == 5
    assert preparer.truncated == 2
    assert (
        preparer("what is it").tolist()
        == transformers.AutoTokenizer.from_pretrained(published("bert"))("what is it")["input_ids"]
    )
    assert preparer.truncated == 2
    assert PublishedTextPreparer(str(published("bert")), max_tokens=9_999).fit([]).max_tokens == 40
    assert PublishedTextPreparer(str(published("gpt2"))).fit([])("").tolist() == [3], "nothing is unknown"


def test_only_its_own_kind_of_item(published: Folder) -> None:
    for name, item in [("bert", Media(data=b"")), ("vit", "text"), ("whisper", "text")]:
        with pytest.raises(DataError, match="input holds"):
            PREPARERS[CASES[name].modality](str(published(name))).fit([])(item)


def test_layouts_of_sounds_are_found_by_trying(published: Folder) -> None:
    found = {
        name: PublishedAudioPreparer(str(published(name))).fit([]).layout
        for name, case in CASES.items()
        if case.modality == "audio"
    }
    assert {name: (x.length, x.time_axis, x.num_features, x.tells_length) for name, x in found.items()} == {
        "whisper": (100, 1, 8, False),
        "wav2vec2": (None, 0, 1, False),
        "hubert": (None, 0, 1, True),
        "audio-spectrogram-transformer": (48, 0, 16, False),
    }
    assert {name: x.frames_a_second for name, x in found.items()} == {
        "whisper": pytest.approx(100, rel=0.15),
        "wav2vec2": 16_000,
        "hubert": 16_000,
        "audio-spectrogram-transformer": pytest.approx(100, rel=0.15),
    }


@pytest.mark.parametrize("name", ["whisper", "audio-spectrogram-transformer"])
@pytest.mark.parametrize("num_samples", [1_600, 3_333, 7_000, 40_000])
def test_what_fills_a_clip_is_one_frame_repeated(name: str, num_samples: int, published: Folder) -> None:
    preparer = PublishedAudioPreparer(str(published(name)), half=False).fit([])
    item = sound(np.random.default_rng(1).standard_normal(num_samples) / 10)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(published(name))
    made = extractor(read_audio(item, MediaPolicy()), sampling_rate=16_000, return_tensors="pt")
    want = next(iter(made.values()))[0]
    want_TF = want.T if name == "whisper" else want
    got_TF = preparer(item)
    filled_TF = torch.cat([got_TF, got_TF[-1:].expand(len(want_TF) - len(got_TF), -1)])
    assert torch.equal(filled_TF, want_TF)
    assert preparer.truncated == (num_samples == 40_000)


def test_long_and_short_sounds(published: Folder) -> None:
    preparer = PublishedAudioPreparer(str(published("hubert")), max_seconds=0.2).fit([])
    assert preparer(sound(np.random.default_rng(0).standard_normal(8_000) / 10)).shape == (3_200, 1)
    assert preparer.truncated == 1
    assert preparer(sound(np.full(10, 0.1))).shape == (1_600, 1)
    assert preparer.truncated == 1


def test_pictures_of_another_side(published: Folder) -> None:
    flat = picture(np.full((30, 40, 3), 200, dtype=np.uint8))
    for name in ("vit", "clip", "siglip", "dinov2"):
        value_CHW = PublishedImagePreparer(str(published(name)), size=32).fit([])(flat)
        assert value_CHW.shape == (3, 32, 32)
        assert (value_CHW == 200).all()

"""Preparers of text, images and sounds: shapes, sizes, counts, storage, and what they refuse."""

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sensorium.core.errors import ConfigError, DataError, MediaError, ModelError
from sensorium.core.protocols import Preparer
from sensorium.core.types import Item, Media
from sensorium.core.vocabulary import PAD, UNK
from sensorium.data.image_preparer import ImagePreparer
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.text_preparer import TextPreparer
from sensorium.media.log_mel import log_mel
from sensorium.media.policy import MediaPolicy

TEXTS = ["a red circle", "a blue circle", "两只狗", "a red circle"]


def image_of(pixels_HWC: NDArray[np.uint8], kind: str = "PNG") -> Media:
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, kind)
    return Media(data=file.getvalue())


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sound_of(samples_N: NDArray[np.float32], rate_hz: int = 16_000) -> Media:
    file = io.BytesIO()
    soundfile.write(file, samples_N, rate_hz, format="WAV", subtype="FLOAT")
    return Media(data=file.getvalue())


def hum(seconds: float, rate_hz: int = 16_000) -> NDArray[np.float32]:
    time_N = np.arange(int(seconds * rate_hz)) / rate_hz
    swell_N = 0.1 + 0.4 * np.square(np.sin(2 * np.pi * 3 * time_N))
    return (swell_N * np.sin(2 * np.pi * 300 * time_N)).astype(np.float32)


CASES: dict[str, tuple[Callable[[], Preparer], list[Item]]] = {
    "text": (lambda: TextPreparer(max_tokens=4).fit(TEXTS), list(TEXTS)),
    "image": (lambda: ImagePreparer(size=8), [image_of(noise(8, 8)), image_of(noise(30, 20))]),
    "audio": (lambda: LogMelPreparer(num_mels=20), [sound_of(hum(0.2)), sound_of(hum(0.5))]),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Preparer, list[Item]]:
    make, items = CASES[request.param]
    return make(), items


# ------------------------------------------------------------------------- what holds for all three


def test_obeys_the_protocol(case: tuple[Preparer, list[Item]]) -> None:
    preparer, items = case
    assert isinstance(preparer, Preparer)
    values = [preparer(item) for item in items]
    batch, mask_UT = preparer.collate(values)
    assert batch.shape[0] == len(items)
    assert batch.dtype == values[0].dtype
    for u, value in enumerate(values):
        if mask_UT is None:
            assert torch.equal(batch[u], value)
        else:
            assert mask_UT.dtype == torch.bool
            assert torch.equal(batch[u][mask_UT[u]], value)
            assert torch.equal(batch[u][len(value) :], torch.zeros_like(batch[u][len(value) :]))


def test_collates_nothing(case: tuple[Preparer, list[Item]]) -> None:
    preparer, items = case
    some, _ = preparer.collate([preparer(item) for item in items])
    none, mask_UT = preparer.collate([])
    assert none.shape[0] == 0
    assert none.ndim == some.ndim
    assert none.dtype == some.dtype
    assert mask_UT is None or (mask_UT.shape[0] == 0 and mask_UT.dtype == torch.bool)


def test_pickles_and_stores(case: tuple[Preparer, list[Item]], tmp_path: Path) -> None:
    preparer, items = case
    again = pickle.loads(pickle.dumps(preparer))
    preparer.save(tmp_path)
    for other in (again, again.load(tmp_path)):
        assert other.fingerprint == preparer.fingerprint
        assert all(torch.equal(other(item), preparer(item)) for item in items)


def test_blank_cells_are_none(case: tuple[Preparer, list[Item]], tmp_path: Path) -> None:
    preparer, _ = case
    assert preparer.item("", tmp_path) is None
    assert preparer.item(" \t", tmp_path) is None


def test_wrong_items_are_refused(case: tuple[Preparer, list[Item]]) -> None:
    preparer, _ = case
    wrong = Media(data=b"x") if preparer.modality == "text" else "a text"
    with pytest.raises(DataError, match="not"):
        preparer(wrong)
    with pytest.raises(DataError, match="not NoneType"):
        preparer(None)


@pytest.mark.parametrize("make", [ImagePreparer, LogMelPreparer])
def test_media_cells_are_paths_below_the_table(
    make: type[ImagePreparer] | type[LogMelPreparer], tmp_path: Path
) -> None:
    assert make().item(" a/b.x ", tmp_path) == Media(path=tmp_path / "a" / "b.x")
    assert make().item("/else/c.x", tmp_path) == Media(path=Path("/else/c.x"))
    with pytest.raises(MediaError, match=r"b\.x"):
        make()(make().item("b.x", tmp_path))


def test_fingerprints_name_every_setting() -> None:
    makes: list[Callable[[], Preparer]] = [
        ImagePreparer,
        lambda: ImagePreparer(size=65),
        lambda: ImagePreparer(resize="crop"),
        LogMelPreparer,
        lambda: LogMelPreparer(rate_hz=8_000),
        lambda: LogMelPreparer(num_mels=40),
        lambda: LogMelPreparer(window_ms=20),
        lambda: LogMelPreparer(hop_ms=20),
        lambda: LogMelPreparer(max_seconds=2),
        lambda: LogMelPreparer(normalize="mel"),
        lambda: LogMelPreparer(range_db=60),
        lambda: LogMelPreparer(half=False),
        lambda: TextPreparer().fit(TEXTS),
        lambda: TextPreparer(max_tokens=3).fit(TEXTS),
        lambda: TextPreparer(tokenizer="character").fit(TEXTS),
        lambda: TextPreparer(lowercase=False).fit(TEXTS),
        lambda: TextPreparer().fit([*TEXTS, "more"]),
    ]
    names = [make().fingerprint for make in makes]
    assert len(set(names)) == len(names)
    assert [make().fingerprint for make in makes] == names


# --------------------------------------------------------------------------------------------- text


def test_text_becomes_ids() -> None:
    preparer = TextPreparer().fit(iter([*TEXTS, None]))
    ids_T = preparer("a red dog")
    assert ids_T.dtype == torch.int64
    assert [preparer.vocab.tokens[i] for i in ids_T.tolist()] == ["a", "red", "<unk>"]
    assert preparer.unknown == 1
    batch, mask_UT = preparer.collate([preparer("a"), preparer("a red circle")])
    assert batch[0].tolist()[1:] == [PAD, PAD]
    assert mask_UT.tolist() == [[True, False, False], [True, True, True]]


def test_long_texts_keep_their_beginning_and_are_counted() -> None:
    preparer = TextPreparer(max_tokens=2).fit(TEXTS)
    assert preparer.truncated == 0
    assert torch.equal(preparer("a red circle"), preparer("a red"))
    assert preparer.truncated == 1


def test_a_text_without_tokens_is_one_unknown() -> None:
    preparer = TextPreparer().fit(TEXTS)
    assert preparer("\u200b").tolist() == [UNK]
    assert preparer.unknown == 1


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab ."), max_size=6), min_size=1, max_size=12),
    st.sampled_from(["word", "character", "bpe"]),
)
def test_document_counts_equal_a_plain_count(texts: list[str], tokenizer: str) -> None:
    preparer = TextPreparer(tokenizer=tokenizer).fit(iter(texts))
    different = set(texts)
    holding = [set(preparer.tokenizer.encode(text) or [UNK]) for text in different]
    assert preparer.num_documents == len(different)
    assert preparer.document_counts == [sum(i in ids for ids in holding) for i in range(len(preparer.vocab))]


def test_text_options_reach_the_tokenizer() -> None:
    preparer = TextPreparer(tokenizer="bpe", vocabulary_size=270).fit(TEXTS)
    assert len(preparer.vocab) <= 270
    assert preparer.tokenizer.decode(preparer("两只狗").tolist()) == "两只狗"
    with pytest.raises(ConfigError, match="did you mean 'min_count'"):
        TextPreparer(min_counts=2)
    with pytest.raises(ConfigError, match="max_tokens"):
        TextPreparer(max_tokens=0)
    with pytest.raises(ConfigError, match="did you mean 'word'"):
        TextPreparer(tokenizer="wrod")


def test_fitting_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no text to fit"):
        TextPreparer().fit([None, None])
    with pytest.raises(DataError, match="not Media"):
        TextPreparer().fit([Media(data=b"x")])
    with pytest.raises(ModelError, match="no vocabulary yet"):
        _ = TextPreparer().fingerprint


@pytest.mark.parametrize(
    "content", ["", "{}", '{"num_documents": 1, "document_counts": [1]}', '{"num_documents": "x"}']
)
def test_damaged_counts_are_named(content: str, tmp_path: Path) -> None:
    TextPreparer().fit(TEXTS).save(tmp_path)
    (tmp_path / "text.json").write_text(content)
    with pytest.raises(ModelError, match=r"text\.json"):
        TextPreparer().load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
        TextPreparer().load(tmp_path)


# -------------------------------------------------------------------------------------------- image


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_an_image_of_the_right_size_is_untouched(resize: str) -> None:
    pixels_HWC = noise(64, 64)
    image = ImagePreparer(size=64, resize=resize)(image_of(pixels_HWC))
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert np.array_equal(image.numpy(), pixels_HWC.transpose(2, 0, 1))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(30, 90), (91, 31), (1, 7), (600, 400)])
def test_any_shape_becomes_one_size(resize: str, shape: tuple[int, int]) -> None:
    assert ImagePreparer(size=32, resize=resize)(image_of(noise(*shape))).shape == (3, 32, 32)


def test_three_ways_to_resize_a_flag() -> None:
    """Red, green and blue thirds, side by side: what each way keeps of them."""
    flag = np.zeros((40, 120, 3), dtype=np.uint8)
    for third in range(3):
        flag[:, third * 40 : (third + 1) * 40, third] = 255
    stretched, cropped, padded = (
        ImagePreparer(size=60, resize=way)(image_of(flag)) for way in ("stretch", "crop", "pad")
    )
    for third in range(3):
        assert (stretched[third, :, third * 20 + 2 : third * 20 + 18] == 255).all()
        assert (padded[third, 20:40, third * 20 + 2 : third * 20 + 18] == 255).all()
    inner = slice(2, -2)  # at the border the filter sees the neighbours' colours
    assert (cropped[1, :, inner] == 255).all()
    assert cropped[0, :, inner].max() == cropped[2, :, inner].max() == 0
    assert padded[:, :20].max() == padded[:, 40:].max() == 0


@pytest.mark.parametrize("side", [256, 1024])
def test_shrinking_is_antialiased(side: int) -> None:
    """Lines one pixel wide become grey, not stripes; and each pixel stands for its own area."""
    lines = np.zeros((side, side, 3), dtype=np.uint8)
    lines[:, ::2] = 255
    image = ImagePreparer(size=32)(image_of(lines)).float()
    assert (image - 127.5).abs().max() <= 4
    ramp = np.broadcast_to(np.linspace(0, 255, side)[None, :, None], (side, side, 3)).round().astype(np.uint8)
    area_means = ramp[0, :, 0].reshape(32, -1).mean(1)
    inner = slice(1, -1)  # at the borders the filter is cut off
    assert np.abs(ImagePreparer(size=32)(image_of(ramp))[0, 5].numpy() - area_means)[inner].max() <= 1.5


def test_jpeg_draft_changes_little() -> None:
    y, x = np.mgrid[0:512, 0:768]
    waves = np.stack(
        [127 + 120 * np.sin(x / 60), 127 + 120 * np.sin(y / 50), 127 + 120 * np.cos((x + y) / 70)], axis=2
    )
    pixels_HWC = waves.astype(np.uint8)
    for resize in ("stretch", "crop", "pad"):
        preparer = ImagePreparer(size=48, resize=resize)
        from_jpeg, from_png = preparer(image_of(pixels_HWC, "JPEG")), preparer(image_of(pixels_HWC))
        assert (from_jpeg.float() - from_png.float()).abs().mean() < 3


def test_image_settings_and_policy_are_obeyed() -> None:
    with pytest.raises(ConfigError, match="choose stretch, crop or pad"):
        ImagePreparer(resize="squeeze")  # type: ignore[arg-type]
    for size in (0, 5_000):
        with pytest.raises(ConfigError, match="size"):
            ImagePreparer(size=size)
    with pytest.raises(MediaError, match="pixels"):
        ImagePreparer(policy=MediaPolicy(max_pixels=50))(image_of(noise(8, 8)))


# -------------------------------------------------------------------------------------------- audio


def test_log_mel_without_normalisation_is_the_media_rooms() -> None:
    samples_N = hum(0.3)
    value_TM = LogMelPreparer(normalize="none", half=False, num_mels=40)(sound_of(samples_N))
    assert torch.equal(value_TM, log_mel(torch.from_numpy(samples_N), num_mels=40))
    half_TM = LogMelPreparer(normalize="none", num_mels=40)(sound_of(samples_N))
    assert half_TM.dtype == torch.float16
    assert (half_TM.float() - value_TM).abs().max() < 0.01


def test_frames_follow_the_hop() -> None:
    preparer = LogMelPreparer(rate_hz=8_000, num_mels=24, hop_ms=20, window_ms=40)
    value_TM = preparer(sound_of(hum(1.0)))
    assert value_TM.shape == (1 + math.ceil((1000 - 40) / 20), 24)
    batch, mask_UT = preparer.collate([value_TM, value_TM[:7]])
    assert batch.shape == (2, len(value_TM), 24)
    assert mask_UT.sum(1).tolist() == [len(value_TM), 7]


def test_normalisation_brings_mean_and_deviation() -> None:
    clip = LogMelPreparer(half=False)(sound_of(hum(0.5)))
    assert abs(float(clip.mean())) < 1e-4
    assert abs(float(clip.std(correction=0)) - 1) < 1e-4
    hiss_N = np.random.default_rng(0).normal(0, 0.01, 8_000).astype(np.float32)
    mel = LogMelPreparer(half=False, normalize="mel", num_mels=20)(sound_of(hum(0.5) + hiss_N))
    assert mel.mean(0).abs().max() < 1e-4
    assert (mel.std(0, correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("normalize", ["clip", "mel"])
def test_loudness_does_not_matter_and_silence_is_zero(normalize: str) -> None:
    preparer = LogMelPreparer(normalize=normalize, half=False)  # type: ignore[arg-type]
    loud, soft = preparer(sound_of(hum(0.3))), preparer(sound_of(hum(0.3) * np.float32(0.1)))
    assert (loud - soft).abs().max() < 0.05
    silence = preparer(sound_of(np.zeros(4_000, dtype=np.float32)))
    assert silence.abs().max() < 1e-3


def test_digital_silence_does_not_decide_the_scale() -> None:
    """A word between digital zeros: its frames keep their contrast, silence is 80 dB down and no more."""
    word = hum(0.3)
    padded = np.concatenate([np.zeros(16_000, np.float32), word, np.zeros(16_000, np.float32)])
    clamped = LogMelPreparer(half=False)(sound_of(padded))
    unclamped = LogMelPreparer(half=False, range_db=500)(sound_of(padded))
    inside = slice(105, 125)
    assert clamped[inside].std() > 1.15 * unclamped[inside].std()


def test_long_clips_are_cut_and_counted() -> None:
    preparer = LogMelPreparer(max_seconds=0.5)
    whole = preparer(sound_of(hum(0.5)))
    assert preparer.truncated == 0
    assert torch.equal(preparer(sound_of(hum(0.8)[: 16_000 // 2 + 1])), whole)
    assert preparer.truncated == 1
    assert len(preparer(sound_of(hum(2.0)))) == len(whole)
    assert preparer.truncated == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate_hz": 0}, "rate_hz"),
        ({"num_mels": -1}, "num_mels"),
        ({"hop_ms": float("nan")}, "hop_ms"),
        ({"window_ms": float("inf")}, "window_ms"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"range_db": 0}, "range_db"),
        ({"normalize": "band"}, "choose none, clip or mel"),
    ],
)
def test_log_mel_settings_out_of_range_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LogMelPreparer(**wrong)

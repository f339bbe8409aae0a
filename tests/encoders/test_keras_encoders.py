"""Networks that Keras saved, as encoders: against Keras itself, and files that are not what they say."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from sensorium.core.errors import ModelError
from sensorium.core.types import Media, MediaBatch
from sensorium.data.keras_file import KerasFile, import_keras
from sensorium.encoders.audio_keras import AudioKeras
from sensorium.encoders.image_keras import ImageKeras
from sensorium.encoders.text_keras import TextKeras
from sensorium.testing.encoder import check_encoder

# Importing it to see whether it is there would choose a backend.
if importlib.util.find_spec("keras") is None:
    pytest.skip("needs the extra 'keras'", allow_module_level=True)
keras = import_keras()
L = keras.layers
WORDS = ["", "[UNK]", "what", "is", "red", "the", "a", "circle"]
TEXTS = ["what is red?", "A circle", "is the circle red, or is it a square", "red"]
SIDE = 16


def grid(inputs: Any = (SIDE, SIDE, 3), **options: Any) -> Any:
    """A small network of pictures whose layer 'places' is a grid."""
    place = keras.Input(inputs)
    x = L.Conv2D(4, 3, strides=2, activation="relu", name="places", **options)(place)
    return keras.Model(
        place, L.Dense(5, name="top")(L.GlobalAveragePooling2D(**options)(L.BatchNormalization()(x)))
    )


def settled(network: Any) -> Any:
    """Give every weight a value of its own, so that none can be missing unseen."""
    draw = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(draw.uniform(0.1, 1.0, weight.shape).astype("float32"))
    return network


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    def save(network: Any, name: str = "network.keras") -> str:
        settled(network).save(tmp_path / name)
        return str(tmp_path / name)

    return save


def image_encoder(source: str, **options: Any) -> ImageKeras:
    config = ImageKeras.Config(source=source, **{"pixels": "0..1", **options})
    return ImageKeras(config, config.preparer().fit([]), 8)


def pictures(num: int) -> MediaBatch:
    return MediaBatch(torch.randint(0, 256, (num, 3, SIDE, SIDE), dtype=torch.uint8), None, torch.arange(num))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("layer", [None, "places", "batch_norm"])
def test_features_are_those_of_keras(suffix: str, layer: str | None, saved: Callable[..., str]) -> None:
    network = grid()
    network.layers[2].name = "batch_norm"
    encoder = image_encoder(saved(network, f"network{suffix}"), layer=layer)
    values = pictures(3).values
    got, mask = encoder.features(values, None)
    part = keras.Model(network.inputs, network.get_layer(layer or "top").output)
    want = part.predict(values.permute(0, 2, 3, 1).numpy().astype("float32") / 255, verbose=0)
    assert got.shape == (3, 49 if layer else 1, 4 if layer else 5)
    assert mask is None
    np.testing.assert_allclose(got.numpy(), want.reshape(got.shape), rtol=1e-5, atol=1e-6)
    assert encoder.outlet.position_TD is None if layer is None else encoder.outlet.position_TD.shape == (49, 8)


def test_pictures_of_channels_first_or_of_greys(saved: Callable[..., str]) -> None:
    values = pictures(2).values
    first = grid((3, SIDE, SIDE), data_format="channels_first")
    encoder = image_encoder(saved(first, "first.keras"), layer="places")
    want = keras.Model(first.inputs, first.get_layer("places").output).predict(values.numpy() / 255, verbose=0)
    got = encoder.features(values, None)[0]
    np.testing.assert_allclose(got.numpy(), want.reshape(2, 4, 49).transpose(0, 2, 1), rtol=1e-5, atol=1e-5)
    greys = grid((SIDE, SIDE, 1))
    got = image_encoder(saved(greys, "grey.keras"), pixels="-1..1").features(values, None)[0]
    luma = (values.numpy() * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1)[..., None]
    want = greys.predict(luma.astype("float32") / 127.5 - 1, verbose=0)
    np.testing.assert_allclose(got[:, 0].numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pixels", "mode"), [("-1..1", "tf"), ("caffe", "caffe"), ("imagenet", "torch")])
def test_pixels_are_scaled_as_keras_scales_them(pixels: str, mode: str, saved: Callable[..., str]) -> None:
    place = keras.Input((SIDE, SIDE, 3))
    encoder = image_encoder(saved(keras.Model(place, L.Activation("linear")(place))), pixels=pixels)
    values = pictures(2).values
    bytes_UHWC = values.permute(0, 2, 3, 1).numpy().astype("float32")
    want = keras.applications.imagenet_utils.preprocess_input(bytes_UHWC, mode=mode)
    got = encoder.features(values, None)[0]
    np.testing.assert_allclose(got.numpy(), np.asarray(want).reshape(2, -1, 3), rtol=1e-5, atol=1e-5)


def test_the_contract_of_pictures(saved: Callable[..., str]) -> None:
    source = saved(grid())
    check_encoder(lambda: image_encoder(source, layer="places"), pictures)


def text_network(length: int | None, *, is_whole: bool = True) -> Any:
    place = keras.Input((length,), dtype="int64")
    x = L.Embedding(len(WORDS), 6)(place)
    return keras.Model(place, L.GRU(5, return_sequences=not is_whole)(x))


def text_encoder(source: str, tmp_path: Path, **options: Any) -> TextKeras:
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS))
    config = TextKeras.Config(**{"source": source, "vocabulary": words, **options})
    return TextKeras(config, config.preparer().fit([]), 8)


def texts(encoder: TextKeras, num: int) -> MediaBatch:
    values = [encoder.preparer(text) for text in TEXTS[:num]]
    return MediaBatch(*encoder.preparer.collate(values), torch.arange(num))


def test_ids_are_those_of_the_vocabulary(saved: Callable[..., str], tmp_path: Path) -> None:
    source = saved(text_network(6))
    encoder = text_encoder(source, tmp_path)
    assert [encoder.preparer(text).tolist() for text in TEXTS[:2]] == [[2, 3, 4], [6, 7]]
    assert encoder.preparer(TEXTS[2]).tolist() == [3, 5, 7, 4, 1, 3]
    assert encoder.preparer.truncated == 1
    late = text_encoder(source, tmp_path, padding="before", cleaning="lower")
    assert late.preparer(TEXTS[2]).tolist() == [1, 1, 3, 1, 6, 1]
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"red": 3, "circle": 1}))
    plain = text_encoder(source, tmp_path, vocabulary=index)
    assert [plain.preparer(text).tolist() for text in ("a red circle", "square")] == [[3, 1], [0]]
    assert plain.preparer.left_out == 2


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("padding", ["after", "before"])
@pytest.mark.parametrize("length", [6, None])
def test_texts_are_filled_up_as_keras_does(
    length: int | None, padding: str, is_whole: bool, saved: Callable[..., str], tmp_path: Path
) -> None:
    network = text_network(length, is_whole=is_whole)
    encoder = text_encoder(saved(network), tmp_path, padding=padding, max_tokens=6)
    media = texts(encoder, 4)
    got, mask = encoder.features(media.values, media.mask_UT)
    for u, text in enumerate(TEXTS):
        ids = encoder.preparer(text).tolist()
        side = {"after": "post", "before": "pre"}[padding]
        given = np.array([ids]) if length is None else keras.utils.pad_sequences([ids], length, padding=side)
        want = network.predict(given, verbose=0)
        if is_whole:
            want = want[:, None]
        elif length is not None:
            want = want[:, -len(ids) :] if padding == "before" else want[:, : len(ids)]
        np.testing.assert_allclose(got[u][mask[u]].numpy(), want[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [6, None])
def test_the_contract_of_texts(length: int | None, saved: Callable[..., str], tmp_path: Path) -> None:
    source = saved(text_network(length, is_whole=False))
    encoder = text_encoder(source, tmp_path)
    check_encoder(lambda: text_encoder(source, tmp_path), lambda num: texts(encoder, num))


def sound(num: int, seed: int = 0) -> Media:
    file = io.BytesIO()
    samples_N = np.random.default_rng(seed).standard_normal(num) / 10
    soundfile.write(file, samples_N, 16_000, format="WAV", subtype="FLOAT")
    return Media(data=file.getvalue())


AUDIO: dict[str, Callable[[], Any]] = {
    "frames": lambda: keras.Sequential([keras.Input((None, 12)), L.Conv1D(5, 3, strides=2, padding="same")]),
    "frames of a length": lambda: keras.Sequential([keras.Input((40, 12)), L.Flatten(), L.Dense(5)]),
    "picture": lambda: keras.Sequential([keras.Input((40, 12, 1)), L.Conv2D(5, 3), L.GlobalAveragePooling2D()]),
    "samples": lambda: keras.Sequential([keras.Input((None, 1)), L.Conv1D(5, 400, strides=160)]),
    "samples of a length": lambda: keras.Sequential([keras.Input((6000,)), L.Dense(5)]),
}


@pytest.mark.parametrize("kind", AUDIO)
def test_sounds(kind: str, saved: Callable[..., str]) -> None:
    network = AUDIO[kind]()
    config = AudioKeras.Config(source=saved(network), num_mels=12)
    preparer = config.preparer().fit([])

    def sounds(num: int) -> MediaBatch:
        values = [preparer(sound(length, length)) for length in (4000, 2500, 9000, 3100)[:num]]
        return MediaBatch(*preparer.collate(values), torch.arange(num))

    encoder = AudioKeras(config, preparer, 8)
    assert encoder.feature_width == 5
    media = sounds(4)
    got, mask = encoder.features(media.values, media.mask_UT)
    length = network.input_shape[1]
    for u, num in enumerate((4000, 2500, 9000, 3100)):
        x_TF = preparer(sound(num, num)).float().numpy()
        given = x_TF if length is None else np.concatenate([x_TF, np.zeros((length, x_TF.shape[1]))])[:length]
        want = network.predict(given.reshape(1, *[side or -1 for side in network.input_shape[1:]]), verbose=0)
        np.testing.assert_allclose(got[u][mask[u]].numpy(), want.reshape(-1, 5), rtol=1e-3, atol=1e-3)
    assert preparer.truncated == (2 if "of a length" in kind and "samples" in kind else 2 if length else 0)
    check_encoder(lambda: AudioKeras(config, preparer, 8), sounds)


def test_what_is_saved_needs_the_source_no_more(saved: Callable[..., str], tmp_path: Path) -> None:
    source = saved(text_network(6))
    encoder = text_encoder(source, tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    encoder.preparer.save(kept)
    Path(source).unlink()
    (tmp_path / "words.txt").unlink()
    again = TextKeras.Config(source=source, vocabulary=tmp_path / "words.txt").preparer().load(kept)
    assert again.fingerprint == encoder.preparer.fingerprint
    media = texts(encoder, 4)
    for preparer in (again, pickle.loads(pickle.dumps(again))):
        other = TextKeras(TextKeras.Config(source=source, vocabulary="gone"), preparer, 8)
        assert torch.equal(*(one.features(media.values, media.mask_UT)[0] for one in (encoder, other)))


def test_another_layer_is_another_preparation(saved: Callable[..., str]) -> None:
    source = saved(grid())
    found = {image_encoder(source, layer=layer).preparer.fingerprint for layer in (None, "places", "top")}
    assert len(found) == 3


def test_generators_are_left_as_they_were(saved: Callable[..., str]) -> None:
    preparer = image_encoder(saved(grid())).preparer
    before = torch.get_rng_state(), random.getstate()
    assert pickle.loads(pickle.dumps(preparer)).network.feature_width == 5
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


class Custom(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


def two_inputs() -> Any:
    places = [keras.Input((4,)), keras.Input((4,))]
    return keras.Model(places, L.Concatenate()(places))


def two_outputs() -> Any:
    place = keras.Input((SIDE, SIDE, 3))
    return keras.Model(place, [L.Flatten()(place), L.GlobalAveragePooling2D()(place)])


def of(*layers: Any, shape: Any = (SIDE, SIDE, 3)) -> Callable[[], Any]:
    return lambda: keras.Sequential([keras.Input(shape), *layers])


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "a lambda": (of(L.Lambda(lambda x: x + 1)), {}, "holds a 'Lambda'.*never run"),
    "a lambda inside": (
        lambda: keras.Sequential(
            [keras.Input((SIDE, SIDE, 3)), keras.Sequential([L.Lambda(lambda x: x), L.Flatten()])]
        ),
        {},
        "holds a 'Lambda'",
    ),
    "a class of one's own": (
        of(Custom()),
        {},
        "needs '.*Custom', which is not Keras's own|Keras cannot open it: Unknown layer: 'Custom'",
    ),
    "two inputs": (two_inputs, {}, "has 2 inputs"),
    "two outputs": (two_outputs, {}, "puts out 2 things.*choose a 'layer': "),
    "no such layer": (grid, {"layer": "place"}, "has no layer 'place'.*places"),
    "texts": (of(L.Embedding(9, 4), shape=(7,)), {}, r"\(7\), not pictures"),
    "five channels": (of(L.Flatten(), shape=(SIDE, SIDE, 5)), {}, "not pictures of 1 or 3 channels"),
    "oblong": (of(L.Flatten(), shape=(SIDE, 9, 3)), {}, "not square pictures"),
    "another size": (grid, {"size": 32}, "not square pictures of size 32"),
    "any size": (lambda: grid((None, None, 3)), {}, "pictures of any size.*size = 224"),
    "grey": (lambda: grid((SIDE, SIDE, 1)), {"pixels": "caffe"}, "no scaling 'caffe'"),
}


@pytest.mark.parametrize("fault", REFUSED)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_refused(fault: str, suffix: str, saved: Callable[..., str]) -> None:
    make, options, reason = REFUSED[fault]
    source = saved(make(), f"network{suffix}")
    with pytest.raises(ModelError, match=f"(?s){reason}") as caught:
        image_encoder(source, **options)
    assert caught.value.where == source


@pytest.mark.parametrize("kind", ["a GRU of texts", "23 bands", "two axes of a picture"])
def test_sounds_and_texts_refused(kind: str, saved: Callable[..., str], tmp_path: Path) -> None:
    if kind == "two axes of a picture":
        with pytest.raises(ModelError, match="not texts"):
            text_encoder(saved(grid()), tmp_path)
        return
    network = text_network(6) if kind == "a GRU of texts" else of(L.Flatten(), shape=(40, 23))()
    config = AudioKeras.Config(source=saved(network), num_mels=12)
    with pytest.raises(ModelError, match=r"frames \(T, 12\)"):
        config.preparer().fit([])


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def without_weights(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as out:
        for name in ("metadata.json", "config.json"):
            out.writestr(name, archive.read(name))
    return made.getvalue()


def with_config(config: str) -> Callable[[bytes], bytes]:
    def change(_: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as out:
            out.writestr("config.json", config)
        return made.getvalue()

    return change


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("change", [cut, lambda content: b"", lambda content: b"<html>404</html>"])
def test_damaged(suffix: str, change: Callable[[bytes], bytes], saved: Callable[..., str]) -> None:
    path = Path(saved(grid(), f"network{suffix}"))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match="cannot be read as") as caught:
        KerasFile.read(str(path))
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_weights, "Keras cannot open it"),
        (with_config("[1, 2]"), "holds no keys"),
        (with_config("{"), "is not JSON"),
        (with_config('{"class_name": "Sequential", "config": {"layers": 3}}'), "Keras cannot open it"),
        (with_config('{"module": "os", "class_name": "system"}'), "needs 'os.system'"),
        (with_config('{"x": [{"class_name": "__lambda__", "config": {}}]}'), "holds a 'lambda'"),
    ],
)
def test_crafted(change: Callable[[bytes], bytes], reason: str, saved: Callable[..., str]) -> None:
    path = Path(saved(grid()))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=reason):
        image_encoder(str(path))


def test_weights_alone_and_other_files(saved: Callable[..., str], tmp_path: Path) -> None:
    grid().save_weights(tmp_path / "only.weights.h5")
    (tmp_path / "network.pb").write_bytes(b"")
    for name, reason in {
        "only.weights.h5": "holds weights alone",
        "network.pb": "'.pb' is no suffix",
        "gone.keras": "No such file",
    }.items():
        with pytest.raises(ModelError, match=reason):
            KerasFile.read(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.txt", None, "cannot be read as a vocabulary"),
        ("words.json", "{", "cannot be read as a vocabulary"),
        ("words.json", '{"a": "b"}', "an id from 0"),
        ("words.json", "[1]", "an id from 0"),
        ("words.txt", "", "holds no words"),
    ],
)
def test_bad_vocabularies(
    name: str, content: str | None, reason: str, saved: Callable[..., str], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    config = TextKeras.Config(source=saved(text_network(6)), vocabulary=tmp_path / name)
    with pytest.raises(ModelError, match=reason):
        config.preparer().fit([])


def test_another_backend_is_named(saved: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(grid())
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ModelError, match="Keras runs on jax in this process, not on torch.*KERAS_BACKEND"):
        image_encoder(source)


def test_pictures_are_read_at_the_networks_size(saved: Callable[..., str]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (250, 3, 7)).save(file, "PNG")
    preparer = image_encoder(saved(grid())).preparer
    value = preparer(Media(data=file.getvalue()))
    assert value.shape == (3, SIDE, SIDE)
    assert value.flatten(1).float().mean(1).tolist() == [250, 3, 7]

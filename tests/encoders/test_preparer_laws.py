"""Every encoder's preparer makes of a medium what the medium alone decides, and its fingerprint says of how."""

from __future__ import annotations

import importlib.util
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import transformers
from published_folders import CASES, PATCHES, SQUARE, TINY, media_of
from test_encoder_contract import SMALL
from test_published_video import clip

from sensorium.core import registry
from sensorium.core.errors import MissingExtraError, SensoriumError
from sensorium.core.types import Media
from sensorium.data import media_policy
from sensorium.data.cache import PreparedCache
from sensorium.data.media_policy import policy_of
from sensorium.data.preparing import prepare_all
from sensorium.encoders.registry import ENCODERS, ENTRY_POINTS

KERAS = [f"{modality}.keras" for modality in ("text", "image", "audio")]
HF = [f"{case.modality}.hf:{name}" for name, case in CASES.items()] + ["video.hf:videomae"]
ALL = [*(name for name in ENCODERS if name in SMALL), *HF, *KERAS]
WORDS = ["", "[UNK]", "what", "is", "red", "the", "a", "circle"]


def test_every_encoder_is_among_them() -> None:
    assert set(ENCODERS) == {name.partition(":")[0] for name in ALL}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, published: Callable[[str], Path]) -> Callable[[str], Any]:
    """Give the options by which an encoder's preparer is made, its published network saved when first asked for."""
    folder = tmp_path_factory.mktemp("sources")

    def options(name: str) -> dict[str, Any]:
        kind, _, case = name.partition(":")
        if kind in SMALL:
            return SMALL[kind]
        if kind == "video.hf":
            if not (folder / case).is_dir():
                config = transformers.VideoMAEConfig(**TINY, **PATCHES, num_frames=4, tubelet_size=2)
                transformers.VideoMAEModel(config).save_pretrained(folder / case)
                processor = transformers.VideoMAEImageProcessorPil(size={"shortest_edge": 18}, crop_size=SQUARE)
                processor.save_pretrained(folder / case)
            return {"source": str(folder / case)}
        return {"source": str(published(case))} if case else keras_options(kind, folder)

    return options


def keras_options(kind: str, folder: Path) -> dict[str, Any]:
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs the extra 'keras'")
    from sensorium.data.keras_file import import_keras

    keras, path = import_keras(), folder / f"{kind}.keras"
    layers = keras.layers
    shape = {"text": (6,), "image": (16, 16, 3), "audio": (40, 12)}[kind.partition(".")[0]]
    place = keras.Input(shape, dtype="int64" if kind == "text.keras" else None)
    body = {
        "text": lambda: layers.GRU(5)(layers.Embedding(len(WORDS), 6)(place)),
        "image": lambda: layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(place)),
        "audio": lambda: layers.GRU(5)(place),
    }
    if not path.is_file():
        keras.Model(place, body[kind.partition(".")[0]]()).save(path)
        (folder / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    own = {"text": {"vocabulary": folder / "words.txt"}, "image": {"pixels": "0..1"}, "audio": {"num_mels": 12}}
    return {"source": str(path), **own[kind.partition(".")[0]]}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Four texts, pictures, sounds and clips, in files."""
    folder = tmp_path_factory.mktemp("media")
    found: dict[str, list[Any]] = {"text": media_of("text")}
    clips = [clip(length, seed) for seed, length in enumerate((9, 2, 4, 6))]
    for kind, made in {"image": media_of("image"), "audio": media_of("audio"), "video": clips}.items():
        found[kind] = []
        for i, item in enumerate(made):
            (folder / f"{kind}{i}").write_bytes(item.data)
            found[kind].append(Media(path=folder / f"{kind}{i}"))
    return found


def preparer_of(name: str, options: dict[str, Any], items: list[Any]) -> Any:
    """Make a preparer and fit it; skipped where its weights are not installed."""
    cls = registry.load(ENCODERS, ENTRY_POINTS, name.partition(":")[0])
    torch.manual_seed(0)
    try:
        return cls.Config.parse(options).preparer().fit(items)
    except MissingExtraError as error:
        pytest.skip(str(error))


def padded(preparer: Any, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return each item as its encoder is given it in this batch, its padding left out."""
    values_U, mask_UT = preparer.collate(values)
    return [x if mask_UT is None else x[mask_UT[u]] for u, x in enumerate(values_U)]


def same(got: list[torch.Tensor], want: list[torch.Tensor]) -> bool:
    return len(got) == len(want) and all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_a_medium_is_prepared_alike_alone_in_a_batch_again_and_from_a_cache(name, sources, media, tmp_path):
    items = media[name.partition(".")[0]]
    preparer = preparer_of(name, sources(name), items)
    alone = [preparer(item) for item in items]
    assert same([preparer(item) for item in reversed(items)][::-1], alone)
    assert same([one.value for one in prepare_all(items, preparer)], alone)
    together = padded(preparer, alone)
    assert same(padded(preparer, alone[::-1])[::-1], together)
    assert same([padded(preparer, [value])[0] for value in alone], together)
    (tmp_path / "saved").mkdir()
    preparer.save(tmp_path / "saved")
    loaded = registry.load(ENCODERS, ENTRY_POINTS, name.partition(":")[0]).Config.parse(sources(name)).preparer()
    loaded = loaded.load(tmp_path / "saved")
    assert loaded.fingerprint == preparer.fingerprint
    assert same([loaded(item) for item in items], alone)
    if policy_of(preparer) is None:
        return
    for cache in (PreparedCache(tmp_path / "cache"), PreparedCache(tmp_path / "cache")):
        kept = cache.warm(items, loaded).tensors
        assert same([kept[i] for i in range(len(items))], alone)
    assert PreparedCache(tmp_path / "cache").warm(items[::-1], preparer).num_prepared == 0


@pytest.mark.parametrize("name", ALL)
def test_media_that_an_earlier_build_decoded_otherwise_are_prepared_anew(
    name, sources, media, tmp_path, monkeypatch
):
    items = media[name.partition(".")[0]]
    preparer = preparer_of(name, sources(name), items)
    assert (policy_of(preparer) is None) == (name.partition(".")[0] == "text")
    if policy_of(preparer) is None:
        return
    with monkeypatch.context() as earlier:
        earlier.setattr(media_policy, "DECODING", media_policy.DECODING - 1)
        PreparedCache(tmp_path).warm(items, preparer)
    assert PreparedCache(tmp_path).warm(items, preparer).num_prepared == len(items)


def others(annotation: Any, value: Any) -> Iterator[Any]:
    """Give other values of a setting, by its type."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from (choice for choice in get_args(annotation) if choice != value)
    elif origin in (typing.Union, types.UnionType):
        for part in get_args(annotation):
            yield from others(part, value)
    elif annotation is bool:
        yield not value
    elif annotation is int:
        yield from (2, 1) if value is None else (2 * value, value // 2, value + 1)
    elif annotation is float:
        yield from (0.1, 2.0) if value is None else (2 * value, value / 2, 0.1)
    elif annotation is str and value in ("word", "character", "whitespace"):
        yield from ("whitespace", "character")


@pytest.mark.parametrize("name", ALL)
def test_what_changes_what_is_prepared_changes_the_fingerprint(name, sources, media):
    """Of every option of every encoder: where a medium comes out other, it is kept under another name."""
    items, options = media[name.partition(".")[0]], sources(name)
    of = {}
    for changed in ({}, *changes(name, options)):
        try:
            preparer = preparer_of(name, options | changed, items)
            made = padded(preparer, [preparer(item) for item in items])
        except SensoriumError:
            continue  # a value that does not fit the others
        first_changed, first = of.setdefault(preparer.fingerprint, (changed, made))
        assert same(made, first), f"{changed} is kept under the same name as {first_changed or 'the default'}"
    assert len(of) > 1 or not name.startswith("audio.")


def changes(name: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give each option of an encoder other values."""
    config = registry.load(ENCODERS, ENTRY_POINTS, name.partition(":")[0]).Config
    default = config.parse(options)
    for key, field in config.model_fields.items():
        yield from ({key: value} for value in others(field.annotation, getattr(default, key)))

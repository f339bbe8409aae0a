"""A frozen encoder takes several media together: the same features, and errors that stay with their own medium."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from sensorium.core.errors import MediaError
from sensorium.core.protocols import GroupPreparer
from sensorium.core.types import Media
from sensorium.data.preparing import prepare_all
from sensorium.encoders.image_resnet18 import ImageResNet18
from sensorium.encoders.text_gru import TextGRU
from sensorium.model.frozen import FeaturePreparer
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import build_preparers, build_tokenizer
from sensorium.workflow.config import config_from_text


def photo(shade: int) -> Media:
    buffer = io.BytesIO()
    Image.linear_gradient("L").rotate(shade).convert("RGB").save(buffer, "PNG")
    return Media(data=buffer.getvalue())


@pytest.fixture
def images() -> FeaturePreparer:
    torch.manual_seed(0)
    config = ImageResNet18.Config(size=64)
    return FeaturePreparer(config.preparer(), ImageResNet18(config, config.preparer(), 8), "photo")


def counted(preparer: FeaturePreparer) -> list[int]:
    """Return a list that grows by the number of media each time the encoder runs."""
    sizes: list[int] = []
    inner = preparer.encoder.features

    def features(values: Tensor, mask_UT: Tensor | None) -> Any:
        sizes.append(len(values))
        return inner(values, mask_UT)

    preparer.encoder.features = features
    return sizes


def test_media_of_one_shape_pass_together(images: FeaturePreparer) -> None:
    items = [photo(shade) for shade in range(6)]
    alone = [images(item) for item in items]
    sizes = counted(images)
    prepared = list(prepare_all(items, images))
    assert isinstance(images, GroupPreparer)
    assert sizes == [4, 2]
    for (value, failure, is_cut), want in zip(prepared, alone, strict=True):
        assert not is_cut
        assert not failure
        assert value is not None
        assert value.dtype == torch.float16
        assert torch.allclose(value.float(), want.float(), atol=2e-3)
    assert not torch.equal(alone[0], alone[1])


def test_a_bad_medium_leaves_its_neighbours_alone(images: FeaturePreparer) -> None:
    answers = images.together([photo(0), Media(data=b"no image"), photo(2)])
    assert [type(answer) for answer in answers] == [Tensor, MediaError, Tensor]
    values, failures, _ = zip(*prepare_all([photo(0), Media(data=b"no image"), photo(2)], images), strict=True)
    assert [value is None for value in values] == [False, True, False]
    assert [bool(failure) for failure in failures] == [False, True, False]
    assert images.together([Media(data=b"bad")])[0].args


def test_texts_of_different_lengths_are_not_padded() -> None:
    torch.manual_seed(0)
    config = TextGRU.Config()
    preparer = config.preparer().fit(["a b c d"])
    frozen = FeaturePreparer(preparer, TextGRU(config, preparer, 8), "text")
    sizes = counted(frozen)
    answers = frozen.together(["a b", "a b c", "c d", "a"])
    assert sizes == [2, 1, 1]
    assert [len(answer) for answer in answers if isinstance(answer, Tensor)] == [2, 3, 2, 1]
    assert torch.allclose(answers[2].float(), frozen("c d").float(), atol=2e-3)  # type: ignore[union-attr]


def test_the_fingerprint_knows_every_number(images: FeaturePreparer) -> None:
    before = images.fingerprint
    images.encoder.trunk.bn1.num_batches_tracked += 1
    assert images.fingerprint != before
    after = images.fingerprint
    images.encoder.outlet.absent_D.data += 1
    assert images.fingerprint == after


def test_features_are_known_by_the_encoders_options_too() -> None:
    """A coarser grid has the same weights, and other features."""
    found = []
    for options in ("grid = 2", "grid = 1", "grid = 2"):
        text = f"""
        [data]
        train = "rows.csv"
        [inputs.photo]
        modality = "image"
        encoder = "cnn"
        size = 16
        channels = [4, 4]
        frozen = true
        {options}
        [target]
        column = "answer"
        task = "answer"
        """
        config = config_from_text(text, Path()).model
        torch.manual_seed(0)
        model = MultimodalLM(config, build_preparers(config), build_tokenizer(config).fit(["a", "b"]))
        found.append(model.preparers["photo"].fingerprint)
    assert found[0] == found[2]
    assert found[0] != found[1]

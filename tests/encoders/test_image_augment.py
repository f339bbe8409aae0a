"""What training does to a picture: each change against its definition, and that nothing happens outside it."""

from __future__ import annotations

import pytest
import torch

from sensorium.core.types import MediaBatch
from sensorium.data.image_preparer import ImagePreparer
from sensorium.encoders.image_augment import AugmentedImageInput, ImageAugment, cropped, grey, jittered
from sensorium.encoders.image_cnn import ImageCNN

EVERYTHING = {"crop": 0.4, "flip": True, "colour": 0.5}


def augment(**options):
    return ImageAugment(AugmentedImageInput(size=8, **options)).train()


def pictures(num=200):
    torch.manual_seed(0)
    return torch.randint(0, 256, (num, 3, 8, 8), dtype=torch.uint8)


def test_nothing_happens_outside_training_or_without_options():
    values = pictures()
    assert augment(**EVERYTHING).eval()(values) is values
    state = torch.get_rng_state()
    assert augment()(values) is values
    assert torch.equal(torch.get_rng_state(), state)
    assert not AugmentedImageInput().augments
    assert all(AugmentedImageInput(**{key: value}).augments for key, value in EVERYTHING.items())


def test_a_flip_exchanges_left_and_right_in_half_of_the_pictures():
    values = pictures()
    flipped = augment(flip=True)(values)
    is_same_U = (flipped == values).flatten(1).all(1)
    is_mirror_U = (flipped == values.flip(3)).flatten(1).all(1)
    assert (is_same_U ^ is_mirror_U).all()
    assert 70 < int(is_mirror_U.sum()) < 130


def test_a_crop_of_a_quarter_is_its_enlargement():
    x_UCHW = torch.zeros(1, 1, 8, 8)
    x_UCHW[..., :4, 4:] = 100.0  # upper right
    found = cropped(x_UCHW, torch.tensor([0.5]), torch.tensor([[0.5, -0.5]]), torch.tensor([False]))
    # Between the pixels at the seam the line is straight; the rest is the quarter.
    assert torch.equal(found[0, 0, :6, 2:], torch.full((6, 6), 100.0))
    other = cropped(x_UCHW, torch.tensor([0.5]), torch.tensor([[-0.5, 0.5]]), torch.tensor([False]))
    assert torch.equal(other[0, 0, 2:, :6], torch.zeros(6, 6))


def test_crops_stay_within_the_picture():
    values = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(200, 3, 8, 8)
    found = augment(crop=0.5)(values)
    assert found.shape == values.shape
    assert found.min() >= 0
    assert found.max() <= 63
    assert len(found.unique(dim=0)) > 100


def test_colour_scales_what_it_says():
    x_UCHW = pictures(4).float()
    one_3U = torch.ones(3, 4)
    torch.testing.assert_close(jittered(x_UCHW, one_3U), x_UCHW)
    brighter = jittered(x_UCHW, torch.stack([torch.full((4,), 0.5), one_3U[0], one_3U[0]]))
    torch.testing.assert_close(brighter, x_UCHW / 2)
    flat = jittered(x_UCHW, torch.stack([one_3U[0], torch.zeros(4), one_3U[0]]))
    torch.testing.assert_close(flat, grey(x_UCHW).mean((2, 3), keepdim=True).expand_as(flat))
    pale = jittered(x_UCHW, torch.stack([one_3U[0], one_3U[0], torch.zeros(4)]))
    torch.testing.assert_close(pale, grey(x_UCHW).expand_as(pale))


def test_the_same_seed_draws_the_same_and_media_are_changed_alike():
    values, module = pictures(), augment(**EVERYTHING)
    torch.manual_seed(3)
    first = module(values)
    torch.manual_seed(3)
    again = module.eval().media(MediaBatch(values, None, torch.arange(200))).values
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, values)


def test_a_batch_without_pictures_is_none():
    empty = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    assert augment(**EVERYTHING)(empty).shape == empty.shape


def test_an_encoder_augments_in_training_only():
    torch.manual_seed(0)
    config = ImageCNN.Config(size=16, channels=(4,), grid=2, norm="group", **EVERYTHING)
    encoder = ImageCNN(config, ImagePreparer(size=16), 4)
    values = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    encoder.train()
    assert not torch.equal(encoder.features(values)[0], encoder.features(values)[0])
    encoder.eval()
    assert torch.equal(encoder.features(values)[0], encoder.features(values)[0])


@pytest.mark.parametrize("options", [{"crop": 1.0}, {"colour": -0.1}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="equal to"):
        AugmentedImageInput(**options)

"""Retrieval both ways where a photo has five captions: any of the five is a hit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sensorium.evaluation.retrieval import _directions, summarise

NUM_PHOTOS, CAPTIONS = 12, 5


def judged(photo_ND, caption_MD, pairs):
    photo_P, caption_P = np.array(pairs).T
    corpus = SimpleNamespace(group_N=lambda name: photo_P if name == "photo" else caption_P)
    units = {"photo": np.unique(photo_P), "caption": np.unique(caption_P)}
    vectors = {"photo": photo_ND.float(), "caption": caption_MD.float()}
    return summarise(_directions(corpus, np.arange(len(pairs)), units, vectors))


PAIRS = [(photo, CAPTIONS * photo + n) for photo in range(NUM_PHOTOS) for n in range(CAPTIONS)]


def test_the_best_of_a_photos_captions_counts():
    photo_ND = torch.eye(NUM_PHOTOS)
    caption_MD = torch.zeros(NUM_PHOTOS * CAPTIONS, NUM_PHOTOS)
    for photo in range(NUM_PHOTOS):
        caption_MD[CAPTIONS * photo + photo % CAPTIONS, photo] = 1.0  # one of the five is where the photo is
    found = judged(photo_ND, caption_MD, PAIRS)
    assert found["photo_to_caption_recall_at_1"] == 1
    assert found["photo_to_caption_median_rank"] == 1
    # The other four captions are everywhere alike, and what ties with what is wrong comes last.
    assert found["caption_to_photo_recall_at_1"] == pytest.approx(1 / CAPTIONS)
    assert found["recall_at_1"] == pytest.approx((1 + 1 / CAPTIONS) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_both_directions_are_those_of_sorting_by_hand(seed):
    generator = torch.Generator().manual_seed(seed)
    photo_ND = torch.nn.functional.normalize(torch.randn(NUM_PHOTOS, 4, generator=generator), dim=1)
    noise_MD = torch.randn(NUM_PHOTOS * CAPTIONS, 4, generator=generator)
    caption_MD = torch.nn.functional.normalize(photo_ND.repeat_interleave(CAPTIONS, 0) + noise_MD, dim=1)
    found = judged(photo_ND, caption_MD, PAIRS)
    score_NM = photo_ND @ caption_MD.T
    first = {"photo_to_caption": [], "caption_to_photo": []}
    for photo in range(NUM_PHOTOS):
        order = score_NM[photo].argsort(descending=True).tolist()
        first["photo_to_caption"].append(min(order.index(CAPTIONS * photo + n) + 1 for n in range(CAPTIONS)))
    for caption in range(NUM_PHOTOS * CAPTIONS):
        order = score_NM[:, caption].argsort(descending=True).tolist()
        first["caption_to_photo"].append(order.index(caption // CAPTIONS) + 1)
    for direction, ranks in first.items():
        for k in (1, 5, 10):
            assert found[f"{direction}_recall_at_{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
        assert found[f"{direction}_median_rank"] == np.median(ranks)

"""Codebooks: k-means beside scikit-learn's, and media as words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Media
from sensorium.core.vocabulary import UNK
from sensorium.data.codebook import Codebook, nearest, starting_points
from sensorium.data.codebook_preparer import CodebookPreparer
from sensorium.data.image_preparer import ImagePreparer
from sensorium.encoders.audio_words import AudioWords, Stretches
from sensorium.encoders.image_words import ImageWords, Patches


def blobs(num: int = 300, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 8 * torch.randn(6, 4, generator=generator)
    return centres[torch.arange(num) % 6] + torch.randn(num, 4, generator=generator)


def test_nearest_is_the_nearest():
    x_NF, code_CF = blobs(20000), blobs(9, seed=1)
    code_N, distance_N = nearest(x_NF, code_CF)
    want_NC = torch.cdist(x_NF, code_CF)
    assert torch.equal(code_N, want_NC.argmin(1))
    torch.testing.assert_close(distance_N, want_NC.min(1).values.square(), rtol=1e-3, atol=1e-2)


def test_the_fit_equals_scikit_learns_from_the_same_start():
    x_NF = blobs()
    book = Codebook.fitted(x_NF, 8, iterations=100)
    scaled_NF = (x_NF - x_NF.mean(0)) / x_NF.std(0, correction=0)
    start_CF = starting_points(scaled_NF, 8, torch.Generator().manual_seed(0))
    oracle = KMeans(8, init=start_CF.numpy(), n_init=1, max_iter=100, tol=0).fit(scaled_NF.numpy())
    np.testing.assert_allclose(book.code_CF.numpy(), oracle.cluster_centers_, atol=1e-4)


def test_every_code_is_the_mean_of_its_vectors_when_lloyd_has_ended():
    x_NF = blobs()
    book = Codebook.fitted(x_NF, 6, iterations=100)
    code_N, scaled_NF = book.encode(x_NF), (x_NF - book.mean_F) / book.deviation_F
    for c in range(6):
        torch.testing.assert_close(scaled_NF[code_N == c].mean(0), book.code_CF[c], rtol=0, atol=1e-4)


def test_fewer_different_vectors_than_codes():
    book = Codebook.fitted(torch.tensor([[1.0, 2.0], [3.0, 2.0], [1.0, 2.0]]), 5)
    assert len(book.code_CF) == 2
    assert book.encode(torch.tensor([[1.0, 2.0]])) != book.encode(torch.tensor([[3.0, 2.0]]))


def test_nothing_to_fit_on():
    with pytest.raises(DataError, match="nothing"):
        Codebook.fitted(torch.zeros(0, 3), 4)


def test_patches_are_read_row_by_row():
    image_CHW = torch.arange(3 * 4 * 6, dtype=torch.uint8).view(3, 4, 6)
    got_TF = Patches(side=2, stride=2)(image_CHW)
    want = [image_CHW[:, y : y + 2, x : x + 2].flatten().float() / 255 for y in (0, 2) for x in (0, 2, 4)]
    torch.testing.assert_close(got_TF, torch.stack(want))


def test_stretches_lay_frames_end_to_end():
    frame_TF = torch.randn(7, 3).half()
    got_TF = Stretches(stack=3, stride=2)(frame_TF)
    assert got_TF.shape == (4, 9)
    torch.testing.assert_close(got_TF[1], frame_TF[2:5].float().flatten())
    torch.testing.assert_close(got_TF[3], torch.cat([frame_TF[6].float(), torch.zeros(6)]))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Media]:
    generator = np.random.default_rng(0)
    colors = [(200, 20, 20), (20, 200, 20), (20, 20, 200)]
    for i in range(9):
        pixels = np.clip(generator.normal(colors[i % 3], 8, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return [Media(path=tmp_path / f"{i}.png") for i in range(9)]


def preparer() -> CodebookPreparer:
    return CodebookPreparer(ImagePreparer(size=16), Patches(8, 8), num_codes=3)


def test_pictures_of_one_color_are_one_word(pictures):
    fitted = preparer().fit(pictures)
    words = [fitted(picture) for picture in pictures]
    assert all(len(word_T.unique()) == 1 and word_T.shape == (4,) and int(word_T.min()) > UNK for word_T in words)
    assert len({int(word_T[0]) for word_T in words}) == 3
    assert fitted.document_counts == [0, 0, 0, 0, 3, 3, 3]
    assert fitted.num_documents == 9


def test_it_round_trips(pictures, tmp_path):
    fitted = preparer().fit(pictures)
    folder = tmp_path / "saved"
    folder.mkdir()
    fitted.save(folder)
    loaded = preparer().load(folder)
    assert loaded.fingerprint == fitted.fingerprint
    assert torch.equal(loaded(pictures[0]), fitted(pictures[0]))
    assert loaded.document_counts == fitted.document_counts
    assert loaded.fingerprint != preparer().fit(pictures[:3]).fingerprint


def test_what_cannot_be_read_is_left_out_and_said(pictures, tmp_path, caplog):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    fitted = preparer().fit([*pictures, Media(path=broken), None])
    assert fitted.num_documents == 9
    assert "left out of the codebook" in caplog.text
    with pytest.raises(DataError, match="none of 1 media"):
        preparer().fit([Media(path=broken)])


def test_unfitted_or_unreadable(tmp_path):
    with pytest.raises(ModelError, match="not fitted"):
        _ = preparer().fingerprint
    with pytest.raises(ModelError, match="no readable codebook"):
        preparer().load(tmp_path)


@pytest.mark.parametrize("component", [ImageWords, AudioWords])
def test_policy_reaches_the_inner_preparer(component):
    made = component.Config().preparer()
    marker = made.policy.model_copy()
    made.policy = marker
    assert made.preparer.policy is marker

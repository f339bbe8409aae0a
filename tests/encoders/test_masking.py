"""What is hidden of words, pixels and frames: how much, what is read instead, and the loss against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError
from sensorium.core.registry import load
from sensorium.core.types import Hidden, MediaBatch
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.data.text_preparer import TextPreparer
from sensorium.encoders.image_input import MEAN_RGB, STD_RGB
from sensorium.encoders.masking import FrameMasking, PatchMasking, TokenMasking, chosen, mean_over
from sensorium.encoders.registry import ENCODERS, ENTRY_POINTS

ROWS = torch.tensor([0])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_share_of_the_real_pieces_is_chosen(lengths, rate, seed):
    torch.manual_seed(seed)
    is_real_UP = torch.arange(9) < torch.tensor(lengths)[:, None]
    hidden_UP = chosen(is_real_UP, rate)
    assert not (hidden_UP & ~is_real_UP).any()
    for length, count in zip(lengths, hidden_UP.sum(1).tolist(), strict=True):
        wanted = max(1, int(torch.tensor(length * rate).round()))
        assert count == min(wanted, max(length - 1, 1), length)


def test_every_piece_is_chosen_alike_often():
    torch.manual_seed(0)
    share_P = chosen(torch.ones(4000, 8, dtype=torch.bool), 0.25).float().mean(0)
    assert share_P.tolist() == pytest.approx([0.25] * 8, abs=0.03)


def test_words_are_read_as_unknown_as_another_or_as_they_are():
    torch.manual_seed(0)
    token_UT = torch.randint(4, 100, (400, 20))
    hidden = TokenMasking(100).hide(MediaBatch(token_UT, None, ROWS), 0.5)
    read = hidden.media.values[hidden.hidden_UP]
    truth = token_UT[hidden.hidden_UP]
    assert torch.equal(hidden.target, token_UT)
    assert torch.equal(hidden.media.values[~hidden.hidden_UP], token_UT[~hidden.hidden_UP])
    assert (read == UNK).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (read == truth).float().mean() == pytest.approx(0.1 + 0.1 / 96, abs=0.02)
    assert read[read != UNK].min() >= 4


def test_padding_is_never_hidden_and_never_judged():
    token_UT = torch.tensor([[5, 6, 0, 0], [7, 8, 9, 5]])
    mask_UT = torch.tensor([[True, True, False, False], [True] * 4])
    masking = TokenMasking(10)
    hidden = masking.hide(MediaBatch(token_UT, mask_UT, ROWS), 0.99)
    assert hidden.hidden_UP.sum(1).tolist() == [1, 3]
    output_UTV = torch.randn(2, 4, 10)
    loss_U = masking.loss(output_UTV, hidden)
    output_UTV[~hidden.hidden_UP] = 1e4
    assert torch.equal(masking.loss(output_UTV, hidden), loss_U)


def test_the_loss_of_words_is_their_nll():
    token_UT, hidden_UT = torch.tensor([[4, 5, 6]]), torch.tensor([[True, False, True]])
    output_UTV = torch.randn(1, 3, 8)
    loss = TokenMasking(8).loss(output_UTV, Hidden(MediaBatch(token_UT, None, ROWS), token_UT, hidden_UT))
    log_p_TV = output_UTV[0].log_softmax(1)
    assert loss.item() == pytest.approx(-(log_p_TV[0, 4] + log_p_TV[2, 6]).item() / 2, rel=1e-6)


def test_patches_are_hidden_whole_and_their_pixels_are_the_target():
    torch.manual_seed(0)
    values = torch.randint(0, 256, (3, 3, 12, 12), dtype=torch.uint8)
    masking = PatchMasking(12, 4, MEAN_RGB, STD_RGB)
    hidden = masking.hide(MediaBatch(values, None, torch.arange(3)), 0.5)
    assert hidden.hidden_UP.sum(1).tolist() == [4, 4, 4]
    assert hidden.media.values.dtype == torch.uint8
    colour_C = (255 * torch.tensor(MEAN_RGB)).round().to(torch.uint8)
    for u in range(3):
        for p, (row, column) in enumerate(masking.coordinates(9).long().tolist()):
            box = (u, slice(None), slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            shown_CHW, truth_CHW = hidden.media.values[box], values[box]
            if hidden.hidden_UP[u, p]:
                assert torch.equal(shown_CHW, colour_C[:, None, None].expand(3, 4, 4))
            else:
                assert torch.equal(shown_CHW, truth_CHW)
            normal_CHW = (truth_CHW / 255 - torch.tensor(MEAN_RGB)[:, None, None]) / torch.tensor(STD_RGB)[
                :, None, None
            ]
            torch.testing.assert_close(hidden.target[u, p], normal_CHW.flatten())


def test_the_loss_of_pixels_is_zero_for_the_truth_and_is_of_hidden_patches_alone():
    values = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    masking = PatchMasking(8, 4, MEAN_RGB, STD_RGB)
    hidden = masking.hide(MediaBatch(values, None, torch.arange(2)), 0.5)
    output_UPO = torch.where(hidden.hidden_UP[..., None], hidden.target, 99.0)
    assert masking.loss(output_UPO, hidden).tolist() == [0.0, 0.0]
    assert masking.loss(hidden.target + 2, hidden).tolist() == pytest.approx([4.0, 4.0])


def test_frames_are_hidden_in_runs_and_padding_is_not_judged():
    torch.manual_seed(0)
    x_UTF = torch.randn(2, 11, 3)
    mask_UT = torch.arange(11) < torch.tensor([[11], [6]])
    masking = FrameMasking(3, 4)
    hidden = masking.hide(MediaBatch(x_UTF, mask_UT, torch.arange(2)), 0.6)
    assert hidden.hidden_UP.shape == (2, 3)
    assert hidden.hidden_UP.sum(1).tolist() == [2, 1]
    for u in range(2):
        for t in range(11):
            is_hidden = bool(hidden.hidden_UP[u, t // 4])
            assert torch.equal(hidden.media.values[u, t], torch.zeros(3) if is_hidden else x_UTF[u, t])
    loss_U = masking.loss(torch.zeros(2, 3, 12), hidden)
    for u, length in enumerate((11, 6)):
        runs = [x_UTF[u, 4 * p : min(4 * p + 4, length)] for p in range(3) if hidden.hidden_UP[u, p]]
        want = sum(run.square().mean().item() for run in runs) / len(runs)
        assert loss_U[u].item() == pytest.approx(want, rel=1e-5)


def test_gradients_reach_the_output_and_stay_finite_with_padding():
    x_UTF, mask_UT = torch.randn(1, 5, 2), torch.tensor([[True, True, True, False, False]])
    masking = FrameMasking(2, 2)
    output_UPO = torch.zeros(1, 3, 4, requires_grad=True)
    masking.loss(output_UPO, masking.hide(MediaBatch(x_UTF, mask_UT, ROWS), 0.9)).sum().backward()
    assert output_UPO.grad is not None
    assert output_UPO.grad.isfinite().all()
    assert output_UPO.grad.abs().sum() > 0


def test_a_medium_without_hidden_pieces_costs_nothing():
    assert mean_over(torch.full((1, 2), math.inf), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [0.0]


@pytest.mark.parametrize("patch", [0, 5, 24])
def test_patches_must_fill_the_picture(patch):
    with pytest.raises(ConfigError, match="do not fill"):
        PatchMasking(12, patch, MEAN_RGB, STD_RGB)


def test_words_have_no_span():
    options = load(ENCODERS, ENTRY_POINTS, "text.gru", where="x").Config()
    preparer = TextPreparer().fit(["a b"])
    assert options.masking(preparer).num_outputs == len(preparer.vocab)
    with pytest.raises(ConfigError, match="one by one"):
        options.masking(preparer, 3)


@pytest.mark.parametrize(
    ("kind", "options", "masking"),
    [
        ("image.cnn", {}, PatchMasking),
        ("image.resnet18", {}, PatchMasking),
        ("image.vit", {}, PatchMasking),
        ("image.vgg16", {}, PatchMasking),
        ("image.words", {}, TokenMasking),
        ("audio.dnn", {}, FrameMasking),
        ("audio.cnn", {}, FrameMasking),
        ("audio.cnn2d", {}, FrameMasking),
        ("audio.gru", {}, FrameMasking),
        ("audio.conformer", {}, FrameMasking),
        ("audio.words", {}, TokenMasking),
        ("text.transformer", {}, TokenMasking),
        ("text.cnn", {}, TokenMasking),
        ("text.bag_of_words", {}, TokenMasking),
    ],
)
def test_inputs_say_how_they_are_hidden(kind, options, masking):
    class Fitted:
        vocab = Vocab.of(["a"])

    section = load(ENCODERS, ENTRY_POINTS, kind, where="x").Config(**options)
    assert isinstance(section.masking(Fitted()), masking)

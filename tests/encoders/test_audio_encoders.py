"""Frames, strides and masks of the audio encoders against loops; the Conformer's convolution module by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.encoders.audio_cnn import AudioCNN
from sensorium.encoders.audio_conformer import AudioConformer, ConformerBlock, ConvolutionModule
from sensorium.encoders.audio_dnn import AudioDNN
from sensorium.encoders.audio_gru import AudioGRU
from sensorium.encoders.audio_input import AudioInput, clean_frames, stack_frames
from sensorium.encoders.time_embedding import TimeEmbedding


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_stacked_frames_are_a_loop(length: int, stack: int, stride: int) -> None:
    x_UTF = torch.arange(2 * length * 3, dtype=torch.float32).reshape(2, length, 3) + 1
    mask_UT = torch.arange(length) < torch.tensor([[length], [max(1, length // 2)]])
    x_UTF = x_UTF * mask_UT[..., None]
    got, got_mask = stack_frames(x_UTF, mask_UT, stack, stride)
    starts = list(range(0, length, stride))
    assert got.shape == (2, len(starts), stack * 3)
    for position, start in enumerate(starts):
        window = [x_UTF[:, t] if t < length else torch.zeros(2, 3) for t in range(start, start + stack)]
        assert torch.equal(got[:, position], torch.cat(window, dim=1))
        assert torch.equal(got_mask[:, position], mask_UT[:, start])


def test_clean_frames_keep_nothing_of_the_padding() -> None:
    values = torch.tensor([[[1.0], [float("nan")]], [[2.0], [3.0]]], dtype=torch.float16)
    mask_UT = torch.tensor([[True, False], [True, True]])
    x_UTF, _ = clean_frames(values, mask_UT, torch.float32)
    assert x_UTF.dtype == torch.float32
    assert x_UTF.flatten().tolist() == [1, 0, 2, 3]
    _, full = clean_frames(values, None, torch.float32)
    assert full.all()


STRIDES: list[tuple[Any, dict[str, Any], int]] = [
    (AudioDNN, {"stride": 8}, 8),
    (AudioGRU, {"stride": 6}, 6),
    (AudioCNN, {"channels": (8, 8, 8)}, 8),
    (AudioCNN, {"channels": (8, 8, 8), "clock": True}, 8),
    (AudioConformer, {"hidden": 16, "heads": 2, "layers": 1, "subsampling": 4, "kernel": 7}, 4),
]


@pytest.mark.parametrize(("cls", "options", "stride"), STRIDES)
def test_lengths_are_divided_and_rounded_up(cls: Any, options: dict[str, Any], stride: int) -> None:
    encoder = cls(cls.Config(**options), LogMelPreparer(), 8).eval()
    for length in (1, 2, stride - 1, stride, stride + 1, 3 * stride + 2):
        longest = length + 5
        mask_UT = torch.arange(longest) < torch.tensor([[length], [longest]])
        with torch.no_grad():
            x_UTF, mask = encoder.features(torch.randn(2, longest, 80), mask_UT)
        assert x_UTF.shape[:2] == (2, -(-longest // stride))
        assert mask.sum(1).tolist() == [-(-length // stride), -(-longest // stride)]


@pytest.mark.parametrize(("cls", "options", "stride"), STRIDES)
def test_padding_may_hold_anything_even_nan(cls: Any, options: dict[str, Any], stride: int) -> None:
    encoder = cls(cls.Config(**options), LogMelPreparer(), 8).eval()
    values = torch.randn(1, 30, 80)
    with torch.no_grad():
        want, _ = encoder.features(values[:, :19], None)
        values[:, 19:] = float("nan")
        got, mask = encoder.features(values, torch.arange(30)[None] < 19)
    torch.testing.assert_close(got[mask], want[0])


def test_convolution_module_is_the_papers_figure() -> None:
    torch.manual_seed(0)
    module = ConvolutionModule(6, 5, 0.0).eval()
    x_UTF = torch.randn(1, 9, 6)
    gate = module.pointwise_in(module.norm_in(x_UTF))
    gated = gate[..., :6] * torch.sigmoid(gate[..., 6:])
    depth = torch.zeros_like(gated)
    for t in range(9):
        for k in range(5):
            if 0 <= t + k - 2 < 9:
                depth[:, t] += module.depthwise.weight[:, 0, k] * gated[:, t + k - 2]
    depth = module.norm(depth + module.depthwise.bias)
    want = module.pointwise_out(depth * torch.sigmoid(depth))
    torch.testing.assert_close(module(x_UTF, torch.ones(1, 9, dtype=torch.bool)), want)


def test_conformer_block_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    block = ConformerBlock(8, 2, 3, 0.0).eval()
    x, mask_UT = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    turn = (torch.ones(5, 4), torch.zeros(5, 4))  # no rotation

    def half(stack: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        norm, up, _, _, down, _ = stack
        return down(functional.silu(up(norm(x)))) / 2

    theirs = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    theirs.load_state_dict(block.attention.state_dict())
    y = x + half(block.feed_forward_in, x)
    normed = block.attention_norm(y)
    y = y + theirs(normed, normed, normed, need_weights=False)[0]
    y = y + block.convolution(y, mask_UT)
    y = y + half(block.feed_forward_out, y)
    torch.testing.assert_close(block(x, mask_UT, turn), block.norm(y))


def test_settings_reach_the_preparer() -> None:
    config = AudioInput(rate_hz=8000, num_mels=40, window_ms=32, hop_ms=20, max_seconds=5, normalize="clip")
    preparer = config.preparer()
    assert (preparer.rate_hz, preparer.num_mels, preparer.hop_ms) == (8000, 40, 20)
    assert (preparer.window_ms, preparer.max_seconds, preparer.normalize) == (32, 5, "clip")


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (AudioCNN, {"kernel": 4}),
        (AudioConformer, {"kernel": 8}),
        (AudioConformer, {"hidden": 18, "heads": 4}),
        (AudioGRU, {"hidden": 5}),
        (AudioDNN, {"stride": 0}),
        (AudioDNN, {"normalize": "batch"}),
    ],
)
def test_impossible_sizes_are_refused(cls: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**options)


def test_a_clock_tells_the_time_that_pictures_tell() -> None:
    torch.manual_seed(0)
    timed = AudioCNN(AudioCNN.Config(channels=(8, 8), hop_ms=25.0, clock=True), LogMelPreparer(), 8).eval()
    plain = AudioCNN(AudioCNN.Config(channels=(8, 8), hop_ms=25.0), LogMelPreparer(), 8).eval()
    plain.load_state_dict({name: x for name, x in timed.state_dict().items() if not name.startswith("time.")})
    of_pictures = TimeEmbedding(8)
    assert timed.time is not None
    of_pictures.load_state_dict(timed.time.state_dict())
    values = torch.randn(1, 40, 80)
    with torch.no_grad():
        added_1TF = timed.features(values, None)[0] - plain.features(values, None)[0]
        want_1TF = of_pictures(torch.arange(10)[None] / 10.0)  # a position every 4 frames of 25 ms
    torch.testing.assert_close(added_1TF, want_1TF, atol=1e-5, rtol=1e-4)
    assert want_1TF.std() > 0.1

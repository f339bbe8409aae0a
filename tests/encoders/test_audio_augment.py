"""What training does to a clip's frames: each change against its definition, and that nothing happens outside it."""

import pytest
import torch
from pydantic import ValidationError

from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.encoders.audio_augment import AugmentedAudioInput, SpectrumAugment, stretched, warped
from sensorium.encoders.audio_cnn import AudioCNN
from sensorium.media.log_mel import log_mel

RATE_HZ = 8000


def augment(**options):
    return SpectrumAugment(AugmentedAudioInput(rate_hz=RATE_HZ, num_mels=20, **options)).train()


def ramps(num_media=200, length=3, num_bins=20):
    return torch.arange(1.0, num_bins + 1).expand(num_media, length, num_bins).clone()


def real(x_UTF):
    return torch.ones(x_UTF.shape[:2], dtype=torch.bool)


def changed(x_UTF, **options):
    return augment(**options)(x_UTF, real(x_UTF))


def test_nothing_happens_outside_training_or_without_options():
    x_UTF = ramps()
    everything = {"warp": 0.2, "shift_bins": 3, "speed": 0.2, "noise": 1.0, "mask_bins": 5, "mask_frames": 2}
    y_UTF, mask_UT = augment(**everything).eval()(x_UTF, real(x_UTF))
    assert y_UTF is x_UTF
    assert mask_UT.all()
    assert torch.equal(changed(x_UTF)[0], x_UTF)


def test_a_shift_moves_all_frames_of_a_clip_alike_and_repeats_the_edge():
    shifted_UTF, _ = changed(ramps(), shift_bins=2)
    assert torch.equal(shifted_UTF, shifted_UTF[:, :1].expand_as(shifted_UTF))
    shift_U = shifted_UTF[:, 0, 10] - 11
    assert sorted(shift_U.unique().tolist()) == [-2, -1, 0, 1, 2]
    for shift, frame_F in zip(shift_U.tolist(), shifted_UTF[:, 0], strict=True):
        assert torch.equal(frame_F, (torch.arange(1.0, 21) + shift).clamp(1, 20))


def test_a_mask_hides_one_band_of_at_most_so_many_bins():
    masked_UTF, _ = changed(ramps(), mask_bins=5)
    is_hidden_UF = masked_UTF[:, 0] == 0
    assert set(is_hidden_UF.sum(1).tolist()) == {0, 1, 2, 3, 4, 5}
    edges_U = (is_hidden_UF.int().diff(dim=1, prepend=torch.zeros(200, 1), append=torch.zeros(200, 1)) != 0).sum(1)
    assert set(edges_U.tolist()) == {0, 2}
    assert torch.equal(masked_UTF[:, 0][~is_hidden_UF], ramps()[:, 0][~is_hidden_UF])


def test_a_mask_of_frames_hides_at_most_a_fifth_of_a_clip():
    masked_UTF, _ = changed(ramps(length=40), mask_frames=100)
    is_hidden_UT = (masked_UTF == 0).all(2)
    assert set(is_hidden_UT.sum(1).tolist()) == set(range(9))
    masked_UTF, _ = changed(ramps(length=40), mask_frames=3)
    assert (masked_UTF == 0).all(2).sum(1).max() == 3


def tone(hz, rate_hz=RATE_HZ):
    return log_mel(torch.sin(2 * torch.pi * hz * torch.arange(rate_hz) / rate_hz), rate_hz, 40)[None]


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_a_warped_tone_is_where_the_tone_of_that_frequency_over_the_factor_is(factor):
    """Reading the bands at factor x f finds a tone of 2000 Hz in the band of 2000 / factor."""
    found_UTF = warped(tone(2000.0), torch.tensor([factor]), RATE_HZ)
    wanted_UTF = tone(2000.0 / factor)
    assert abs(int(found_UTF[0, 10].argmax()) - int(wanted_UTF[0, 10].argmax())) <= 1
    if factor == 1.0:
        torch.testing.assert_close(found_UTF, tone(2000.0), atol=1e-3, rtol=1e-3)


def test_stretching_reads_a_line_at_the_rate_and_pads_with_zeros():
    x_UTF = torch.arange(1.0, 11).view(1, 10, 1).repeat(3, 1, 1)
    mask_UT = torch.arange(10) < torch.tensor([10, 6, 0])[:, None]
    y_UTF, mask_UT = stretched(x_UTF * mask_UT[..., None], mask_UT, torch.tensor([2.0, 0.5, 1.0]))
    assert mask_UT.sum(1).tolist() == [5, 12, 0]
    assert y_UTF[0, :5, 0].tolist() == [1, 3, 5, 7, 9]
    assert y_UTF[1, :, 0].tolist() == [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6]
    assert not y_UTF[~mask_UT].any()


def test_noise_has_a_deviation_of_its_own_for_each_clip():
    y_UTF, _ = changed(torch.zeros(300, 40, 20), noise=0.5)
    deviation_U = y_UTF.std((1, 2))
    assert 0.0 < deviation_U.min() < 0.05
    assert 0.45 < deviation_U.max() < 0.55


def test_padding_stays_zero_under_everything():
    everything = {"warp": 0.2, "shift_bins": 2, "speed": 0.2, "noise": 1.0, "mask_bins": 5, "mask_frames": 2}
    mask_UT = torch.arange(12) < torch.tensor([12, 7, 0])[:, None]
    y_UTF, mask_UT = augment(**everything)(torch.randn(3, 12, 20) * mask_UT[..., None], mask_UT)
    assert y_UTF.shape[:2] == mask_UT.shape
    assert not y_UTF[~mask_UT].any()


def test_the_generators_state_decides_every_draw():
    """Resuming restores that state, so a resumed run sees the same changes."""
    options = {"warp": 0.2, "speed": 0.2, "noise": 1.0, "mask_bins": 5, "mask_frames": 2}
    state, first = torch.get_rng_state(), changed(ramps(), **options)[0]
    torch.set_rng_state(state)
    assert torch.equal(changed(ramps(), **options)[0], first)
    assert not torch.equal(changed(ramps(), **options)[0][:, :2], first[:, :2])


def test_an_encoder_changes_clips_in_training_alone():
    config = AudioCNN.Config(num_mels=20, dropout=0.0, noise=1.0)
    encoder = AudioCNN(config, LogMelPreparer(num_mels=20), width=4)
    x_UTF = torch.randn(2, 16, 20)
    a, b = (encoder.train().features(x_UTF, None)[0] for _ in range(2))
    assert not torch.equal(a, b)
    a, b = (encoder.eval().features(x_UTF, None)[0] for _ in range(2))
    assert torch.equal(a, b)


def test_masks_and_shifts_leave_some_bins():
    with pytest.raises(ValidationError, match="below num_mels = 20"):
        AugmentedAudioInput(num_mels=20, mask_bins=20)

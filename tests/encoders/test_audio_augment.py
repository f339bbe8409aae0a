"""What training does to a clip's spectrum, and that nothing happens outside it."""

import torch

from sensorium.encoders.audio_augment import SpectrumAugment


def ramps(num_media=200, length=3, num_bins=20):
    return torch.arange(1.0, num_bins + 1).expand(num_media, length, num_bins).clone()


def test_nothing_happens_outside_training_or_without_options():
    x_UTF = ramps()
    assert SpectrumAugment(3, 5).eval()(x_UTF) is x_UTF
    assert SpectrumAugment(0, 0).train()(x_UTF) is x_UTF


def test_a_shift_moves_all_frames_of_a_clip_alike_and_repeats_the_edge():
    shifted_UTF = SpectrumAugment(2, 0).train()(ramps())
    assert torch.equal(shifted_UTF, shifted_UTF[:, :1].expand_as(shifted_UTF))
    shift_U = shifted_UTF[:, 0, 10] - 11
    assert sorted(shift_U.unique().tolist()) == [-2, -1, 0, 1, 2]
    for shift, frame_F in zip(shift_U.tolist(), shifted_UTF[:, 0], strict=True):
        assert torch.equal(frame_F, (torch.arange(1.0, 21) + shift).clamp(1, 20))


def test_a_mask_hides_one_band_of_at_most_so_many_bins():
    masked_UTF = SpectrumAugment(0, 5).train()(ramps())
    is_hidden_UF = masked_UTF[:, 0] == 0
    assert set(is_hidden_UF.sum(1).tolist()) == {0, 1, 2, 3, 4, 5}
    edges_U = (is_hidden_UF.int().diff(dim=1, prepend=torch.zeros(200, 1), append=torch.zeros(200, 1)) != 0).sum(1)
    assert set(edges_U.tolist()) == {0, 2}
    assert torch.equal(masked_UTF[:, 0][~is_hidden_UF], ramps()[:, 0][~is_hidden_UF])

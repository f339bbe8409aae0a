"""The HMM encoders: fitting finds classes, features are the posteriors, tables of any size load."""

import pytest
import torch

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.protocols import CountingEncoder
from sensorium.core.types import MediaBatch
from sensorium.core.vocabulary import BOS, EOS
from sensorium.data.cepstra import cepstra
from sensorium.data.log_mel_preparer import LogMelPreparer
from sensorium.data.text_preparer import TextPreparer
from sensorium.encoders.audio_hmm import AudioHMM
from sensorium.encoders.hmm_features import posteriors
from sensorium.encoders.text_hmm import TextHMM
from sensorium.markov.model import ergodic
from sensorium.workflow.config import config_from_text

TEXTS = ["the red cat", "the blue dog", "a red dog", "a blue cat"]


def clips(num, seed):
    """Rising and falling spectra in turn, and the target ids of their rows."""
    g = torch.Generator().manual_seed(seed)
    values, rows = [], []
    for i in range(num):
        length = 20 + int(torch.randint(20, (1,), generator=g))
        slope = torch.linspace(-1, 1, length)[:, None] * (1 if i % 2 else -1)
        bands = torch.linspace(-2, 2, 16)
        values.append((slope * bands + 0.5 * torch.randn(length, 16, generator=g)).half())
        rows.append([BOS, 4 + i % 2, EOS])
    return MediaBatch(*LogMelPreparer(num_mels=16).collate(values), torch.arange(num)), torch.tensor(rows)


def audio(**options):
    config = AudioHMM.Config(num_mels=16, **options)
    return AudioHMM(config, config.preparer(), width=4)


def test_cepstra_have_mean_zero_and_deviation_one():
    x_TF = cepstra(torch.randn(30, 20), 13)
    assert x_TF.shape == (30, 39)
    torch.testing.assert_close(x_TF.mean(0), torch.zeros(39).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(x_TF.square().mean(0), torch.ones(39).double())


def test_cepstra_are_the_cosine_transform_and_its_slopes():
    scipy_fft = pytest.importorskip("scipy.fft")
    log_mel_TM = torch.randn(12, 20).double()
    static = torch.from_numpy(scipy_fft.dct(log_mel_TM.numpy(), norm="ortho")[:, :3])

    def at(t):
        return static[min(max(t, 0), 11)]

    slope = torch.stack([(at(t + 1) - at(t - 1) + 2 * (at(t + 2) - at(t - 2))) / 10 for t in range(12)])
    want = torch.cat([static, slope], 1)
    want = (want - want.mean(0)) / want.std(0, correction=0)
    torch.testing.assert_close(cepstra(log_mel_TM, 3)[:, :6], want)


def test_one_frame_is_survived():
    assert cepstra(torch.randn(1, 20)).isfinite().all()


def test_word_models_name_the_word_of_new_clips():
    encoder = audio(words=2, states=3, iterations=4).eval()
    assert isinstance(encoder, CountingEncoder)
    media, target_BT = clips(30, seed=0)
    encoder.fit([(media, target_BT)])
    new, truth_BT = clips(30, seed=1)
    x_UTF, mask_UT = encoder.features(new.values, new.mask_UT)
    assert x_UTF.shape == (30, -(-new.values.shape[1] // 4), 8)
    assert mask_UT.shape == x_UTF.shape[:2]
    found_U = x_UTF[:, 0, 6:].argmax(1)
    same = (found_U == truth_BT[:, 1] - 4).float().mean()
    assert same in (0.0, 1.0), "each word has a model; which comes first does not matter"


def test_one_model_needs_no_targets_and_gives_posteriors():
    encoder = audio(states=4, iterations=4, stride=1).eval()
    media, target_BT = clips(10, seed=0)
    encoder.fit([(media, torch.zeros_like(target_BT))])
    x_UTF, mask_UT = encoder.features(media.values, media.mask_UT)
    torch.testing.assert_close(x_UTF.sum(-1), mask_UT.float())
    assert (x_UTF[mask_UT].mean(0) > 0.02).all(), "every state is used"


def test_strides_average_over_real_frames():
    media, target_BT = clips(6, seed=0)
    fine, coarse = (audio(states=4, iterations=2, stride=stride).eval() for stride in (1, 4))
    for encoder in (fine, coarse):
        encoder.fit([(media, target_BT)])
    x_UTF, mask_UT = fine.features(media.values, media.mask_UT)
    y_UTF, y_mask_UT = coarse.features(media.values, media.mask_UT)
    for u in range(6):
        blocks = x_UTF[u][mask_UT[u]].split(4)
        torch.testing.assert_close(y_UTF[u][y_mask_UT[u]], torch.stack([block.mean(0) for block in blocks]))


def test_more_words_than_targets_are_refused():
    with pytest.raises(DataError, match="3 words are asked for, but there are 2"):
        audio(words=3).fit([clips(6, seed=0)])
    with pytest.raises(DataError, match="no sounds"):
        audio().fit([])


def test_texts_fall_into_word_classes():
    config = TextHMM.Config(states=3, iterations=100, seed=1)
    preparer = TextPreparer(tokenizer="word", max_tokens=8).fit(TEXTS)
    encoder = TextHMM(config, preparer, width=4).eval()
    media = MediaBatch(*preparer.collate([preparer(text) for text in TEXTS]), torch.arange(4))
    before, mask_UT = encoder.features(media.values, media.mask_UT)
    encoder.fit([(media, torch.zeros(4, 2, dtype=torch.int64))] * 10)
    after, _ = encoder.features(media.values, media.mask_UT)
    torch.testing.assert_close(after.sum(-1), mask_UT.float())

    def entropy(p):
        return float(-(p * p.clamp_min(1e-9).log()).sum(-1).mean())

    assert entropy(after) < 0.3 * entropy(before)
    with pytest.raises(DataError, match="no texts"):
        encoder.fit([])


def test_media_without_frames_have_no_posteriors():
    start, transition = ergodic(3)
    mask_UT = torch.tensor([[True, True], [False, False]])
    gamma, log_p = posteriors(start, transition, None, torch.randn(2, 2, 3).double(), mask_UT)
    assert gamma[1].abs().sum() == 0
    assert log_p[1] == 0
    nothing, _ = posteriors(start, transition, None, torch.randn(1, 2, 3).double(), torch.zeros(1, 2).bool())
    assert nothing.abs().sum() == 0


def test_a_frozen_one_is_refused_with_advice(tmp_path):
    text = """
[data]
train = "rows.csv"
[inputs.sound]
modality = "audio"
encoder = "hmm"
frozen = true
[target]
column = "word"
"""
    with pytest.raises(ConfigError, match="fitted by counting.*leave 'frozen' out"):
        config_from_text(text, tmp_path)

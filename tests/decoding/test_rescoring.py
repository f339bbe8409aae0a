"""Rescoring n-best texts: features by hand, orders, and tuning against a full grid."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.decoding.beam import Beam
from sensorium.decoding.config import DecodingConfig
from sensorium.decoding.generate import generate
from sensorium.decoding.rescoring import features, rescored, scores, tune
from sensorium.language.ngram import Ngram

VOCAB = Vocab.of("abcd")
TRAIN = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 5, 6, EOS]] * 4


def ngram(order):
    return Ngram(Ngram.Config(order=order), VOCAB, width=1).fit(TRAIN)


@pytest.fixture(scope="module")
def found():
    cond = Conditioning.empty(3)
    return generate(ngram(1), cond, search=Beam(width=4, n_best=4), max_tokens=5), cond


def test_features_are_the_log_p_of_each_text_and_its_length(found):
    texts, cond = found
    scorers = {"two": ngram(2), "three": ngram(3)}
    feature_BKF = features(scorers, texts, cond)
    assert feature_BKF.shape == (3, 4, 3)
    for b, k in itertools.product(range(3), range(4)):
        ids = [i for i in texts.token_BKT[b, k].tolist() if i]
        token_BT = torch.tensor([[BOS, *ids]])
        for f, scorer in enumerate(scorers.values()):
            log_p = scorer.score(token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(1))
            assert float(feature_BKF[b, k, f]) == pytest.approx(float(log_p.sum()), abs=1e-4)
        assert float(feature_BKF[b, k, 2]) == len(ids)


def test_texts_come_in_their_new_order_and_weight_zero_changes_nothing(found):
    texts, cond = found
    feature_BKF = features({"three": ngram(3)}, texts, cond)
    same = rescored(texts, feature_BKF, [0.0, 0.0])
    assert torch.equal(same.token_BKT, texts.token_BKT)
    other = rescored(texts, feature_BKF, [5.0, 0.0])
    assert not torch.equal(other.token_BKT, texts.token_BKT)
    assert torch.equal(other.score_BK, other.score_BK.sort(1, descending=True).values)
    best = (texts.score_BK + 5 * feature_BKF[..., 0]).argmax(1)
    for b in range(3):
        assert torch.equal(other.token_BKT[b, 0], texts.token_BKT[b, best[b]])
        assert torch.equal(other.log_p_BKT[b, 0], texts.log_p_BKT[b, best[b]])


def test_a_place_without_a_text_stays_last_and_a_veto_of_weight_zero_is_not_heard():
    score_BK = torch.tensor([[-1.0, -3.0, -torch.inf]])
    feature_BKF = torch.tensor([[[-torch.inf, 1.0], [-2.0, 9.0], [0.0, 99.0]]])
    assert scores(score_BK, feature_BKF, [0.0, 0.0]).argmax() == 0
    assert scores(score_BK, feature_BKF, [1.0, 1.0]).tolist() == [[-torch.inf, 4.0, -torch.inf]]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_tuning_is_no_worse_than_the_search_and_reaches_the_grids_best_for_one_feature(seed):
    generator = torch.Generator().manual_seed(seed)
    score_BK = torch.randn(12, 4, generator=generator)
    feature_BKF = torch.randn(12, 4, 2, generator=generator)
    worth_BK = torch.rand(12, 4, generator=generator)

    def worth(chosen):
        return float(worth_BK[torch.arange(12), torch.tensor(chosen)].sum())

    def value(weight_F):
        return worth(scores(score_BK, feature_BKF[..., : len(weight_F)], weight_F).argmax(1).tolist())

    grid = (-1.0, 0.0, 0.5, 2.0)
    assert value(tune(score_BK, feature_BKF, worth, grid)) >= value([0.0, 0.0])
    one = tune(score_BK, feature_BKF[..., :1], worth, grid)
    assert value(one) == max(value([w]) for w in grid)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="n_best of 2"):
        DecodingConfig.parse({"rescore": {"by": ["ngram"]}})
    rescore = {"by": ["ngram"], "weights": {"transformer": 1.0}}
    with pytest.raises(ConfigError, match="not asked"):
        DecodingConfig.parse({"search": "beam", "n_best": 4, "rescore": rescore})

"""Counts that leave folds out: each row by the scorer that has not counted it, on its own and in compositions."""

import pytest
import torch

from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language.left_out import LeftOut, with_folds
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.language.transformer import Transformer
from sensorium.model.through import Through

VOCAB = Vocab.of("abcd")
TRAIN = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 5, 6, EOS], [BOS, 7, 7, EOS]] * 3
FOLD = [i % 4 % 3 for i in range(len(TRAIN))]  # equal texts are in one fold
TOKEN_BT = torch.tensor([[*ids, *[0] * (5 - len(ids))] for ids in TRAIN[:5]])
MASK_BT = TOKEN_BT != 0
FOLD_B = torch.tensor(FOLD[:5])
EMPTY = Conditioning.empty(5)


def ngram(without=None):
    rows = [ids for ids, fold in zip(TRAIN, FOLD, strict=True) if fold != without]
    return Ngram(Ngram.Config(order=3), VOCAB, width=1).fit(rows)


def transformer():
    torch.manual_seed(0)
    return Transformer(Transformer.Config(layers=1, width=16, heads=2), VOCAB, width=1).eval()


def by_hand(method):
    """Row by row, by the counts that leave its fold out."""
    rows = []
    for b, fold in enumerate(FOLD[:5]):
        scorer = ngram(without=fold)
        rows.append(getattr(scorer, method)(TOKEN_BT[b : b + 1], MASK_BT[b : b + 1], Conditioning.empty(1)))
    return torch.cat(rows)


def test_each_row_is_scored_by_counts_without_its_fold():
    left_out, cond = LeftOut([ngram(fold) for fold in range(3)]), with_folds(EMPTY, FOLD_B)
    torch.testing.assert_close(left_out.score(TOKEN_BT, MASK_BT, cond), by_hand("score"))
    found, wanted = left_out.unroll(TOKEN_BT, MASK_BT, cond), by_hand("unroll")
    torch.testing.assert_close(found[MASK_BT], wanted[MASK_BT])
    counted = ngram().score(TOKEN_BT, MASK_BT, EMPTY)
    assert float(counted.sum()) > float(left_out.score(TOKEN_BT, MASK_BT, cond).sum())


def test_rows_whose_fold_is_not_known_are_refused():
    left_out = LeftOut([ngram(fold) for fold in range(3)])
    with pytest.raises(ModelError, match="not known"):
        left_out.score(TOKEN_BT, MASK_BT, EMPTY)
    with pytest.raises(ModelError, match="fold 3"):
        left_out.score(TOKEN_BT, MASK_BT, with_folds(EMPTY, FOLD_B + 1))
    with pytest.raises(ModelError, match="generate nothing"):
        left_out.start(EMPTY)
    through = Through(Mixture([transformer(), ngram()]), {1: left_out}, torch.tensor([0, -1, 2]))
    for number in (1, 3):
        with pytest.raises(ModelError, match="no fold"):
            through.score(torch.tensor([0, 0, 0, 0, number]), TOKEN_BT, MASK_BT, EMPTY)


@pytest.mark.parametrize("kind", [Mixture, Product])
def test_the_loss_is_the_compositions_with_the_counts_held_fixed(kind):
    learner, row_id_B = transformer(), torch.arange(5)
    scorer = kind([learner, ngram()])
    left_out = LeftOut([ngram(fold) for fold in range(3)])
    through = Through(scorer, {1: left_out}, torch.tensor(FOLD), weights=[0.6, 0.4])
    scorer.set_weights([0.6, 0.4])
    log_p_BT = through.score(row_id_B, TOKEN_BT, MASK_BT, EMPTY)
    neural_BTV, counted_BTV = learner.unroll(TOKEN_BT, MASK_BT, EMPTY), by_hand("unroll")
    target_BT1 = TOKEN_BT[:, 1:, None]
    if kind is Mixture:
        neural_BT1, counted_BT1 = (x[:, :-1].gather(2, target_BT1) for x in (neural_BTV, counted_BTV))
        real_BT1 = MASK_BT[:, 1:, None]
        p_BT1 = 0.6 * neural_BT1.masked_fill(~real_BT1, 0).exp() + 0.4 * counted_BT1.masked_fill(~real_BT1, 0).exp()
        wanted = p_BT1.log()[..., 0]
    else:
        mixed_BTV = (0.6 * neural_BTV + 0.4 * counted_BTV)[..., EOS:].log_softmax(-1)
        shifted_BT1 = (target_BT1 - EOS).clamp_min(0)
        wanted = mixed_BTV[:, :-1].gather(2, shifted_BT1).masked_fill(~MASK_BT[:, 1:, None], 0)[..., 0]
    torch.testing.assert_close(log_p_BT[:, 1:], wanted, atol=1e-5, rtol=1e-5)
    parameters = list(learner.parameters())
    used = torch.autograd.grad(wanted.sum(), parameters, retain_graph=True, allow_unused=True)
    found = torch.autograd.grad(log_p_BT.sum(), parameters, allow_unused=True)
    for ours, direct in zip(found, used, strict=True):
        assert (ours is None) == (direct is None)
        if ours is not None:
            assert ours.isfinite().all()
            torch.testing.assert_close(ours, direct, atol=1e-5, rtol=1e-4)


def test_weights_follow_held_out_rows_unless_they_are_fixed():
    held_out = [(TOKEN_BT, MASK_BT, EMPTY)]
    scorer = Mixture([transformer(), ngram()])
    left_out = {1: LeftOut([ngram(fold) for fold in range(3)])}
    Through(scorer, left_out, torch.tensor(FOLD), weights=[0.5, 0.5]).fit_weights(held_out)
    assert scorer.weights == pytest.approx([0.5, 0.5])
    Through(scorer, left_out, torch.tensor(FOLD)).fit_weights(held_out)
    assert scorer.weights == pytest.approx(Mixture([transformer(), ngram()]).fit_weights(held_out), abs=1e-6)

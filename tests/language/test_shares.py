"""Shares of mixtures, gates and products, against their definitions."""

import math

import pytest
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language.gate import Gate
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.language.shares import linear_shares, product_shares

VOCAB = Vocab.of("abcd")
TRAIN = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 5, 6, EOS]] * 4
TOKEN_BT = torch.tensor([[BOS, 4, 5, 6, EOS], [BOS, 7, EOS, 0, 0]])
MASK_BT = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
EMPTY = Conditioning.empty(2)


def parts():
    return [Ngram(Ngram.Config(order=order), VOCAB, width=1).fit(TRAIN) for order in (1, 3)]


def test_a_linear_share_is_the_chance_that_the_token_was_drawn_from_the_part():
    mixture = Mixture(parts()).set_weights([0.3, 0.7])
    shares, log_p_BT = mixture.shares(TOKEN_BT, MASK_BT, EMPTY), mixture.score(TOKEN_BT, MASK_BT, EMPTY)
    for b, t in MASK_BT[:, 1:].nonzero().tolist():
        p = [math.exp(float(shares.log_p_KBT[k, b, t + 1])) for k in range(2)]
        whole = 0.3 * p[0] + 0.7 * p[1]
        assert float(log_p_BT[b, t + 1]) == pytest.approx(math.log(whole), abs=1e-5)
        assert shares.share_KBT[:, b, t + 1].tolist() == pytest.approx([0.3 * p[0] / whole, 0.7 * p[1] / whole])
    assert shares.weight_KBT[:, 0, 1].tolist() == pytest.approx([0.3, 0.7])


def test_a_gates_shares_use_its_weights_before_that_token():
    torch.manual_seed(0)
    gate = Gate(parts())
    torch.nn.init.normal_(gate.output.weight)
    shares = gate.shares(TOKEN_BT, MASK_BT, EMPTY)
    joint_KBT = shares.weight_KBT * shares.log_p_KBT.exp()
    scored_BT = MASK_BT & (TOKEN_BT != BOS)
    assert len(set(shares.weight_KBT[0][scored_BT].tolist())) > 2
    torch.testing.assert_close(
        joint_KBT.sum(0).log()[scored_BT], gate.score(TOKEN_BT, MASK_BT, EMPTY)[scored_BT], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(shares.share_KBT, joint_KBT / joint_KBT.sum(0))


def test_a_products_terms_give_its_score_up_to_z():
    product = Product(parts()).set_weights([0.4, 0.9])
    shares = product.shares(TOKEN_BT, MASK_BT, EMPTY)
    term_KBT = shares.weight_KBT * shares.log_p_KBT
    assert shares.weight_KBT[:, 0, 1].tolist() == pytest.approx([0.4, 0.9])
    scored_BT = MASK_BT & (TOKEN_BT != BOS)
    torch.testing.assert_close(
        shares.share_KBT[:, scored_BT], (term_KBT / term_KBT.sum(0))[:, scored_BT], atol=1e-6, rtol=0
    )
    log_z_BT = term_KBT.sum(0) - product.score(TOKEN_BT, MASK_BT, EMPTY)
    assert float(log_z_BT[0, 1]) == pytest.approx(float(log_z_BT[1, 1]), abs=1e-5)  # both rows stand after BOS


@pytest.mark.parametrize("log_p", [[-math.inf, -math.inf], [-math.inf, -1.0], [0.0, 0.0], [-2.0, -1.0]])
def test_shares_sum_to_one_whatever_is_ruled_out(log_p):
    log_p_KBT = torch.tensor(log_p)[:, None, None]
    weight_K = torch.tensor([0.25, 0.75])
    for shares in (
        linear_shares(log_p_KBT, weight_K.log()[:, None, None]),
        product_shares(log_p_KBT, weight_K, log_p_KBT[0]),
        product_shares(log_p_KBT, torch.tensor([0.0, 1.0]), log_p_KBT[0]),
    ):
        assert float(shares.share_KBT.sum()) == pytest.approx(1)
    if log_p == [-math.inf, -1.0]:
        assert linear_shares(log_p_KBT, weight_K.log()[:, None, None]).share_KBT.flatten().tolist() == [0, 1]
        assert product_shares(log_p_KBT, weight_K, log_p_KBT[0]).share_KBT.flatten().tolist() == [1, 0]
        assert product_shares(log_p_KBT, torch.tensor([0.0, 1.0]), log_p_KBT[0]).share_KBT.flatten().tolist() == [
            0,
            1,
        ]

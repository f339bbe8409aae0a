"""Smoothed labels: torch's own loss as oracle for the gradient, the likelihood as the value."""

import pytest
import torch
import torch.nn.functional as F

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab
from sensorium.language.label_smoothing import smoothed_nll
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer

VOCAB = Vocab.of("abcd")
TOKEN_BT = torch.tensor([[BOS, 4, 5, 6, EOS], [BOS, 7, EOS, PAD, PAD]])


def decoder(kind):
    torch.manual_seed(2)
    options = {"heads": 2} if kind is Transformer else {}
    return kind(kind.Config(width=8, layers=1, **options), VOCAB, 6).eval()  # without dropout


@pytest.mark.parametrize("kind", [Transformer, Recurrent])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_value_is_the_likelihood_and_gradient_is_torchs(kind, share):
    scorer, cond, mask_BT = decoder(kind), Conditioning.empty(2, 6), TOKEN_BT != PAD
    nll_B = smoothed_nll(scorer, TOKEN_BT, mask_BT, cond, share)
    torch.testing.assert_close(nll_B, -scorer.score(TOKEN_BT, mask_BT, cond).sum(1))
    nll_B.sum().backward()
    got = {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}
    scorer.zero_grad()
    # torch smooths over all classes, so the two that are impossible are taken out of it.
    logits_BTV = scorer.unroll(TOKEN_BT[:, :-1], mask_BT[:, :-1], cond)[..., [2, 3, *range(4, len(VOCAB))]]
    target_BT = torch.where(mask_BT[:, 1:], TOKEN_BT[:, 1:] - 2, -100)
    F.cross_entropy(
        logits_BTV.flatten(0, 1), target_BT.flatten(), ignore_index=-100, label_smoothing=share, reduction="sum"
    ).backward()
    want = {name: p.grad for name, p in scorer.named_parameters() if p.grad is not None}
    assert got.keys() == want.keys()
    for name, grad in want.items():
        torch.testing.assert_close(got[name], grad, rtol=1e-3, atol=1e-5)
    assert any(grad.abs().max() > 1e-3 for grad in want.values())


def test_texts_of_nothing_cost_nothing():
    only_1T = torch.tensor([[BOS]])
    assert smoothed_nll(decoder(Transformer), only_1T, only_1T > 0, Conditioning.empty(1, 6), 0.1).tolist() == [0]

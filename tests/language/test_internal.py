"""Dividing out a decoder's internal language: the formula, the contract, the fit."""

import pytest
import torch

from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Sample
from sensorium.language.internal import GRID, WithoutInternal, fit_shares
from sensorium.language.product import Product
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer
from sensorium.testing import check_scorer

VOCAB, WIDTH = Vocab.of("abcde"), 8


def decoder(kind=Transformer, seed=0):
    torch.manual_seed(seed)
    scorer = kind(kind.Config(width=8, layers=1, dropout=0.0), VOCAB, WIDTH).eval()
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return scorer


def memory(num_rows):
    x_BMD = torch.randn(num_rows, 3, WIDTH, generator=torch.Generator().manual_seed(num_rows))
    return Conditioning(Encoded(x_BMD, torch.ones(num_rows, 3).bool(), torch.ones(num_rows).bool()))


def rows(num=4, length=5):
    token_BT = torch.randint(4, len(VOCAB), (num, length), generator=torch.Generator().manual_seed(2))
    token_BT = torch.cat([torch.full((num, 1), BOS), token_BT, torch.full((num, 1), EOS)], 1)
    return token_BT, torch.ones_like(token_BT).bool(), memory(num)


@pytest.mark.parametrize("kind", [Transformer, Recurrent])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_it_keeps_the_contract(kind, share):
    check_scorer(lambda: WithoutInternal(decoder(kind), share), memory, length=5)


def test_the_formula_by_hand():
    part, (token_BT, mask_BT, cond) = decoder(), rows()
    state = part.start(cond), part.start(Conditioning.empty(4, WIDTH))
    log_p, blind = (part.extend(s, token_BT[:, :3], mask_BT[:, :3])[0] for s in state)
    want = (log_p - 0.3 * blind)[:, EOS:].log_softmax(1)
    scorer = WithoutInternal(part, 0.3)
    found, _ = scorer.extend(scorer.start(cond), token_BT[:, :3], mask_BT[:, :3])
    torch.testing.assert_close(found[:, EOS:], want)
    assert not torch.allclose(found[:, EOS:], log_p[:, EOS:], atol=1e-2)


def test_it_is_trained_as_the_part_itself():
    part, row = decoder(), rows()
    scorer = WithoutInternal(part, 0.5).train()
    torch.testing.assert_close(scorer.score(*row), part.score(*row))
    assert not torch.allclose(scorer.eval().score(*row), part.score(*row), atol=1e-2)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ModelError, match="share of the internal language"):
        WithoutInternal(decoder(), share)


def sampled(scorer, num):
    """Texts drawn from `scorer`, each as if conditioned on its own memory."""
    found = generate(scorer, memory(num), search=Sample(seed=1), max_tokens=12)
    bos_B1 = torch.full((num, 1), BOS)
    return torch.cat([bos_B1, found.token_BT], 1), torch.cat([bos_B1 == BOS, found.mask_BT], 1), memory(num)


def test_the_share_is_found_that_texts_were_drawn_with():
    wrapped, other = WithoutInternal(decoder(), 0.4), decoder(seed=1)
    product = Product([wrapped, other]).set_weights([1.0, 0.6]).eval()
    held_out = sampled(product, 600)

    def value(batches):
        product.fit_weights(batches)
        return float(product.score(*batches[0]).sum())

    with torch.no_grad():
        values = {share: value([held_out]) for share in GRID if wrapped.set_share(share)}
        (found,) = fit_shares([wrapped.set_share(0.0)], iter([held_out]), value)
    assert len(set(values.values())) == len(GRID)  # so that the choice says something
    assert found == pytest.approx(max(values, key=values.get))
    assert abs(found - 0.4) < 0.15
    assert max(values.values()) == pytest.approx(float(product.score(*held_out).sum()))

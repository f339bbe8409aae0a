"""Rows kept ready say what the tables say, and are made anew when the tables change."""

import pytest
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language import ngram_dense
from sensorium.language.ngram import Ngram

VOCAB = Vocab.of(f"w{i}" for i in range(90))


def corpus(seed, num=400):
    generator = torch.Generator().manual_seed(seed)
    skewed = (torch.rand(num, 8, generator=generator) ** 2 * 90).long() + 4
    return [[BOS, *row, EOS] for row in skewed.tolist()]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kept_rows_change_no_distribution(order, monkeypatch):
    token_BT = torch.tensor([row[:-1] for row in corpus(1, 50)])
    mask_BT = torch.ones_like(token_BT, dtype=torch.bool)
    found = []
    for fewest in (1, 20, 10**6):
        monkeypatch.setattr(ngram_dense, "FEWEST_CHILDREN", fewest)
        scorer = Ngram(Ngram.Config(order=order), VOCAB, width=1).fit(corpus(0))
        found.append(scorer.unroll(token_BT, mask_BT, Conditioning.empty(50)))
        assert (len(scorer._dense().log_p_SV) > 1) == (fewest < 10**6 and order > 1)
    torch.testing.assert_close(found[0], found[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], found[2], atol=1e-5, rtol=0)


def test_other_tables_make_other_rows(monkeypatch):
    monkeypatch.setattr(ngram_dense, "FEWEST_CHILDREN", 5)
    cond, token_B1 = Conditioning.empty(1), torch.tensor([[10]])
    real_B1 = torch.ones_like(token_B1, dtype=torch.bool)

    def said(scorer):
        return scorer.extend(scorer.start(cond), token_B1, real_B1)[0]

    scorer = Ngram(Ngram.Config(order=2), VOCAB, width=1).fit(corpus(0))
    first = said(scorer)
    second = said(scorer.fit(corpus(7)))
    assert not torch.allclose(first, second)
    scorer.load_state_dict(Ngram(Ngram.Config(order=2), VOCAB, width=1).fit(corpus(0)).state_dict())
    assert torch.equal(said(scorer), first)

"""One row that a scorer rules out does not decide for all: not over weights, and not over a validation."""

from __future__ import annotations

import logging
import random

import pytest
import torch

from sensorium.core.logspace import possible_total
from sensorium.core.pytree import select
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab
from sensorium.evaluation.runner import mean_nll
from sensorium.language.ctc import CTC
from sensorium.language.gate import Gate
from sensorium.language.left_out import LeftOut
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.model.through import Through

VOCAB, SIZE = Vocab.of("abcd"), 8


def heard(texts: list[list[int]], too_short: set[int]) -> Conditioning:
    """Frames that say each token and then nothing; of some rows, half of the frames that their text needs."""
    frames = [[frame for token in text for frame in (token, PAD)] for text in texts]
    frames = [row[: len(row) // 4] if n in too_short else row for n, row in enumerate(frames)]
    x_BFD = torch.zeros(len(texts), max(map(len, frames)), SIZE)
    mask_BF = torch.zeros(x_BFD.shape[:2], dtype=torch.bool)
    for n, row in enumerate(frames):
        x_BFD[n, torch.arange(len(row)), row] = 1
        mask_BF[n, : len(row)] = True
    part = Encoded(x_BFD, mask_BF, torch.ones(len(texts), dtype=torch.bool))
    return Conditioning(Conditioning.empty(len(texts), SIZE).memory, {"sound": part})


@pytest.fixture(scope="module")
def parts():
    drawn = random.Random(1)
    texts = [[drawn.randrange(4, 8) for _ in range(drawn.randrange(4, 9))] for _ in range(60)]
    ctc = CTC(CTC.Config(), VOCAB, SIZE).eval()
    with torch.no_grad():
        ctc.classes.weight.copy_(3 * torch.eye(SIZE))
        ctc.classes.bias.zero_()
    ngram = Ngram(Ngram.Config(order=2), VOCAB, SIZE).fit([[BOS, *text, EOS] for text in texts])
    longest = max(map(len, texts)) + 2
    token_BT = torch.tensor([[BOS, *text, EOS] + [PAD] * (longest - 2 - len(text)) for text in texts])
    return texts, [ctc, ngram.eval()], (token_BT, token_BT != PAD)


@pytest.mark.parametrize("composition", [Product, Mixture, Gate])
def test_weights_are_those_of_the_rows_that_can_be_written(parts, composition, caplog):
    texts, scorers, rows = parts
    all_but = torch.tensor([row for row in range(len(texts)) if row != 7])
    good, bad = heard(texts, set()), heard(texts, {7})
    want = composition(scorers).fit_weights([(rows[0][all_but], rows[1][all_but], select(good, all_but))])
    with caplog.at_level(logging.WARNING):
        got = composition(scorers).fit_weights([(*rows, bad)])
    if composition is Product:
        assert got == pytest.approx(want, rel=1e-5)
        assert got[0] > 0.1
        assert "1 of 60 held-out rows" in caplog.text
    else:  # the n-gram writes that row, and has a share for it
        assert got == pytest.approx(want, abs=0.05)


def test_a_part_that_rules_out_most_rows_is_not_heard(parts):
    texts, scorers, rows = parts
    got = Product(scorers).fit_weights([(*rows, heard(texts, set(range(50))))])
    assert got[0] == 0
    assert got[1] > 0


class OneAtATime:
    """A model whose losses are given, and a corpus of them."""

    training = False

    def __init__(self, *losses: float) -> None:
        self.loss_N, self.num_rows = torch.tensor(losses), len(losses)

    def train(self, _mode: bool) -> None: ...
    def eval(self) -> None: ...

    def batch(self, row_N):
        return torch.from_numpy(row_N)

    def losses(self, row_N):
        return self.loss_N[row_N], torch.full_like(row_N, 2)


@pytest.mark.parametrize("batch_rows", [1, 2, 5])
def test_a_validation_leaves_out_what_cannot_be_written(batch_rows, caplog):
    model = OneAtATime(3.0, torch.inf, 5.0, 1.0)
    assert mean_nll(model, model, batch_rows) == pytest.approx(9 / 6)
    assert "1 of 4 rows" in caplog.text
    nothing = OneAtATime(torch.inf, torch.inf)
    assert mean_nll(nothing, nothing, batch_rows) == torch.inf
    broken = OneAtATime(3.0, torch.nan)
    assert mean_nll(broken, broken, batch_rows) != mean_nll(broken, broken, batch_rows), "NaN stays NaN"


def test_totals_leave_out_infinite_rows():
    total, num_tokens, num_left_out = possible_total(torch.tensor([1.0, torch.inf]), torch.tensor([3, 4]))
    assert (float(total), float(num_tokens), int(num_left_out)) == (1.0, 3.0, 1)


@pytest.mark.parametrize("composition", [Product, Mixture])
@pytest.mark.parametrize("impossible", [{3}, set(range(6))], ids=["one", "all"])
def test_training_through_counts_leaves_out_a_row_that_is_ruled_out(composition, impossible, caplog):
    """Both parts rule these rows out: the one that learns cannot say the token, and no more can the counts."""
    vocab, num_rows = Vocab.of("abc"), 6
    learner, counts = Says(vocab, learns=True), Says(vocab, learns=False)
    through = Through(composition([learner, counts]), {1: LeftOut([counts, counts])}, torch.arange(num_rows) % 2)
    token_BT = torch.tensor([[BOS, 5, EOS]] * num_rows)
    token_BT[sorted(impossible), 1] = 4
    mask_BT = torch.ones_like(token_BT, dtype=torch.bool)
    with caplog.at_level(logging.WARNING):
        found_BT = through.score(torch.arange(num_rows), token_BT, mask_BT, Conditioning.empty(num_rows))
    assert found_BT.isfinite().all()
    assert (found_BT[sorted(impossible)] == 0).all()
    found_BT.sum().backward()
    assert learner.logit_V.grad.isfinite().all()
    assert bool((learner.logit_V.grad != 0).any()) == (len(impossible) < num_rows)
    assert "ruled out" in caplog.text
    assert through.num_left_out == len(impossible)


class Says(torch.nn.Module):
    """Says one of the tokens from 5 on, or the end, whatever stands before."""

    def __init__(self, vocab: Vocab, *, learns: bool) -> None:
        super().__init__()
        self.vocab, self.fitted_by = vocab, "gradient" if learns else "counting"
        self.logit_V = torch.nn.Parameter(torch.randn(len(vocab)), requires_grad=learns)

    def start(self, cond):
        return cond.memory.present_B

    def extend(self, state, token_BT, mask_BT):
        return self._log_p_V().expand(len(token_BT), -1), state

    def score(self, token_BT, mask_BT, cond):
        return torch.where(mask_BT & (token_BT != BOS), self._log_p_V()[token_BT], 0.0)

    def unroll(self, token_BT, mask_BT, cond):
        return self._log_p_V().expand(*token_BT.shape, -1)

    def _log_p_V(self):
        bias_V = torch.zeros(len(self.vocab))
        bias_V[[PAD, BOS, 3, 4]] = -torch.inf
        return (self.logit_V + bias_V).log_softmax(-1)

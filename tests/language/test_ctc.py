"""CTC against the sum over all alignments, torch's loss, and the contract of every scorer."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.ctc import CTC
from sensorium.testing import check_scorer

VOCAB = Vocab.of("ab")
WIDTH = 5


def sound(num_rows: int, num_frames: int = 12, holes: bool = True) -> Conditioning:
    """Frames a row, some masked anywhere; of several rows the last lacks the sound."""
    generator = torch.Generator().manual_seed(num_rows)
    x_BTD = torch.randn(num_rows, num_frames, WIDTH, generator=generator)
    mask_BT = torch.ones(num_rows, num_frames, dtype=torch.bool)
    present_B = torch.ones(num_rows, dtype=torch.bool)
    if holes:
        mask_BT[0, 3], mask_BT[0, -1] = False, False
        present_B[-1] = num_rows == 1
        mask_BT[-1, 1:] = num_rows == 1
    part = Encoded(x_BTD, mask_BT, present_B)
    return Conditioning(part, {"speech": part})


def make(vocab: Vocab = VOCAB, **options) -> CTC:
    torch.manual_seed(1)
    scorer = CTC(CTC.Config(**options), vocab, WIDTH)
    with torch.no_grad():
        scorer.unheard_V.normal_()
    return scorer


def collapsed(path) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(path) if k != PAD)


def spelled(scorer: CTC, cond: Conditioning, row: int = 0) -> dict[tuple[int, ...], float]:
    """The probability of every text, by going through every alignment of the row's real frames."""
    heard = scorer.emissions(cond)
    y_FV = heard.log_y_BFV[row, : heard.length_B[row]].double().exp().tolist()
    classes = [PAD, *range(UNK, len(scorer.vocab))]
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(classes, repeat=len(y_FV)):
        text = collapsed(path)
        found[text] = found.get(text, 0.0) + math.prod(y[k] for y, k in zip(y_FV, path, strict=True))
    return found


def test_scorer_keeps_the_contract():
    check_scorer(make, sound)


def test_with_layers_it_keeps_the_contract_and_hears_neighbouring_frames():
    check_scorer(lambda: make(layers=2, hidden=6), sound)
    cond = sound(1, holes=False)
    moved = replace(cond.memory, x_BTD=cond.memory.x_BTD.clone())
    moved.x_BTD[0, 0] += 1
    for layers, differs in ((0, 1), (1, 12)):
        scorer = make(layers=layers, hidden=6).eval()
        before, after = (scorer.emissions(Conditioning(x, {"speech": x})).log_y_BFV for x in (cond.memory, moved))
        assert int((before != after).any(-1).sum()) == differs


def test_next_tokens_equal_the_sum_over_alignments():
    scorer, cond = make().eval(), sound(1, 5, holes=False)
    p = spelled(scorer, cond)
    assert sum(p.values()) == pytest.approx(1)
    for prefix in [(), (4,), (4, 4), (4, 5), (5, 5, 4), (4, 5, 4, 5)]:
        total = sum(q for text, q in p.items() if text[: len(prefix)] == prefix)
        token_BT = torch.tensor([[BOS, *prefix]])
        log_p_BV, _ = scorer.extend(scorer.start(cond), token_BT, torch.ones_like(token_BT).bool())
        assert float(log_p_BV[0, EOS].exp()) == pytest.approx(p.get(prefix, 0) / total, rel=1e-4)
        for token in (UNK, 4, 5):
            begins = sum(q for text, q in p.items() if text[: len(prefix) + 1] == (*prefix, token))
            assert float(log_p_BV[0, token].exp()) == pytest.approx(begins / total, rel=1e-4, abs=1e-9)


def batch(texts):
    length = max(map(len, texts)) + 2
    token_BT = torch.tensor([[BOS, *text, EOS] + [PAD] * (length - 2 - len(text)) for text in texts])
    return token_BT, token_BT != PAD


@pytest.mark.parametrize("training", [False, True])
def test_total_and_gradient_equal_torchs_loss(training):
    scorer, cond = make().train(training), sound(4, holes=False)
    texts = [(4, 5, 5), (), (4,), (5, 4, 5, 4, 4)]
    token_BT, mask_BT = batch(texts)
    total_B = scorer.score(token_BT, mask_BT, cond).sum(1)
    log_y_BFV = scorer.emissions(cond).log_y_BFV
    lengths = torch.tensor([len(text) for text in texts])
    want_B = -F.ctc_loss(
        log_y_BFV.transpose(0, 1), token_BT[:, 1:].clamp_min(1), torch.full((4,), 12), lengths, reduction="none"
    )
    torch.testing.assert_close(total_B, want_B, rtol=1e-4, atol=1e-4)
    weights = (scorer.classes.weight, scorer.classes.bias)
    for got, want in zip(
        torch.autograd.grad(total_B.sum(), weights), torch.autograd.grad(want_B.sum(), weights), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def test_masked_frames_and_missing_sound_train_too():
    token_BT, mask_BT = batch([(4, 5), (5,), (4, 4), (5, 4)])
    for training in (True, False):
        scorer = make().train(training)
        total = scorer.score(token_BT, mask_BT, sound(4)).sum()
        grads = torch.autograd.grad(total, (scorer.classes.weight, scorer.unheard_V))
        assert all(g.isfinite().all() and (g != 0).any() for g in grads)


def test_training_and_judging_agree_with_masked_frames():
    token_BT, mask_BT = batch([(4, 5), (5,), (4, 4), (5, 4)])
    scorer = make()
    for row in range(3):
        trained = scorer.train().score(token_BT, mask_BT, sound(4)).detach().sum(1)[row]
        judged = scorer.eval().score(token_BT, mask_BT, sound(4)).detach().sum(1)[row]
        assert float(trained) == pytest.approx(float(judged), rel=1e-5)


def test_texts_that_no_frames_can_spell_are_impossible_and_counted():
    scorer, cond = make(), sound(2, 3, holes=False)
    token_BT, mask_BT = batch([(4, 4, 4), (4, 5, 4)])
    assert scorer.eval().score(token_BT, mask_BT, cond).sum(1).isinf().tolist() == [True, False]
    assert scorer.num_too_long == 0
    assert scorer.train().score(token_BT, mask_BT, cond).sum(1)[0] == 0
    assert scorer.num_too_long == 1


def test_which_input_it_listens_to_must_be_clear():
    cond = sound(2)
    both = Conditioning(cond.memory, {"speech": cond.parts["speech"], "noise": cond.memory})
    with pytest.raises(ModelError, match="one of speech, noise"):
        make().start(both)
    named = CTC(CTC.Config(input="voice"), VOCAB, WIDTH)
    with pytest.raises(ModelError, match="'voice'"):
        named.start(both)
    CTC(CTC.Config(input="noise"), VOCAB, WIDTH).start(both)

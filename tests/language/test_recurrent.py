"""Recurrent decoders against their equations, written out step by step."""

import itertools

import pytest
import torch

from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language.recurrent import Recurrent
from sensorium.testing import check_scorer

VOCAB = Vocab.of("abcd")
WIDTH = 5


def make(**options):
    torch.manual_seed(0)
    return Recurrent(Recurrent.Config(**({"width": 7, "dropout": 0.0} | options)), VOCAB, WIDTH).eval()


def memory(num_rows):
    generator = torch.Generator().manual_seed(num_rows)
    mask_BM = torch.rand(num_rows, 4, generator=generator) < 0.7
    x_BMD = torch.randn(num_rows, 4, WIDTH, generator=generator)
    return Conditioning(Encoded(x_BMD, mask_BM, torch.ones(num_rows, dtype=torch.bool)))


def gru_step(rnn, x, h):
    r_x, z_x, n_x = (rnn.weight_ih_l0 @ x + rnn.bias_ih_l0).chunk(3)
    r_h, z_h, n_h = (rnn.weight_hh_l0 @ h + rnn.bias_hh_l0).chunk(3)
    z = (z_x + z_h).sigmoid()
    return (1 - z) * (n_x + (r_x + r_h).sigmoid() * n_h).tanh() + z * h


def oracle(model):
    """log p of one sequence: GRU by Cho et al., attention by Luong et al., over plain vectors."""

    def log_p(tokens, cond):
        attention, memory = model.attention, cond.memory
        real = [x for x, is_real in zip(memory.x_BTD[0], memory.mask_BT[0], strict=True) if is_real]
        mean = torch.stack(real).mean(0) if real else torch.zeros(WIDTH)
        h = model.first(mean).tanh()
        values = torch.stack([attention.null_value_D, *real])
        total = 0.0
        for token, following in itertools.pairwise(tokens):
            h = gru_step(model.rnn, model.embedding.weight[token], h)
            weight = torch.stack([h @ attention.key.weight @ value for value in values]).softmax(0)
            attended = attention.out(torch.cat([weight @ values, h])).tanh()
            logits = model.embedding.weight @ attended
            logits[: BOS + 1] = -torch.inf
            total += float(logits.log_softmax(0)[following])
        return total

    return log_p


def test_it_computes_its_equations():
    check_scorer(make, memory, oracle=oracle(make()))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_every_parameter_learns_with_a_memory(cell):
    model = make(cell=cell, layers=2, tie_embeddings=False)
    token_BT = torch.tensor([[BOS, 4, 5, EOS], [BOS, UNK, 6, EOS]])
    model.score(token_BT, token_BT > 0, memory(2)).sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_without_attention_the_memory_still_starts_it():
    model, token_BT = make(attention=False), torch.tensor([[BOS, 4, EOS]])
    with_memory = model.score(token_BT, token_BT > 0, memory(1))
    assert not torch.equal(with_memory, model.score(token_BT, token_BT > 0, Conditioning.empty(1)))


def test_tied_embeddings_are_one_parameter():
    tied, untied = make(), make(tie_embeddings=False)
    names = set(dict(untied.named_parameters())) - set(dict(tied.named_parameters()))
    assert names == {"head"}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_learns_to_read_the_memory(cell):
    model, cond = make(cell=cell, width=16), memory(8)
    answer_B1 = torch.arange(8)[:, None] % 4 + UNK + 1
    token_BT = torch.cat([torch.full((8, 1), BOS), answer_B1, torch.full((8, 1), EOS)], 1)
    mask_BT = torch.ones_like(token_BT, dtype=torch.bool)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(80):
        optimiser.zero_grad()
        (-model.score(token_BT, mask_BT, cond).sum(1)).mean().backward()
        optimiser.step()
    log_p_BV, _ = model.extend(model.start(cond), token_BT[:, :1], mask_BT[:, :1])
    assert torch.equal(log_p_BV.argmax(1), answer_B1[:, 0])

"""The Transformer scorer: its cache, its two paths, its memory, its shape; the rest is the contract's."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from sensorium.core.pytree import select
from sensorium.core.rotary import Rotary, rotate
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language.emission import pack_left
from sensorium.language.transformer import Transformer
from sensorium.language.transformer_block import RMSNorm

VOCAB = Vocab.of("abcdef")
WIDTH = 6


def make(**options):
    torch.manual_seed(0)
    shape = {"width": 16, "heads": 2, "layers": 2} | options
    return Transformer(Transformer.Config(**shape), VOCAB, WIDTH).eval()


def memory(num_rows, length=3, seed=1):
    x_BMD = torch.randn(num_rows, length, WIDTH, generator=torch.Generator().manual_seed(seed))
    ones = torch.ones(num_rows, length, dtype=torch.bool)
    return Conditioning(Encoded(x_BMD, ones, ones[:, :1].squeeze(1)))


def tokens(num_rows, length, seed=2):
    token_BT = torch.randint(UNK, len(VOCAB), (num_rows, length), generator=torch.Generator().manual_seed(seed))
    token_BT[:, 0] = BOS
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool)


@pytest.mark.parametrize("num_rows", [1, 5])
@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix", "none"])
def test_the_cache_grows_without_a_trace(num_rows, conditioning):
    model, cond = make(conditioning=conditioning), memory(num_rows)
    token_BT, mask_BT = tokens(num_rows, 150)
    state, capacities, said = model.start(cond), set(), []
    for t in range(150):
        log_p_BV, state = model.extend(state, token_BT[:, t : t + 1], mask_BT[:, t : t + 1])
        capacities.add(state.cache_BN2HCK.shape[-2])
        said.append(log_p_BV.gather(1, token_BT[:, t + 1 : t + 2]) if t < 149 else None)
    assert len(capacities) >= 5  # doubled
    with torch.no_grad():
        want_BT = model.score(token_BT, mask_BT, cond)[:, 1:]
    torch.testing.assert_close(torch.cat(said[:-1], 1), want_BT, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"mlp": "gelu"}, {"conditioning": "none"}], ids=str)
@pytest.mark.parametrize("num_rows", [1, 3, 6])
def test_the_short_path_and_the_plain_path_agree(options, num_rows):
    model, cond = make(dropout=0.0, **options), memory(num_rows)
    token_BT, mask_BT = tokens(num_rows, 9)
    said = []
    for training in (False, True):  # in training the plain path answers
        model.train(training)
        _, state = model.extend(model.start(cond), token_BT[:, :3], mask_BT[:, :3])
        for t in range(3, 9):
            log_p_BV, state = model.extend(state, token_BT[:, t : t + 1], mask_BT[:, t : t + 1])
        said.append(log_p_BV)
    torch.testing.assert_close(said[0], said[1], rtol=0, atol=1e-5)


def test_extend_keeps_no_gradient_and_score_has_one():
    model, (token_BT, mask_BT) = make(), tokens(2, 4)
    log_p_BV, state = model.extend(model.start(memory(2)), token_BT, mask_BT)
    assert not log_p_BV.requires_grad
    assert not state.cache_BN2HCK.requires_grad
    assert model.score(token_BT, mask_BT, memory(2)).requires_grad


def test_training_works_after_generating_in_inference_mode():
    model = make()
    token_BT, mask_BT = tokens(1, 400)
    with torch.inference_mode():
        model.extend(model.start(memory(1)), token_BT, mask_BT)  # the rotary table grows here
    model.score(token_BT, mask_BT, memory(1)).sum().backward()


def test_every_parameter_learns_with_a_memory():
    for conditioning in ("cross_attention", "prefix"):
        model = make(conditioning=conditioning, tie_embeddings=False)
        model.score(*tokens(3, 5), memory(3)).sum().backward()
        silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert not silent


def test_dropout_acts_in_training_alone():
    model, batch = make(dropout=0.5), (*tokens(2, 5), memory(2))
    assert torch.equal(model.score(*batch), model.score(*batch))
    model.train()
    assert not torch.equal(model.score(*batch), model.score(*batch))


@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix"])
def test_it_learns_to_read_the_memory(conditioning):
    model, cond = make(conditioning=conditioning, dropout=0.0), memory(8, length=1)
    answer_B1 = torch.arange(8)[:, None] % 6 + UNK + 1
    token_BT = torch.cat([torch.full((8, 1), BOS), answer_B1, torch.full((8, 1), EOS)], 1)
    mask_BT = torch.ones_like(token_BT, dtype=torch.bool)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        (-model.score(token_BT, mask_BT, cond).sum(1).mean()).backward()
        optimiser.step()
    log_p_BV, _ = model.extend(model.start(cond), token_BT[:, :1], mask_BT[:, :1])
    assert torch.equal(log_p_BV.argmax(1), answer_B1[:, 0])


def test_bfloat16_weights_give_normalised_log_probabilities():
    model = make().bfloat16()
    cond = memory(2)
    half = Conditioning(Encoded(cond.memory.x_BTD.bfloat16(), cond.memory.mask_BT, cond.memory.present_B))
    log_p_BV, state = model.extend(model.start(half), *tokens(2, 3))
    log_p_BV, _ = model.extend(state, *tokens(2, 1))
    assert log_p_BV.dtype == torch.float32
    assert log_p_BV.logsumexp(1).abs().max() < 1e-3


def test_autocast_scores_near_full_precision():
    model, batch = make(), (*tokens(3, 6), memory(3))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        got_BT = model.score(*batch)
        log_p_BV, _ = model.extend(model.start(batch[2]), batch[0][:, :1], batch[1][:, :1])
    torch.testing.assert_close(got_BT.float(), model.score(*batch), rtol=0.05, atol=0.05)
    assert log_p_BV.logsumexp(1).abs().max() < 1e-3


def test_selecting_rows_after_an_uneven_prefill_keeps_their_lengths():
    model, cond = make(), memory(3)
    token_BT, mask_BT = tokens(3, 6)
    mask_BT = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    _, state = model.extend(model.start(cond), token_BT, mask_BT)
    short = select(state, torch.tensor([1]))
    got_1V, _ = model.extend(short, token_BT[1:2, 2:3], mask_BT[:1, :1])
    alone = select(cond, torch.tensor([1]))
    want_1V, _ = model.extend(model.start(alone), token_BT[1:2, :3], mask_BT[:1, :3])
    torch.testing.assert_close(got_1V, want_1V, rtol=0, atol=1e-5)


def test_the_parameter_count_is_as_computed_by_hand():
    model = make(width=32, heads=4, layers=3, mlp="gelu", conditioning="cross_attention")
    layer = 4 * 32 * 32 + 2 * 32 * 32 + 2 * 4 * 32 * 32 + 3 * 32  # self, query and out, MLP, three norms
    keys = WIDTH + WIDTH * 3 * 2 * 32 + WIDTH  # norm, projection, null
    assert sum(p.numel() for p in model.parameters()) == len(VOCAB) * 32 + 3 * layer + keys + 32


def test_swiglu_costs_about_what_gelu_does():
    def count(mlp):
        return sum(p.numel() for p in make(mlp=mlp, width=192, heads=2).parameters())

    assert count("swiglu") == pytest.approx(count("gelu"), rel=0.02)


def test_rotation_is_relative_and_leaves_values_alone():
    table_2P31K = Rotary(8, 10_000.0, 4).upto(40)
    assert table_2P31K.shape[1] >= 40
    qkv_1T3HK = torch.randn(1, 1, 3, 2, 8, generator=torch.Generator().manual_seed(0)).expand(1, 40, 3, 2, 8)
    cos, signed_sin = table_2P31K[:, :40].unbind(0)
    rotated = rotate(qkv_1T3HK, cos, signed_sin)[0]
    torch.testing.assert_close(rotated[:, 2], qkv_1T3HK[0, :, 2])
    product = torch.einsum("shk,thk->sth", rotated[:, 0], rotated[:, 1])
    for distance in range(5):
        diagonal = product.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:, :1].expand_as(diagonal), rtol=0, atol=1e-4)
    assert (product.diagonal(0)[:, 0] - product.diagonal(3)[:, 0]).abs().max() > 1e-2


def test_rms_norm_is_torchs():
    x = torch.randn(3, 4, 10)
    torch.testing.assert_close(RMSNorm(10)(x), F.rms_norm(x, (10,), eps=1e-12))
    zero = torch.zeros(2, 10, requires_grad=True)
    y = RMSNorm(10)(zero)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 10))
    assert zero.grad.isfinite().all()


def test_pack_left_keeps_the_order_of_what_is_real():
    mask_BT = torch.tensor([[False, True, False, True], [True, True, False, False]])
    x_BTW = torch.arange(8.0).view(2, 4, 1)
    packed_BTW, packed_BT = pack_left(x_BTW, mask_BT)
    assert packed_BT.tolist() == [[True, True, False, False]] * 2
    assert packed_BTW[packed_BT][:, 0].tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize("options", [{"width": 12, "heads": 4}, {"layers": 0}, {"mlp": "relu"}, {"dropout": 1.0}])
def test_shapes_that_cannot_be_built_are_refused(options):
    with pytest.raises(ValidationError):
        Transformer.Config(**options)

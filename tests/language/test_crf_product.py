"""The product of CRFs equals enumeration of every tag sequence, keeps the contract, and finds its exponents."""

import itertools

import pytest
import torch

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language.crf import Crf
from sensorium.language.crf_product import CrfProduct
from sensorium.language.ngram import Ngram
from sensorium.testing import check_scorer

VOCAB = Vocab.of(["O", "B-X"])
WIDTH = 4
WEIGHTS = [0.8, 1.7]


def crf(seed: int, **options) -> Crf:
    scorer = Crf(Crf.Config(**options), VOCAB, WIDTH)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return scorer


def product(*options: dict) -> CrfProduct:
    parts = [crf(seed, **chosen) for seed, chosen in enumerate(options or ({}, {}))]
    return CrfProduct(parts).set_weights(WEIGHTS[: len(parts)])


def sentences(num_rows: int, lengths: tuple[int, ...] = (4, 2, 3, 1)) -> Conditioning:
    generator = torch.Generator().manual_seed(7)
    mask_BT = torch.arange(4) < torch.tensor(lengths)[:num_rows, None]
    x_BTD = torch.randn(num_rows, 4, WIDTH, generator=generator)
    words = Encoded(x_BTD, mask_BT, torch.ones(num_rows, dtype=torch.bool))
    return Conditioning(Conditioning.empty(num_rows, WIDTH).memory, {"words": words})


@pytest.mark.parametrize("second", [{}, {"transitions": False}], ids=str)
def test_it_keeps_the_contract(second):
    check_scorer(lambda: product({}, second), sentences, learns_from_nothing=False)


@pytest.mark.parametrize("second", [{}, {"transitions": False}], ids=str)
def test_it_is_the_product_of_whole_sequences(second):
    both, cond = product({}, second), sentences(1)
    sequences = list(itertools.product(range(UNK, len(VOCAB)), repeat=4))
    token_NT = torch.tensor([[BOS, *tags, EOS] for tags in sequences])
    mask_NT = torch.ones_like(token_NT, dtype=torch.bool)
    part = cond.parts["words"]
    many = [field.repeat_interleave(len(sequences), 0) for field in (part.x_BTD, part.mask_BT, part.present_B)]
    repeated = Conditioning(Conditioning.empty(len(sequences), WIDTH).memory, {"words": Encoded(*many)})
    log_p_KN = both.score_parts(token_NT, mask_NT, repeated).sum(2)
    want_N = (torch.tensor(WEIGHTS)[:, None] * log_p_KN).sum(0).log_softmax(0)
    torch.testing.assert_close(both.score(token_NT, mask_NT, repeated).sum(1), want_N, atol=1e-4, rtol=1e-4)
    known_N = torch.tensor([UNK not in tags for tags in sequences])
    top = torch.where(known_N, want_N, -torch.inf).topk(3)
    token_BKT, log_p_BK, _ = both.best(cond, 3)
    torch.testing.assert_close(log_p_BK[0], top.values, atol=1e-4, rtol=1e-4)
    assert [tuple(ids) for ids in token_BKT[0].tolist()] == [sequences[i] for i in top.indices.tolist()]
    first_N = [want_N[[tags[0] == tag for tags in sequences]].exp().sum() for tag in range(UNK, len(VOCAB))]
    torch.testing.assert_close(both.marginals(cond)[0, 0, UNK:], torch.stack(first_N), atol=1e-4, rtol=1e-4)


def drawn(scorer, cond: Conditioning) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw tags from the scorer's marginals' best, with noise: rows of BOS..EOS."""
    length_B = cond.parts["words"].mask_BT.sum(1)
    token_BT = torch.zeros(len(length_B), 6, dtype=torch.int64)
    p_BTV = scorer.marginals(cond)
    for row, length in enumerate(length_B.tolist()):
        tags = torch.multinomial(p_BTV[row, :length], 1).squeeze(1)
        token_BT[row, : length + 2] = torch.tensor([BOS, *tags.tolist(), EOS])
    return token_BT, token_BT > 0


def test_fitted_exponents_are_the_likeliest():
    torch.manual_seed(0)
    first, second = crf(0), crf(1)
    both, held_out = CrfProduct([first, second]), []
    for seed in range(20):
        cond = sentences(4)
        words = cond.parts["words"]
        moved = words.x_BTD + torch.randn(words.x_BTD.shape, generator=torch.Generator().manual_seed(seed))
        cond = Conditioning(cond.memory, {"words": Encoded(moved, words.mask_BT, words.present_B)})
        held_out.append((*drawn(first, cond), cond))

    def nll(weights) -> float:
        both.set_weights(weights)
        return -sum(both.score(*scored).sum().item() for scored in held_out)

    weights = both.fit_weights(held_out)
    assert weights[0] > 2 * weights[1]  # the tags are the first one's
    best = nll(weights)
    for change in ([1.1, 1.0], [0.9, 1.0], [1.0, 1.3], [1.0, 0.7]):
        assert best <= nll([w * c for w, c in zip(weights, change, strict=True)]) + 1e-3
    with pytest.raises(DataError, match="no held-out tags"):
        both.fit_weights([])


def test_shares_are_of_what_the_chains_together_say():
    both, cond = product(), sentences(3)
    token_BT, mask_BT = drawn(both, cond)
    shares = both.shares(token_BT, mask_BT, cond)
    torch.testing.assert_close(shares.together_BT, both.score(token_BT, mask_BT, cond))
    torch.testing.assert_close(shares.log_p_KBT, both.score_parts(token_BT, mask_BT, cond))
    torch.testing.assert_close(shares.share_KBT.sum(0)[:, 1:], torch.ones_like(shares.together_BT)[:, 1:])


def test_a_weight_of_zero_silences_a_part():
    both, cond = product(), sentences(3)
    both.set_weights([0.0, 1.0])
    alone = both.parts[1].best(cond, 2)
    for got, want in zip(both.best(cond, 2), alone, strict=True):
        torch.testing.assert_close(got, want)


def test_a_row_that_lacks_one_input_is_tagged_by_the_other():
    both, words = product({"inputs": ("a",)}, {"inputs": ("b",)}), sentences(3).parts["words"]
    absent = Encoded(words.x_BTD, words.mask_BT, torch.tensor([True, False, True]))
    cond = Conditioning(sentences(3).memory, {"a": absent, "b": words})
    chain, (first, second) = both.chain(cond), both._chains(cond)
    assert chain.length_B.tolist() == [4, 2, 3]
    assert first.length_B.tolist() == [4, 0, 3]
    torch.testing.assert_close(chain.emission_BTS[1, :2], WEIGHTS[1] * second.emission_BTS[1, :2])


def test_what_cannot_be_multiplied_is_named():
    with pytest.raises(ModelError, match='a Ngram is no linear chain .*mix = "product"'):
        CrfProduct([crf(0), Ngram(Ngram.Config(), VOCAB, WIDTH)])
    shorter, longer = sentences(2).parts["words"], sentences(2, (4, 3)).parts["words"]
    cond = Conditioning(sentences(2).memory, {"a": shorter, "b": longer})
    with pytest.raises(ModelError, match="unequal numbers of positions"):
        product({"inputs": ("a",)}, {"inputs": ("b",)}).chain(cond)

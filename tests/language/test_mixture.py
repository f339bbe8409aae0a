"""Mixtures and products of scorers, and the fitting of their weights, against grids and definitions."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError, ModelError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language import product_weights
from sensorium.language.mixture import Mixture
from sensorium.language.mixture_weights import fit_mixture_weights
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.language.product_weights import fit_product_weights, log_product
from sensorium.language.transformer import Transformer

VOCAB = Vocab.of("abcd")
TRAIN = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 5, 6, EOS]] * 4
TOKEN_BT = torch.tensor([[BOS, 4, 5, 6, EOS], [BOS, 7, EOS, 0, 0]])
MASK_BT = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
EMPTY = Conditioning.empty(2)


def ngram(order, vocab=VOCAB):
    return Ngram(Ngram.Config(order=order), vocab, width=1).fit(TRAIN)


def grid(num_parts, steps=40):
    """All shares in steps of 1/40."""
    for counts in itertools.product(range(steps + 1), repeat=num_parts):
        if sum(counts) == steps:
            yield torch.tensor(counts, dtype=torch.float64) / steps


def mixture_value(log_p_KN, weight_K):
    return float((log_p_KN.double().exp() * weight_K[:, None]).sum(0).log().mean())


def product_value(log_p_KNV, token_N, weight_K):
    return float(log_product(log_p_KNV, weight_K).gather(1, token_N[:, None]).double().mean())


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), num_parts=st.integers(1, 3), num_tokens=st.integers(1, 30))
def test_em_finds_no_worse_shares_than_a_grid(seed, num_parts, num_tokens):
    generator = torch.Generator().manual_seed(seed)
    log_p_KN = 3 * torch.randn(num_parts, num_tokens, generator=generator) - 3
    weight_K = fit_mixture_weights(log_p_KN)
    assert float(weight_K.sum()) == pytest.approx(1)
    best = max(mixture_value(log_p_KN, trial_K) for trial_K in grid(num_parts))
    assert mixture_value(log_p_KN, weight_K) >= best - 1e-6
    assert mixture_value(log_p_KN, weight_K) >= float(log_p_KN.double().mean(1).max()) - 1e-9


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), num_parts=st.integers(1, 3), num_tokens=st.integers(2, 20))
def test_newton_finds_no_worse_exponents_than_a_grid(seed, num_parts, num_tokens):
    generator = torch.Generator().manual_seed(seed)
    log_p_KNV = (2 * torch.randn(num_parts, num_tokens, 6, generator=generator)).log_softmax(2)
    # Tokens mostly from the first part, so that the best exponents are finite and of interest.
    token_N = torch.multinomial(log_p_KNV[0].exp(), 1, generator=generator)[:, 0]
    value = product_value(log_p_KNV, token_N, fit_product_weights(log_p_KNV, token_N))
    trials = [scale * trial_K for trial_K in grid(num_parts, 8) for scale in (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)]
    assert value >= max(product_value(log_p_KNV, token_N, trial_K) for trial_K in trials) - 1e-5
    singles = log_p_KNV.gather(2, token_N.expand(num_parts, -1)[..., None]).double().mean((1, 2))
    assert value >= float(singles.max()) - 1e-6


def test_exponents_are_the_same_however_many_tokens_a_step_looks_at_together(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    log_p_KNV = (2 * torch.randn(3, 40, 7, generator=generator)).log_softmax(2)
    log_p_KNV[2, :, 5] = -math.inf
    token_N = torch.multinomial(log_p_KNV[:2].mean(0).exp(), 1, generator=generator)[:, 0]
    whole_K, held = fit_product_weights(log_p_KNV, token_N), []
    monkeypatch.setattr(product_weights, "_MOST_NUMBERS", 3 * 7 * 6)
    monkeypatch.setattr(
        product_weights, "log_product", lambda *given: held.append(given[0].numel()) or log_product(*given)
    )
    torch.testing.assert_close(fit_product_weights(log_p_KNV, token_N), whole_K, atol=1e-4, rtol=0)
    assert max(held) <= 3 * 7 * 6


def test_em_recovers_the_shares_that_made_the_data():
    generator = torch.Generator().manual_seed(0)
    p_KV = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    truth_K = torch.tensor([0.3, 0.7])
    token_N = torch.multinomial(truth_K @ p_KV, 50_000, replacement=True, generator=generator)
    weight_K = fit_mixture_weights(p_KV[:, token_N].log())
    torch.testing.assert_close(weight_K.float(), truth_K, atol=0.02, rtol=0)


def test_a_part_that_rules_out_what_happened_shares_but_does_not_multiply():
    log_p_KN = torch.tensor([[-0.1, -0.1, -math.inf], [-2.0, -2.0, -2.0]])
    weight_K = fit_mixture_weights(log_p_KN)
    assert (weight_K > 0).all()
    log_p_KNV = torch.stack([log_p_KN, torch.full_like(log_p_KN, -5.0)], 2)
    assert fit_product_weights(log_p_KNV, torch.zeros(3, dtype=torch.int64))[0] == 0


def test_tokens_that_nobody_can_produce_are_left_out():
    log_p_KN = torch.tensor([[-1.0, -3.0, -math.inf], [-2.0, -1.0, -math.inf]])
    torch.testing.assert_close(fit_mixture_weights(log_p_KN), fit_mixture_weights(log_p_KN[:, :2]))


@pytest.mark.parametrize("log_p_KN", [torch.empty(2, 0), torch.full((2, 3), -math.inf), torch.tensor([[math.nan]])])
def test_nothing_to_fit_shares_on_is_an_error(log_p_KN):
    with pytest.raises(DataError, match="weights cannot be fitted"):
        fit_mixture_weights(log_p_KN)


@pytest.mark.parametrize(
    "log_p_KNV", [torch.empty(2, 0, 3), torch.full((2, 1, 3), -math.inf), torch.full((2, 1, 3), math.nan)]
)
def test_nothing_to_fit_exponents_on_is_an_error(log_p_KNV):
    with pytest.raises(DataError, match="exponents cannot be fitted"):
        fit_product_weights(log_p_KNV, torch.zeros(log_p_KNV.shape[1], dtype=torch.int64))


def test_a_mixture_is_the_weighted_sum_of_its_parts():
    parts = [ngram(1), ngram(3)]
    mixture = Mixture(parts).set_weights([1, 3])
    said = [part.score(TOKEN_BT, MASK_BT, EMPTY).exp() for part in parts]
    want_BT = (0.25 * said[0] + 0.75 * said[1]).log()
    torch.testing.assert_close(mixture.score(TOKEN_BT, MASK_BT, EMPTY), want_BT)
    torch.testing.assert_close(mixture.score_parts(TOKEN_BT, MASK_BT, EMPTY).exp(), torch.stack(said))


def test_a_product_is_the_renormalised_product_of_its_parts():
    parts = [ngram(1), ngram(3)]
    product = Product(parts).set_weights([0.5, 2.0])
    first = torch.full((1, 1), BOS)
    said = [part.extend(part.start(Conditioning.empty(1)), first, first > 0)[0].exp() for part in parts]
    want_1V = said[0] ** 0.5 * said[1] ** 2
    got_1V, _ = product.extend(product.start(Conditioning.empty(1)), first, first > 0)
    torch.testing.assert_close(got_1V.exp(), want_1V / want_1V.sum())


@pytest.mark.parametrize("composition", [Mixture, Product])
def test_a_part_of_weight_zero_is_not_heard(composition):
    silenced = ngram(1)
    silenced.log_p_ = torch.full_like(silenced.log_p_, -torch.inf)
    composed = composition([silenced, ngram(3)]).set_weights([0, 1])
    want_BT = ngram(3).score(TOKEN_BT, MASK_BT, EMPTY)
    torch.testing.assert_close(composed.score(TOKEN_BT, MASK_BT, EMPTY), want_BT)


@pytest.mark.parametrize("composition", [Mixture, Product])
def test_fitted_weights_are_no_worse_than_the_best_part_alone(composition):
    held_out = [(TOKEN_BT, MASK_BT, EMPTY)] * 2
    parts = [ngram(1), ngram(2), Ngram(Ngram.Config(), VOCAB, width=1)]
    composed = composition(parts)
    weights = composed.fit_weights(held_out)
    assert weights == composed.weights
    value = float(composed.score(TOKEN_BT, MASK_BT, EMPTY).sum())
    assert value >= max(float(part.score(TOKEN_BT, MASK_BT, EMPTY).sum()) for part in parts) - 1e-5


def test_a_mixture_trains_its_neural_part():
    torch.manual_seed(0)
    neural = Transformer(Transformer.Config(width=8, heads=1, layers=1, conditioning="none"), VOCAB, width=1)
    mixture = Mixture([neural, ngram(2)])
    mixture.score(TOKEN_BT, MASK_BT, EMPTY).sum().backward()
    assert neural.embedding.weight.grad is not None
    assert neural.embedding.weight.grad.isfinite().all()


@pytest.mark.parametrize("composition", [Mixture, Product])
@pytest.mark.parametrize("weights", [[1.0], [1.0, -0.1], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_weights_that_cannot_be_meant_are_refused(composition, weights):
    with pytest.raises(ModelError, match="weights"):
        composition([ngram(1), ngram(2)]).set_weights(weights)


@pytest.mark.parametrize("composition", [Mixture, Product])
def test_different_vocabularies_are_refused_with_a_bridge(composition):
    with pytest.raises(ModelError, match="different vocabularies.*tokenizer of one run"):
        composition([ngram(1), ngram(1, Vocab.of("abcde"))])


@pytest.mark.parametrize("composition", [Mixture, Product])
def test_a_composition_of_nothing_is_refused(composition):
    with pytest.raises(ModelError, match="at least one"):
        composition([])


def test_compositions_nest():
    inner = Product([ngram(1), ngram(2)])
    mixture = Mixture([inner, ngram(3)])
    want_BT = torch.logaddexp(inner.score(TOKEN_BT, MASK_BT, EMPTY), ngram(3).score(TOKEN_BT, MASK_BT, EMPTY))
    want_BT = torch.where(MASK_BT & (TOKEN_BT != BOS), want_BT - math.log(2), 0.0)
    torch.testing.assert_close(mixture.score(TOKEN_BT, MASK_BT, EMPTY), want_BT)

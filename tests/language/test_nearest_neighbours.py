"""Nearest-neighbour memory: its formula by hand, its search against brute force, and what it remembers."""

import copy
import importlib.util
import math

import pytest
import torch

from sensorium.core.errors import MissingExtraError, ModelError
from sensorium.core.protocols import (
    FactualScorer,
    HiddenScorer,
    RememberingScorer,
    TeachableScorer,
    UnrollingScorer,
)
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language import nearest_neighbours, vector_search
from sensorium.language.gate import Gate
from sensorium.language.mixture import Mixture
from sensorium.language.nearest_neighbours import NearestNeighbours
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer
from sensorium.language.vector_search import nearest
from sensorium.testing import check_scorer

VOCAB = Vocab.of("abcd")
WIDTH = 6
ROWS = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 7, 7, 4, EOS]]
searchable = pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="usearch is not installed")


def decoder(kind=Transformer, seed=3):
    torch.manual_seed(seed)
    options = {"heads": 2} if kind is Transformer else {}
    scorer = kind(kind.Config(width=8, layers=1, **options), VOCAB, WIDTH).eval()
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return scorer


def memory(num_rows):
    x_BMD = torch.randn(num_rows, 3, WIDTH, generator=torch.Generator().manual_seed(5))
    return Conditioning(Encoded(x_BMD, torch.ones(num_rows, 3).bool(), torch.ones(num_rows).bool()))


def scored(rows=ROWS):
    token_BT = torch.tensor(rows)
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool), memory(len(rows))


def make(kind=Transformer, **options):
    return NearestNeighbours(NearestNeighbours.Config(**options), VOCAB, WIDTH).read(decoder(kind)).eval()


def filled(kind=Transformer, **options):
    model = make(kind, **{"temperature": 4.0, "neighbours": 3, **options})
    model.remember(*scored())
    return model.settle()


def test_it_is_all_that_models_and_compositions_want():
    for protocol in (RememberingScorer, FactualScorer, UnrollingScorer, TeachableScorer):
        assert isinstance(make(), protocol)
    assert isinstance(decoder(), HiddenScorer)
    assert isinstance(decoder(Recurrent), HiddenScorer)


@pytest.mark.parametrize("kind", [Transformer, Recurrent])
def test_what_it_says_is_the_formula(kind):
    model, (token_BT, mask_BT, cond) = filled(kind), scored()
    hidden_BTW = model.read_scorer.unroll_hidden(token_BT, mask_BT, cond).detach()
    keys, values = hidden_BTW[:, :-1].flatten(0, 1), token_BT[:, 1:].flatten()
    query_W = decoder(kind).unroll_hidden(token_BT[:1, :3], mask_BT[:1, :3], memory(1))[0, -1]
    distance_N = (keys - query_W).square().sum(1)
    near_K = distance_N.argsort()[:3]
    p_V = torch.zeros(len(VOCAB))
    for at, share in zip(near_K, (-distance_N[near_K] / 4).softmax(0), strict=True):
        p_V[values[at]] += share
    want_V = 0.9 * p_V + 0.1 * model.read_scorer.predict(query_W).exp()
    log_p_BV, state = model.extend(model.start(memory(1)), token_BT[:1, :3], mask_BT[:1, :3])
    torch.testing.assert_close(log_p_BV[0].exp(), want_V, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(model.facts(state)[0, 0], (distance_N.min() / 4).log1p(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Transformer, Recurrent])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_filled_memory_keeps_the_contract(kind, precision):
    def fit(model):
        model.remember(*scored())
        model.settle().teach([([BOS, 4, 4, EOS], 2)])

    check_scorer(lambda: make(kind, temperature=2.0, precision=precision), memory, fit=fit, tolerance=2e-4)


@pytest.mark.parametrize("composition", [Mixture, Product, Gate])
def test_compositions_run_what_it_reads_once_and_keep_the_contract(composition):
    def compose():
        parts = [decoder(), NearestNeighbours(NearestNeighbours.Config(temperature=2.0), VOCAB, WIDTH)]
        parts[1].read(parts[0])
        return composition([*parts, Ngram(Ngram.Config(order=2), VOCAB, WIDTH)])

    def fit(composed):
        composed.parts[1].remember(*scored())
        composed.parts[1].settle()
        composed.parts[2].fit(ROWS)

    check_scorer(compose, memory, fit=fit, length=5, tolerance=2e-4)
    composed, calls = compose().eval(), []
    fit(composed)
    read = composed.parts[0]
    read.extend_hidden, own = lambda *args: calls.append(1) or own(*args), read.extend_hidden
    token_BT, mask_BT, cond = scored()
    composed.extend(composed.start(cond), token_BT, mask_BT)
    assert len(calls) == 1


def test_its_state_dict_holds_nothing_of_the_scorer_it_reads():
    assert set(filled().state_dict()) == {
        "key_", "value_", "graph_", "temperature_", "taught_key_", "taught_value_", "taught_log_times_",
    }  # fmt: skip
    assert not list(filled().parameters())


def test_a_copy_of_a_composition_reads_its_own_copy():
    read = decoder()
    model = Mixture([read, make().read(read)])
    other = copy.deepcopy(model)
    assert other.parts[1].read_scorer is other.parts[0]


def test_a_memory_of_nothing_says_what_the_scorer_says():
    token_BT, mask_BT, cond = scored()
    for model in (make(), make().settle()):
        torch.testing.assert_close(model.score(token_BT, mask_BT, cond), decoder().score(token_BT, mask_BT, cond))


def test_settling_again_forgets_what_was_remembered():
    model = filled()
    model.remember(*scored(ROWS[:1]))
    assert len(model.settle().value_) == 4
    assert len(model.settle().value_) == 0


def test_what_was_remembered_is_likelier():
    token_BT, mask_BT, cond = scored()
    own = decoder().score(token_BT, mask_BT, cond).sum()
    assert filled(neighbours=1).score(token_BT, mask_BT, cond).sum() > own
    assert filled(neighbours=1).score(token_BT, mask_BT, cond).sum() > 15 * math.log(0.89)


def test_taught_texts_are_remembered_and_forgotten_bit_for_bit():
    model, (token_BT, mask_BT, cond) = filled(), scored()
    before = model.score(token_BT, mask_BT, cond)
    told = torch.tensor([[BOS, 6, 6, 5, EOS]])
    empty = Conditioning.empty(1)
    was = model.score(told, told > 0, empty).sum()
    once = model.teach([(told[0].tolist(), 1)]).score(told, told > 0, empty).sum()
    often = model.teach([(told[0].tolist(), 50)]).score(told, told > 0, empty).sum()
    assert was < once < often
    assert len(model.taught_value_) == 4
    assert torch.equal(model.teach([]).score(token_BT, mask_BT, cond), before)


def test_times_count_as_so_many_keys():
    model, (token_BT, mask_BT, _) = make(temperature=4.0, neighbours=100), scored()
    several = make(temperature=4.0, neighbours=100)
    for row in (0, 1, 1, 1, 2, 2):
        several.remember(token_BT[[row]], mask_BT[[row]], Conditioning.empty(1))
    several.settle()
    model.teach(list(zip(ROWS, (1, 3, 2), strict=True)))
    torch.testing.assert_close(model.unroll(*scored()), several.unroll(*scored()), rtol=1e-3, atol=1e-4)


def test_the_temperature_is_the_best_tried():
    model = filled(temperature=None)
    held_out = [scored([[BOS, 4, 5, 7, EOS], [BOS, 7, 7, 4, EOS]])]
    model.tune(held_out)
    chosen = float(model.temperature_)
    assert chosen != 1.0
    fixed = filled(temperature=3.0).tune(held_out)
    assert float(fixed.temperature_) == 3.0
    assert float(filled(temperature=None).tune([]).temperature_) == 1.0


def test_more_than_the_most_is_left_out_and_said(caplog):
    model = filled(most=5)
    assert len(model.value_) == 5
    assert "7 of 12" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("num_keys", [3, 257])
def test_exact_search_is_brute_force(dtype, num_keys, monkeypatch):
    monkeypatch.setattr(vector_search, "_BLOCK", 100)  # many blocks
    generator = torch.Generator().manual_seed(1)
    key_NW = torch.randn(num_keys, 5, generator=generator).to(dtype)
    query_QW = torch.randn(9, 5, generator=generator)
    distance_QK, place_QK = nearest(key_NW, query_QW, 7)
    all_QN = torch.cdist(query_QW, key_NW.float()).square()
    want_QK = all_QN.sort(1).values[:, :7]
    torch.testing.assert_close(distance_QK, want_QK, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(all_QN.gather(1, place_QK), want_QK, rtol=1e-4, atol=1e-4)


@searchable
def test_a_graph_finds_what_exact_search_does():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(4, len(VOCAB), (100, 6), generator=generator).tolist()
    rows = [[BOS, *row, EOS] for row in rows]
    models = [make(temperature=4.0, exact_up_to=most) for most in (0, 10_000)]
    for model in models:
        model.remember(*scored(rows))
        model.settle()
    assert len(models[0].graph_)
    assert not len(models[0].key_)
    fresh = make(temperature=4.0)
    fresh.load_state_dict(models[0].state_dict())
    graph, exact, again = (model.unroll(*scored()).exp() for model in (*models, fresh))
    assert (graph - exact).abs().mean() < 0.01
    assert torch.equal(graph, again)


def test_without_the_package_many_keys_are_searched_exactly_and_it_is_said(monkeypatch, caplog):
    def absent(_):
        raise MissingExtraError("the package 'usearch' is not installed")

    monkeypatch.setattr(nearest_neighbours, "build_graph", absent)
    model = filled(exact_up_to=2)
    assert "12 keys are searched exactly" in caplog.text
    torch.testing.assert_close(model.score(*scored()), filled().score(*scored()))


def test_what_cannot_be_read_is_refused():
    blank = NearestNeighbours(NearestNeighbours.Config(), VOCAB, WIDTH)
    with pytest.raises(ModelError, match="Ngram"):
        blank.read(Ngram(Ngram.Config(), VOCAB, WIDTH))
    with pytest.raises(ModelError, match="different vocabularies"):
        NearestNeighbours(NearestNeighbours.Config(), Vocab.of("xyz"), WIDTH).read(decoder())
    with pytest.raises(ModelError, match="cannot be taught"):
        blank.teach([(ROWS[0], 1)])

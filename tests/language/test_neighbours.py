"""The memory of the nearest rows' texts: its formula by brute force, its fitting, and what it remembers."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.protocols import FactualScorer, MemoryScorer, RecallingScorer, RememberingScorer
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab
from sensorium.language import neighbours as module
from sensorium.language.gate import Gate
from sensorium.language.mixture import Mixture
from sensorium.language.neighbours import Neighbours
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.testing import check_scorer

VOCAB = Vocab.of("abcd")
WIDTH = 3
NUM_WORDS = len(VOCAB) - 2  # PAD and BOS are never said
ROWS = [
    [BOS, 4, 5, 6, EOS],
    [BOS, 4, 5, 7, EOS],
    [BOS, 7, 7, 4, EOS],
    [BOS, 5, EOS],
    [BOS, 6, 6, 6, 6, EOS],
]


def memory(num_rows, seed=5):
    x_BMD = torch.randn(num_rows, 2, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Conditioning(Encoded(x_BMD, torch.ones(num_rows, 2).bool(), torch.ones(num_rows).bool()))


def batch(rows=ROWS, seed=5):
    longest = max(map(len, rows))
    token_BT = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    return token_BT, token_BT != PAD, memory(len(rows), seed)


def filled(**options):
    model = Neighbours(
        Neighbours.Config(
            **{"temperature": 0.3, "order": 3, "strengths": [0.7] * options.get("order", 3), **options}
        ),
        VOCAB,
        WIDTH,
    ).eval()
    model.remember(*batch())
    return model.settle()


def brute_force(tokens, query_D, options, rows=ROWS):
    """log p of every token after BOS, by dictionaries of counts over an n-gram of all texts."""
    keys = batch()[2].memory.x_BTD.mean(1)
    background = Ngram(Ngram.Config(order=3), VOCAB, WIDTH).fit(rows)
    mean_D = keys.mean(0)
    cosine = torch.cosine_similarity(keys - mean_D, (query_D - mean_D)[None], dim=1).tolist()
    near = sorted(range(len(rows)), key=lambda j: -cosine[j])[: options["neighbours"]]
    weight = {j: math.exp((cosine[j] - cosine[near[0]]) / options["temperature"]) for j in near}
    order, found = options["order"], []
    for t in range(1, len(tokens)):
        fed_1T, nothing = torch.tensor([tokens[:t]]), Conditioning.empty(1)
        log_p_1V, _ = background.extend(background.start(nothing), fed_1T, fed_1T != PAD)
        p = {w: float(log_p_1V[0, w].exp()) for w in range(len(VOCAB)) if w not in (PAD, BOS)}
        before = [PAD] * order + tokens[:t]
        for n in range(1, order + 1):
            count = dict.fromkeys(p, 0.0)
            for j in near:
                padded = [PAD] * order + rows[j]
                for i in range(order + 1, len(padded)):
                    if padded[i - n + 1 : i] == before[len(before) - n + 1 :]:
                        count[padded[i]] += weight[j]
            total, strength = sum(count.values()), options["strengths"][n - 1]
            p = {w: (count[w] + strength * p[w]) / (total + strength) for w in p}
        found.append(math.log(p[tokens[t]]))
    return found


@settings(max_examples=40)
@given(
    st.lists(st.integers(4, 7), max_size=5),
    st.integers(0, 50),
    st.fixed_dictionaries(
        {
            "order": st.integers(1, 4),
            "neighbours": st.integers(1, 7),
            "temperature": st.sampled_from([0.05, 0.5]),
            "strengths": st.lists(st.sampled_from([0.1, 3.0, 50.0]), min_size=4, max_size=4),
        }
    ),
)
def test_it_is_its_formula(words, seed, options):
    options["strengths"] = options["strengths"][: options["order"]]
    tokens = [BOS, *words, EOS]
    cond = memory(1, seed)
    model, token_1T = filled(**options), torch.tensor([tokens])
    want = brute_force(tokens, cond.memory.x_BTD[0].mean(0), options)
    scored = model.score(token_1T, token_1T != PAD, cond)
    assert scored[0, 1:].tolist() == pytest.approx(want, abs=1e-4)
    log_p_1V, _ = model.extend(model.start(cond), token_1T[:, :-1], token_1T[:, :-1] != PAD)
    assert float(log_p_1V[0, EOS]) == pytest.approx(want[-1], abs=1e-4)


def test_many_rows_are_counted_in_pieces(monkeypatch):
    model, (token_BT, mask_BT, cond) = filled(), batch(seed=8)
    whole = model.score(token_BT, mask_BT, cond)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    assert torch.equal(model.score(token_BT, mask_BT, cond), whole)


@pytest.mark.parametrize("order", [1, 3])
def test_filled_it_keeps_the_contract(order):
    def fit(model):
        model.remember(*batch())
        model.settle()

    check_scorer(lambda: Neighbours(Neighbours.Config(order=order), VOCAB, WIDTH), memory, fit=fit)


@pytest.mark.parametrize("composition", [Mixture, Product, Gate])
def test_compositions_of_it_keep_the_contract(composition):
    def fit(composed):
        composed.parts[0].remember(*batch())
        composed.parts[0].settle()
        composed.parts[1].fit(ROWS)

    def compose():
        parts = [Neighbours(Neighbours.Config(), VOCAB, WIDTH), Ngram(Ngram.Config(order=2), VOCAB, WIDTH)]
        return composition(parts)

    check_scorer(compose, memory, fit=fit, length=5)


def test_what_models_know_it_by():
    model = filled()
    assert isinstance(model, MemoryScorer)
    assert isinstance(model, FactualScorer)
    assert not isinstance(model, RememberingScorer)
    assert not list(model.parameters())


def test_it_says_what_was_said_of_the_same():
    _, _, cond = batch()
    model = filled(neighbours=1, strengths=[0.01] * 3)
    for row, tokens in enumerate(ROWS):
        one = Conditioning(cond.memory.rows(torch.tensor([row])))
        state, said = model.start(one), [BOS]
        while said[-1] != EOS and len(said) < 9:
            log_p_1V, state = model.extend(state, torch.tensor([said[-1:]]), torch.ones(1, 1).bool())
            said.append(int(log_p_1V.argmax()))
        assert said == tokens or len(set(tokens)) < len(
            tokens
        )  # a text that repeats itself is no path of an n-gram
    assert float(model.start(one).nearness_B1) == pytest.approx(1, abs=1e-5)


def test_a_row_without_a_memory_has_the_words_of_all():
    model, empty = filled(), Conditioning.empty(1)
    log_p_1V, _ = model.extend(model.start(empty), torch.tensor([[BOS]]), torch.ones(1, 1).bool())
    background = Ngram(Ngram.Config(order=3), VOCAB, WIDTH).fit(ROWS)
    want_1V, _ = background.extend(background.start(empty), torch.tensor([[BOS]]), torch.ones(1, 1).bool())
    torch.testing.assert_close(log_p_1V, want_1V)
    assert float(model.facts(model.start(empty))) == 0


def test_rows_without_a_memory_are_not_remembered():
    model = Neighbours(Neighbours.Config(), VOCAB, WIDTH)
    token_BT, mask_BT, cond = batch()
    cond.memory.mask_BT[1] = False
    model.remember(token_BT, mask_BT, cond)
    assert len(model.settle().key_) == len(ROWS) - 1


def test_settling_again_forgets_and_more_than_the_most_is_said(caplog):
    model = filled(most=3)
    assert len(model.key_) == len(model.token_) == 3
    assert "the last 2 of 5 rows" in caplog.text
    assert len(model.settle().key_) == 0
    assert model.score(*batch())[0, 1:].exp().tolist() == pytest.approx([1 / NUM_WORDS] * 4 + [1.0])


def test_fitting_takes_the_likeliest_of_the_grid_on_held_out_rows(monkeypatch):
    monkeypatch.setattr(module, "_TEMPERATURES", (0.01, 0.3, 50.0))
    monkeypatch.setattr(module, "_STRENGTHS", (0.1, 5.0, 70.0))
    held_out = [batch([[BOS, 4, 5, EOS], [BOS, 7, 4, EOS]], seed=11), batch([[BOS, 6, EOS]], seed=12)]
    model = filled(temperature=None, strengths=None, order=1).tune(held_out)

    def value(temperature, strengths):
        other = filled(temperature=temperature, strengths=strengths, order=len(strengths))
        return sum(float(other.score(*rows).sum()) for rows in held_out)

    tried = {(tau, s): value(tau, [s]) for tau in (0.01, 0.3, 50.0) for s in (0.1, 5.0, 70.0)}
    assert (float(model.temperature_), float(model.strength_O[0])) == pytest.approx(max(tried, key=tried.get))
    # Of several strengths, none of them alone could be better.
    model = filled(temperature=None, strengths=None, order=3).tune(held_out)
    tau, chosen = float(model.temperature_), model.strength_O.tolist()
    best = value(tau, chosen)
    for n in range(3):
        for other in (0.1, 5.0, 70.0):
            assert value(tau, [*chosen[:n], other, *chosen[n + 1 :]]) <= best + 1e-4
    fixed = filled().tune(held_out)
    assert [float(fixed.temperature_), *fixed.strength_O.tolist()] == pytest.approx([0.3, 0.7, 0.7, 0.7])


def test_nothing_to_fit_on_changes_nothing():
    model = filled(temperature=None, strengths=None)
    before = [float(model.temperature_), *model.strength_O.tolist()]
    assert [float(model.tune([]).temperature_), *model.strength_O.tolist()] == before


def test_a_strength_an_order_is_wanted():
    with pytest.raises(ValueError, match="2 strengths for n-grams of 1 to 3 words"):
        Neighbours.Config(order=3, strengths=(1.0, 2.0))


def test_recall_tells_the_texts_of_the_nearest_rows_and_their_weights():
    model, cond = filled(neighbours=2), memory(3, seed=9)
    token_BKS, weight_BK = model.recall(cond)
    keys = batch()[2].memory.x_BTD.mean(1)
    unit_ND = torch.nn.functional.normalize(keys - keys.mean(0), dim=1)
    query_BD = torch.nn.functional.normalize(cond.memory.x_BTD.mean(1) - keys.mean(0), dim=1)
    for b in range(3):
        cosine_N = unit_ND @ query_BD[b]
        best = cosine_N.argsort(descending=True)[:2].tolist()
        assert [[i for i in text if i] for text in token_BKS[b].tolist()] == [ROWS[n][1:] for n in best]
        expected = [math.exp((float(cosine_N[n]) - float(cosine_N.max())) / 0.3) for n in best]
        assert weight_BK[b].tolist() == pytest.approx(expected, abs=1e-5)
    assert isinstance(model, RecallingScorer)
    assert not model.recall(Conditioning.empty(2, WIDTH))[1].any()


@pytest.mark.parametrize("most_numbers", [1, 30, 1 << 62])
def test_counts_are_those_of_all_pairs(monkeypatch, most_numbers):
    monkeypatch.setattr(module, "_MOST_NUMBERS", most_numbers)
    model, (token_BT, _, _) = filled(order=4), batch()
    place_BK = torch.tensor([[0, 4], [1, 1], [2, 3], [3, 0], [4, 2]])
    found = model._counts(token_BT, place_BK)
    for b, t, k in itertools.product(range(5), range(token_BT.shape[1] - 1), range(2)):
        text, asked = [PAD] * 3 + ROWS[place_BK[b, k]], [PAD] * 3 + token_BT[b].tolist()
        at = t + 4  # of the word that is asked for
        for n in range(4):
            before = asked[at - n : at]
            places = [s for s in range(4, len(text)) if text[s - n : s] == before]
            assert found.given_BTKO[b, t, k, n] == len(places)
            assert found.both_BTKO[b, t, k, n] == sum(text[s] == asked[at] for s in places)


def test_what_judging_holds_at_once_grows_with_the_length_of_texts_not_its_square(largest_tensor):
    numbers = []
    for length in (50, 400):
        text = [BOS, *(4 + (7 * i * i) % 4 for i in range(length - 2)), EOS]
        model, rows = filled(), batch([text] * 4)
        model.remember(*rows)
        model.settle()
        with largest_tensor:
            model.score(*rows)
        numbers.append(largest_tensor.numbers)
        largest_tensor.numbers = 0
    assert numbers[1] <= 9 * numbers[0]


@pytest.mark.parametrize("end", [4096, 8192, 24_576, 32_768, 2**31])
def test_long_contexts_of_large_vocabularies_have_numbers_of_their_own(end):
    known_SN = torch.tensor([[n >> i & 1 for i in range(6)] for n in range(64)]) * (end - 1)
    asked_TN = known_SN[[5, 40, 5]]
    numbers = module._Numbers(torch.zeros(1, 1, 64, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64))
    for n in range(6):
        numbers = numbers.joined(known_SN[None, None, :, n], asked_TN[None, :, n], end)
    assert len(numbers.known_BKS.unique()) == 64
    assert numbers.asked_BT[0].tolist() == numbers.known_BKS[0, 0, [5, 40, 5]].tolist()
    assert int(numbers.known_BKS.min()) >= 0
    assert int(numbers.known_BKS.max()) < numbers.end

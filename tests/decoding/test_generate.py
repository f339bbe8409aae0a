import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import MarkovTable, every_text, topics

from sensorium.core.errors import ModelError, UsageError
from sensorium.core.vocabulary import BOS, EOS, PAD
from sensorium.decoding.beam import Beam
from sensorium.decoding.filters import ForbiddenTokens
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy, Sample


def words(generated, row=0, rank=0):
    return tuple(generated.token_BKT[row, rank][generated.mask_BKT[row, rank]].tolist())


def greedy_by_hand(scorer, topic, max_tokens):
    tokens = ()
    while len(tokens) < max_tokens and EOS not in tokens:
        context = (topic, (PAD, BOS, *tokens)[-2], (PAD, BOS, *tokens)[-1])
        tokens += (int(scorer.log_p_[context].argmax()),)
    return tokens


def ranked(scorer, topic, max_tokens, length_penalty):
    """Every text, best first: the ended ones before those cut off."""
    scored = [
        (EOS in text, sum(scorer.of_text(topic, text)) / len(text) ** length_penalty, text)
        for text in every_text(scorer, max_tokens)
    ]
    return [(text, score) for _, score, text in sorted(scored, reverse=True)]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_follows_the_table(seed):
    scorer = MarkovTable(5, seed=seed)
    found = generate(scorer, topics(0, 1, 2, 3), search=Greedy(), max_tokens=12)
    for row in range(4):
        text = greedy_by_hand(scorer, row, 12)
        assert words(found, row) == text
        torch.testing.assert_close(found.log_p_BT[row, : len(text)], torch.tensor(scorer.of_text(row, text)))
        assert found.total_B[row].item() == pytest.approx(sum(scorer.of_text(row, text)), rel=1e-5)
        assert bool(found.finished_B[row]) == (text[-1] == EOS)


def test_padding_lies_behind_the_end():
    found = generate(MarkovTable(5, seed=3), topics(0, 1, 2, 3), search=Greedy(), max_tokens=12)
    length_B = found.mask_BT.sum(1)
    assert found.token_BT.shape[1] == length_B.max()
    assert len(length_B.unique()) > 1, "rows of unequal length, or this test shows nothing"
    behind_BT = torch.arange(found.token_BT.shape[1]) >= length_B[:, None]
    assert (found.token_BT[behind_BT] == PAD).all()
    assert (found.log_p_BT[behind_BT] == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(1, 4), st.integers(1, 3))
def test_wide_beam_equals_enumeration(seed, length_penalty, max_tokens, num_words):
    scorer = MarkovTable(num_words, seed=seed)
    beam = Beam(width=300, length_penalty=length_penalty, n_best=5)
    found = generate(scorer, topics(2, 0), search=beam, max_tokens=max_tokens)
    for row, topic in enumerate((2, 0)):
        best = ranked(scorer, topic, max_tokens, length_penalty)[:5]
        assert [words(found, row, k) for k in range(len(best))] == [text for text, _ in best]
        expected = torch.tensor([score for _, score in best] + [-math.inf] * (5 - len(best)))
        torch.testing.assert_close(found.score_BK[row], expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10))
def test_beam_of_one_is_greedy(seed, max_tokens):
    scorer = MarkovTable(4, seed=seed)
    beam = generate(scorer, topics(0, 1, 2), search=Beam(width=1, length_penalty=0), max_tokens=max_tokens)
    greedy = generate(scorer, topics(0, 1, 2), search=Greedy(), max_tokens=max_tokens)
    assert torch.equal(beam.token_BT, greedy.token_BT)
    assert torch.equal(beam.log_p_BT, greedy.log_p_BT)


def beam_by_hand(scorer, topic, beam, max_tokens):
    """The same search on lists, which never stops early."""
    alive, ended = [((), 0.0)], []
    for length in range(1, max_tokens + 1):
        grown = [
            ((*text, token), total + scorer.log_p_[(topic, *(PAD, BOS, *text)[-2:], token)].item())
            for text, total in alive
            for token in range(len(scorer.vocab))
        ]
        grown = sorted((g for g in grown if g[1] > -math.inf), key=lambda g: -g[1])
        ended += [(t, s / length**beam.length_penalty) for t, s in grown[: beam.width] if t[-1] == EOS]
        alive = [g for g in grown[: 2 * beam.width] if g[0][-1] != EOS][: beam.width]
    ended.sort(key=lambda e: -e[1])
    cut = [(t, s / max_tokens**beam.length_penalty) for t, s in alive]
    return (ended[: beam.width] + cut)[: beam.n_best]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0.0, 0.6, 1.0]), st.integers(1, 8), st.data())
def test_beam_equals_a_beam_on_lists_that_never_stops_early(seed, width, length_penalty, max_tokens, data):
    scorer = MarkovTable(5, seed=seed)
    n_best = data.draw(st.integers(1, width))
    beam = Beam(width=width, length_penalty=length_penalty, n_best=n_best)
    found = generate(scorer, topics(0, 1, 3), search=beam, max_tokens=max_tokens)
    for row, topic in enumerate((0, 1, 3)):
        for rank, (text, score) in enumerate(beam_by_hand(scorer, topic, beam, max_tokens)):
            assert words(found, row, rank) == text
            assert found.score_BK[row, rank].item() == pytest.approx(score, rel=1e-4, abs=1e-5)
            torch.testing.assert_close(
                found.log_p_BKT[row, rank, : len(text)], torch.tensor(scorer.of_text(topic, text))
            )


def test_beam_stops_once_nothing_better_can_follow():
    scorer = MarkovTable(5, seed=1)
    scorer.log_p_[..., EOS] = 0.0  # every text ends at once, with certainty
    scorer.log_p_[..., EOS + 1 :] = -20.0
    scorer.fed_rows = 0
    generate(scorer, topics(0), search=Beam(width=2, length_penalty=0), max_tokens=50)
    assert scorer.fed_rows == 1


def test_early_stopping_stops_sooner():
    scorer = MarkovTable(5, seed=5)
    fed = []
    for early in (False, True):
        scorer.fed_rows = 0
        beam = Beam(width=3, length_penalty=2.0, early_stopping=early)
        found = generate(scorer, topics(0, 1), search=beam, max_tokens=40)
        assert found.finished_B.all()
        fed.append(scorer.fed_rows)
    assert fed[1] < fed[0] / 2


SEARCHES = [
    Greedy(),
    Beam(width=3, n_best=2),
    Beam(width=2, early_stopping=True),
]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_rows_do_not_depend_on_each_other(search):
    scorer = MarkovTable(6, seed=7)
    together = generate(scorer, topics(3, 1, 0, 2, 1), search=search, max_tokens=10)
    for row, topic in enumerate((3, 1, 0, 2, 1)):
        alone = generate(scorer, topics(topic), search=search, max_tokens=10)
        for rank in range(alone.token_BKT.shape[1]):
            assert words(alone, 0, rank) == words(together, row, rank)
        torch.testing.assert_close(alone.score_BK[0], together.score_BK[row])


def test_a_sampled_row_does_not_depend_on_the_rows_behind_it():
    scorer, search = MarkovTable(6, seed=7), Sample(seed=11)
    many = generate(scorer, topics(3, 1, 0, 2), search=search, max_tokens=10)
    few = generate(scorer, topics(3, 1), search=search, max_tokens=10)
    assert [words(few, row) for row in (0, 1)] == [words(many, row) for row in (0, 1)]


@pytest.mark.parametrize("search", [*SEARCHES, Sample(seed=11), Sample(seed=2, draws=3)], ids=str)
@pytest.mark.parametrize("size", [1, 3, 6])
def test_a_row_says_the_same_in_any_batch_and_order(search, size):
    scorer, topic_N = MarkovTable(6, seed=7), torch.tensor([3, 1, 0, 2, 1, 1])
    whole = generate(scorer, topics(*topic_N.tolist()), search=search, max_tokens=10)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    for row_N in order.split(size):
        cond = dataclasses.replace(topics(*topic_N[row_N].tolist()), row_id_B=row_N)
        part = generate(scorer, cond, search=search, max_tokens=10)
        for place, row in enumerate(row_N.tolist()):
            for rank in range(part.token_BKT.shape[1]):
                assert words(part, place, rank) == words(whole, row, rank)


def test_sampling_repeats_with_its_seed_only():
    scorer, cond = MarkovTable(6), topics(*[0] * 20)
    first, again, other = (generate(scorer, cond, search=Sample(seed=s), max_tokens=8) for s in (1, 1, 2))
    assert torch.equal(first.token_BT, again.token_BT)
    assert first.token_BT.tolist() != other.token_BT.tolist()
    assert len({words(first, row) for row in range(20)}) > 10, "rows draw from streams of their own"


def test_samples_follow_the_distribution():
    scorer, num_rows = MarkovTable(2, seed=4), 20_000
    found = generate(scorer, topics(*[1] * num_rows), search=Sample(seed=3), max_tokens=2)
    counts = {}
    for row in found.token_BT.tolist():
        text = tuple(token for token in row if token != PAD)
        counts[text] = counts.get(text, 0) + 1
    texts = every_text(scorer, 2)
    assert set(counts) <= set(texts)
    expected = {text: num_rows * math.exp(sum(scorer.of_text(1, text))) for text in texts}
    assert sum(expected.values()) == pytest.approx(num_rows, rel=1e-4)
    chi_squared = sum((counts.get(t, 0) - e) ** 2 / e for t, e in expected.items())
    assert chi_squared < 40, "13 texts: 12 degrees of freedom, p < 1e-4"


def support_by_hand(log_p, temperature, top_k, top_p):
    """The tokens and probabilities to draw from, one token at a time."""
    mass = {i: math.exp(x / temperature) for i, x in enumerate(log_p) if x > -math.inf}
    order = sorted(mass, key=lambda i: -mass[i])[: top_k or None]
    total = sum(mass[i] for i in order)
    kept, reached = [], 0.0
    for i in order:
        if reached >= top_p:
            break
        kept.append(i)
        reached += mass[i] / total
    total = sum(mass[i] for i in kept)
    return {i: mass[i] / total for i in kept}


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.integers(0, 12),
    st.floats(0.05, 1.0),
)
def test_top_k_and_top_p_against_brute_force(seed, temperature, top_k, top_p):
    log_p_V = torch.randn(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    log_p_V[:2] = -torch.inf
    search = Sample(temperature=temperature, top_k=top_k, top_p=top_p)
    grid = 4000
    uniform_B = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    drawn_B = search.draw(log_p_V.expand(grid, -1), uniform_B)
    share = torch.bincount(drawn_B, minlength=9) / grid
    expected = support_by_hand(log_p_V.tolist(), temperature, top_k, top_p)
    for token in range(9):
        assert share[token].item() == pytest.approx(expected.get(token, 0.0), abs=2 / grid)


def test_draws_at_the_very_edges_have_mass():
    log_p_BV = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(2, 3)
    uniform_B = torch.tensor([0.0, math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert Sample().draw(log_p_BV, uniform_B).tolist() == [1, 1]
    assert Sample(top_k=2).draw(log_p_BV, uniform_B).tolist() == [1, 1]


@pytest.mark.parametrize("search", [*SEARCHES, Sample(), Sample(top_k=2)], ids=str)
def test_a_row_without_any_allowed_token_ends_there(search):
    scorer = MarkovTable(3)
    nothing = ForbiddenTokens(range(len(scorer.vocab)))
    found = generate(scorer, topics(0, 1), search=search, filters=[nothing], max_tokens=5)
    assert not found.mask_BKT.any()
    assert not found.finished_BK.any()
    assert (found.total_BK == -math.inf).all(), "no text was found, which is not the certain text"


@pytest.mark.parametrize("search", [*SEARCHES, Sample()], ids=str)
def test_nan_is_an_error_not_a_text(search):
    scorer = MarkovTable(3, seed=2)
    scorer.log_p_[:, BOS] = math.nan
    with pytest.raises(ModelError, match="NaN"):
        generate(scorer, topics(0), search=search, max_tokens=5)


def test_what_a_scorer_says_of_the_impossible_does_not_matter():
    """After a word of probability 0 (0 / 0 in a Bayes filter) anything may come, NaN too."""
    scorer = MarkovTable(2)
    scorer.log_p_[..., 4] = -math.inf
    clean = generate(scorer, topics(0, 1), search=Beam(width=6, n_best=3), max_tokens=4)
    scorer.log_p_[:, :, [PAD, BOS, EOS, 4]] = math.nan
    scorer.log_p_[:, PAD, BOS] = MarkovTable(2).log_p_[:, PAD, BOS]
    scorer.log_p_[:, PAD, BOS, 4] = -math.inf
    found = generate(scorer, topics(0, 1), search=Beam(width=6, n_best=3), max_tokens=4)
    assert torch.equal(found.token_BKT, clean.token_BKT)
    assert torch.equal(found.score_BK, clean.score_BK)


def test_log_p_is_the_scorers_own_whatever_the_search_prefers():
    scorer = MarkovTable(5, seed=8)
    for search in (Sample(temperature=3.0, top_k=2, seed=1), Greedy(), Beam(width=3)):
        found = generate(scorer, topics(2), search=search, filters=[ForbiddenTokens([EOS])], max_tokens=6)
        text = words(found)
        assert EOS not in text
        assert found.log_p_BT[0].tolist() == pytest.approx(scorer.of_text(2, text), rel=1e-5)


@pytest.mark.parametrize(
    "settings_",
    [{"temperature": 0}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}],
    ids=str,
)
def test_sample_refuses_what_cannot_be_meant(settings_):
    with pytest.raises(UsageError):
        Sample(**settings_)


@pytest.mark.parametrize("settings_", [{"width": 0}, {"n_best": 5}, {"length_penalty": -1}, {"n_best": 0}], ids=str)
def test_beam_refuses_what_cannot_be_meant(settings_):
    with pytest.raises(UsageError):
        Beam(**settings_)


def test_no_tokens_at_all_is_refused():
    with pytest.raises(UsageError, match="max_tokens"):
        generate(MarkovTable(3), topics(0), search=Greedy(), max_tokens=0)

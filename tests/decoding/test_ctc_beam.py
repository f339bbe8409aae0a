"""CTC beam search against the sum over all alignments of every text, alone and with every kind of layer."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import UsageError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.decoding.ctc_beam import CTCBeam, greedy
from sensorium.decoding.ctc_language import TokenLanguage, WordLanguage
from sensorium.decoding.hot_words import HotWords
from sensorium.language.ngram import Ngram
from sensorium.language.recurrent import Recurrent

VOCAB = Vocab.of("ab ")
A, B, BLANK_SPACE = VOCAB.ids(["a", "b", " "])
EVERYTHING = CTCBeam(width=10**6, least_log_p=-math.inf, gap=math.inf, n_best=10**6)


def posteriors(num_frames, seed=0, sharpness=2.0):
    logit_FV = sharpness * np.random.default_rng(seed).normal(size=(num_frames, len(VOCAB)))
    logit_FV[:, [BOS, EOS]] = -np.inf
    return logit_FV - np.logaddexp.reduce(logit_FV, axis=1, keepdims=True)


def every_text(log_y_FV):
    """log p of every text, alignment by alignment."""
    found = {}
    for path in itertools.product([PAD, UNK, A, B, BLANK_SPACE], repeat=len(log_y_FV)):
        text = tuple(token for token, _ in itertools.groupby(path) if token != PAD)
        log_p = sum(log_y_FV[f, k] for f, k in enumerate(path))
        found[text] = np.logaddexp(found.get(text, -np.inf), log_p)
    return found


def ngram(order=3, vocab=VOCAB):
    rng = np.random.default_rng(1)
    texts = [[BOS, *rng.integers(UNK + 1, len(vocab), n % 6).tolist(), EOS] for n in range(60)]
    return Ngram(Ngram.Config(order=order), vocab, 1).fit(texts)


def log_p(scorer, tokens):
    token_BT = torch.tensor([[BOS, *tokens, EOS]])
    with torch.no_grad():
        return scorer.score(token_BT, torch.ones_like(token_BT).bool(), Conditioning.empty(1)).sum().item()


def assert_same(found, want):
    got = {each.tokens: each.score for each in found}
    want = {text: score for text, score in want.items() if score > -math.inf}
    assert got.keys() == want.keys()
    assert len(got) == len(found), "a text comes once"
    for text, score in want.items():
        assert got[text] == pytest.approx(score, abs=1e-4), text
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("num_frames", [0, 1, 2, 5])
def test_everything_kept_equals_enumeration(num_frames):
    log_y_FV = posteriors(num_frames)
    assert_same(EVERYTHING(log_y_FV), every_text(log_y_FV))


def test_layers_are_added_to_the_score():
    log_y_FV, scorer = posteriors(5), ngram()
    layers = [TokenLanguage(scorer, alpha=0.7, beta=0.3)]
    want = {t: p + 0.7 * log_p(scorer, t) + 0.3 * len(t) for t, p in every_text(log_y_FV).items()}
    assert_same(EVERYTHING(log_y_FV, layers), want)
    assert_same(
        EVERYTHING(log_y_FV, layers), want
    )  # what was kept from the first search does not change the second


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_table_says_what_the_scorer_says(order):
    scorer = ngram(order)
    table = scorer.table(10**6)
    assert table is not None
    assert scorer.table(3) is None
    for text in itertools.chain.from_iterable(itertools.product([UNK, A, B, EOS], repeat=n) for n in range(5)):
        state = table.start
        for token in text:
            state = table.next_SV[state, token]
        token_BT = torch.tensor([[BOS, *text]])
        log_p_BV, _ = scorer.extend(scorer.start(Conditioning.empty(1)), token_BT, torch.ones_like(token_BT).bool())
        np.testing.assert_allclose(table.log_p_SV[state], log_p_BV[0].numpy(), atol=1e-5)


class Untabled:
    """A scorer that has no table, with or without a bound on what it looks back at."""

    def __init__(self, scorer, context_tokens):
        self.vocab, self.start, self.extend = scorer.vocab, scorer.start, scorer.extend
        if context_tokens is not None:
            self.context_tokens = context_tokens


@pytest.mark.parametrize("context_tokens", [None, 2])
def test_any_scorer_may_be_mixed_in(context_tokens):
    torch.manual_seed(0)
    neural = Recurrent(Recurrent.Config(width=8), VOCAB, 4).eval()
    scorer, log_y_FV = (ngram(3) if context_tokens else neural), posteriors(4, seed=3)
    layer = TokenLanguage(Untabled(scorer, context_tokens), alpha=1.0)
    want = {t: p + log_p(scorer, t) for t, p in every_text(log_y_FV).items()}
    assert_same(EVERYTHING(log_y_FV, [layer]), want)
    layer.histories.forget()
    assert_same(EVERYTHING(log_y_FV, [layer]), want)


WORDS = Vocab.of(["a", "ab", "ba"])
SPELLING = {WORDS.id(word): VOCAB.ids(list(word)) for word in WORDS.tokens[4:]}


def word_score(scorer, tokens, alpha, beta, unknown):
    """By definition: split at single blanks, look each word up, score the sentence."""
    text = "".join("?" if token == UNK else VOCAB.tokens[token] for token in tokens)
    words = text.split(" ") if text else []
    if "" in words:
        return -math.inf
    ids = [WORDS.id(word) for word in words]
    if unknown is None and UNK in ids:
        return -math.inf
    return alpha * log_p(scorer, ids) + beta * len(ids) + (unknown or 0) * ids.count(UNK)


@pytest.mark.parametrize("unknown", [-2.0, None])
def test_words_through_a_lexicon_equal_the_definition(unknown):
    scorer, log_y_FV = ngram(3, WORDS), posteriors(5, seed=1)
    layer = WordLanguage(
        scorer,
        SPELLING,
        delimiter=BLANK_SPACE,
        num_classes=len(VOCAB),
        alpha=0.6,
        beta=0.9,
        unknown=unknown,
        unknown_token=0.0,
    )
    want = {t: p + word_score(scorer, t, 0.6, 0.9, unknown) for t, p in every_text(log_y_FV).items()}
    assert_same(EVERYTHING(log_y_FV, [layer]), want)


def test_a_word_needs_a_spelling_without_the_delimiter():
    for spelling in ({4: []}, {4: [A, BLANK_SPACE]}):
        with pytest.raises(UsageError, match="word 4"):
            WordLanguage(ngram(2, WORDS), spelling, delimiter=BLANK_SPACE, num_classes=len(VOCAB))


def test_hot_words_add_their_boosts_and_nothing_else():
    log_y_FV = posteriors(5, seed=2)
    boosts = {(A, B): 2.0, (B,): 0.5, (A, BLANK_SPACE, B): 3.0}

    def boost(tokens):
        words = "".join("?" if token == UNK else VOCAB.tokens[token] for token in tokens).split(" ")
        phrases = [words[i : i + 2] == ["a", "b"] for i in range(len(words))]
        return 2.0 * words.count("ab") + 0.5 * words.count("b") + 3.0 * sum(phrases)  # within a phrase, too

    layer = HotWords(boosts, num_classes=len(VOCAB), delimiter=BLANK_SPACE)
    want = {t: p + boost(t) for t, p in every_text(log_y_FV).items()}
    assert_same(EVERYTHING(log_y_FV, [layer]), want)


def test_hot_words_are_refused_where_they_mean_nothing():
    for boosts in ({}, {(): 1.0}, {(A,): 0.0}):
        with pytest.raises(UsageError):
            HotWords(boosts, num_classes=len(VOCAB), delimiter=None)


def test_a_hot_word_changes_what_is_heard():
    log_y_FV = np.log(np.array([[0.1, 0, 0, 0.02, 0.5, 0.36, 0.02], [0.9, 0, 0, 0.02, 0.04, 0.02, 0.02]]) + 1e-30)
    assert CTCBeam()(log_y_FV)[0].tokens == (A,)
    layer = HotWords({(B,): 1.0}, num_classes=len(VOCAB), delimiter=BLANK_SPACE)
    assert CTCBeam()(log_y_FV, [layer])[0].tokens == (B,)


@given(st.integers(0, 10_000), st.integers(0, 12))
def test_a_narrow_beam_finds_texts_that_exist_and_no_better_ones(seed, num_frames):
    log_y_FV = posteriors(num_frames, seed, sharpness=3.0)
    wide = {
        each.tokens: each.score for each in CTCBeam(width=4000, least_log_p=-50, gap=200, n_best=4000)(log_y_FV)
    }
    narrow = CTCBeam(width=8, least_log_p=-4, n_best=8)(log_y_FV)
    assert 1 <= len(narrow) <= 8
    for each in narrow:
        assert each.score <= wide[each.tokens] + 1e-9


def test_long_runs_of_blank_cost_what_they_should():
    quiet = np.full((50, len(VOCAB)), math.log(1e-4))
    quiet[:, PAD] = math.log(1 - 4e-4)
    quiet[:, [BOS, EOS]] = -np.inf
    log_y_FV = np.concatenate([quiet, posteriors(3), quiet])
    beam = CTCBeam(least_log_p=-5, gap=50, n_best=1000)
    alone = {each.tokens: each.score for each in beam(posteriors(3))}
    for each in beam(log_y_FV):
        assert each.score == pytest.approx(alone[each.tokens] + 100 * math.log(1 - 4e-4), abs=1e-9)


def test_greedy_collapses_the_likeliest_alignment():
    path = [PAD, A, A, PAD, A, B, B, BLANK_SPACE, PAD]
    log_y_FV = np.log(np.eye(len(VOCAB))[path] * 0.9 + 0.01)
    assert greedy(log_y_FV) == (A, A, B, BLANK_SPACE)
    assert greedy(log_y_FV[:0]) == ()


def test_settings_out_of_range_are_refused():
    for setting in ({"width": 0}, {"n_best": 0}, {"gap": 0.0}, {"least_log_p": 1.0}):
        with pytest.raises(UsageError):
            CTCBeam(**setting)


def test_each_further_token_outside_the_lexicon_costs():
    log_y_FV, scorer = posteriors(4, seed=1), ngram(3, WORDS)
    free, dear = (
        {
            each.tokens: each.score
            for each in EVERYTHING(
                log_y_FV,
                [WordLanguage(scorer, SPELLING, delimiter=BLANK_SPACE, num_classes=len(VOCAB), unknown_token=cost)],
            )
        }
        for cost in (0.0, -1.5)
    )
    assert free[A, B] == dear[A, B]  # in the lexicon
    assert free[B, B] == dear[B, B]  # left it with its last letter, and paid for the word
    assert dear[B, B, A] == pytest.approx(free[B, B, A] - 1.5)
    assert dear[A, B, A, B] == pytest.approx(free[A, B, A, B] - 1.5)

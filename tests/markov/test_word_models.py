"""Word models and the hybrid: against enumeration, and on sounds made from known chains."""

import itertools

import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.language.bigram import log_bigram
from sensorium.language.ngram import Ngram
from sensorium.markov.emissions import GaussianMixtures
from sensorium.markov.hybrid import HybridEmissions, fit_hybrid
from sensorium.markov.words import WordModels, fit_words

LENGTHS = [5, 3, 6]


def models(num_words=3, states=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    stay = 0.2 + 0.6 * torch.rand(num_words, states, generator=g, dtype=torch.float64)
    transition = torch.diag_embed(stay)
    for s in range(states - 1):
        transition[:, s, s + 1] = 1 - stay[:, s]
    transition[:, -1, -1] = 1.0
    return WordModels(transition, 0.2 + 0.6 * torch.rand(num_words, generator=g, dtype=torch.float64))


def emissions(num_states, seed=1, lengths=LENGTHS):
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(sum(lengths), num_states, generator=g, dtype=torch.float64)


def table(num_words, seed=2):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(num_words + 1, num_words + 1, generator=g, dtype=torch.float64)
    x[-1, -1] = -torch.inf
    return x.log_softmax(1)


def paths_of(words, log_e_TX, word, states):
    """log p of each way through one word."""
    first, transition = word * states, words.transition_WSS[word].log()
    for path in itertools.product(range(states), repeat=len(log_e_TX)):
        if path[0] == 0 and path[-1] == states - 1:
            log_p = sum(log_e_TX[t, first + s] for t, s in enumerate(path))
            yield path, log_p + sum(transition[a, b] for a, b in itertools.pairwise(path))


def test_each_words_likelihood_is_the_sum_over_its_paths():
    words, log_e_NX = models(), emissions(6)
    got_BW = words.log_likelihoods(log_e_NX, LENGTHS)
    for b, log_e_TX in enumerate(log_e_NX.split(LENGTHS)):
        for w in range(3):
            want = torch.stack([log_p for _, log_p in paths_of(words, log_e_TX, w, 2)]).logsumexp(0)
            torch.testing.assert_close(got_BW[b, w], want)


def test_alignment_is_the_best_path_of_the_known_word():
    words, log_e_NX, spoken = models(), emissions(6), [2, 0, 2]
    got = words.align(log_e_NX, LENGTHS, spoken).split(LENGTHS)
    for log_e_TX, state_T, word in zip(log_e_NX.split(LENGTHS), got, spoken, strict=True):
        path, _ = max(paths_of(words, log_e_TX, word, 2), key=lambda found: float(found[1]))
        assert state_T.tolist() == [2 * word + s for s in path]


def test_a_sequence_too_short_for_its_word_is_not_aligned():
    words = models(states=4)
    assert words.align(emissions(12, lengths=[2, 5]), [2, 5], [0, 1])[:2].tolist() == [-1, -1]
    assert (words.log_likelihoods(emissions(12, lengths=[2, 5]), [2, 5])[0] == -torch.inf).all()


def every_reading(words, log_e_TX, log_bigram_WW, states):
    """Each sequence of words with each way of cutting the frames, by the definition; its best log p."""
    length, num = len(log_e_TX), words.num_words
    best = {}
    for count in range(1, length // states + 1):
        for spoken in itertools.product(range(num), repeat=count):
            for cuts in itertools.combinations(range(1, length), count - 1):
                edges = [0, *cuts, length]
                total = log_bigram_WW[num, spoken[0]] + log_bigram_WW[spoken[-1], num]
                total = total + sum(log_bigram_WW[a, b] for a, b in itertools.pairwise(spoken))
                for word, begin, end in zip(spoken, edges, edges[1:], strict=False):
                    ways = list(paths_of(words, log_e_TX[begin:end], word, states))
                    # a frame that follows another in the last state did not leave the word
                    held = [
                        log_p
                        + sum(
                            (1 - words.leave_W[word]).log()
                            for a, b in itertools.pairwise(path)
                            if a == b == states - 1
                        )
                        for path, log_p in ways
                    ]
                    total = total + (max(held) if held else -torch.inf) + words.leave_W[word].log()
                best[spoken] = max(best.get(spoken, -torch.inf), float(total))
    return max(best, key=best.get)


@pytest.mark.parametrize("seed", range(6))
def test_words_in_a_row_are_the_best_of_all_readings(seed):
    words, log_e_NX, language = models(2, 2, seed), emissions(4, seed + 10), table(2, seed + 20)
    got = words.transcribe(log_e_NX, LENGTHS, language)
    for log_e_TX, found in zip(log_e_NX.split(LENGTHS), got, strict=True):
        assert tuple(found) == every_reading(words, log_e_TX, language, 2)


def test_a_weight_and_a_penalty_scale_the_language():
    words, log_e_NX, language = models(2), emissions(4), table(2)
    assert words.transcribe(log_e_NX, LENGTHS, 2 * language - 1) == words.transcribe(
        log_e_NX, LENGTHS, language, weight=2.0, penalty=1.0
    )


def spoken_words(num, seed=0):
    """Two words of two levels each, in opposite order, with noise."""
    g = torch.Generator().manual_seed(seed)
    sequences, labels = [], []
    for i in range(num):
        levels = torch.tensor([[-2.0, 0.5], [2.0, -0.5]] if i % 2 else [[2.0, -0.5], [-2.0, 0.5]])
        stay = torch.randint(3, 8, (2,), generator=g)
        x_TF = levels.repeat_interleave(stay, 0)
        sequences.append((x_TF + 0.8 * torch.randn(x_TF.shape, generator=g)).double())
        labels.append(i % 2)
    return sequences, labels


def test_fitted_words_tell_new_ones_apart():
    sequences, labels = spoken_words(40)
    lengths = [len(x_TF) for x_TF in sequences]
    words, mixtures = fit_words(torch.cat(sequences), lengths, labels, 2, states=2, splits=1)
    assert isinstance(mixtures, GaussianMixtures)
    assert mixtures.weight_SK.shape == (4, 2)
    new, truth = spoken_words(40, seed=1)
    log_p_BW = words.log_likelihoods(mixtures.log_p(torch.cat(new)), [len(x_TF) for x_TF in new])
    assert log_p_BW.argmax(1).tolist() == truth


def test_a_word_nobody_says_is_named():
    sequences, labels = spoken_words(4)
    lengths = [len(x_TF) for x_TF in sequences]
    with pytest.raises(DataError, match="word 2 is in no sequence"):
        fit_words(torch.cat(sequences), lengths, labels, 3, states=2)


class Frame(torch.nn.Module):
    """A linear network of one frame."""

    def __init__(self, num_states):
        super().__init__()
        self.linear = torch.nn.Linear(2, num_states)

    def forward(self, x_UTF, mask_UT):
        return self.linear(x_UTF)


def test_the_hybrid_learns_its_alignment_and_tells_words_apart():
    torch.manual_seed(0)
    sequences, labels = spoken_words(40)
    lengths = [len(x_TF) for x_TF in sequences]
    words, mixtures = fit_words(torch.cat(sequences), lengths, labels, 2, states=2, splits=0)
    state_N = words.align(mixtures.log_p(torch.cat(sequences)), lengths, labels)
    hybrid = HybridEmissions(Frame(4), 4)
    frames = [x_TF.float() for x_TF in sequences]
    losses = fit_hybrid(hybrid, frames, state_N, epochs=30, batch_rows=8, learning_rate=0.05)
    assert losses[-1] < 0.8 * losses[0]
    new, truth = spoken_words(40, seed=1)
    new = [x_TF.float() for x_TF in new]
    log_e_NX = hybrid.log_e(new, batch_rows=7)
    assert words.log_likelihoods(log_e_NX, [len(x_TF) for x_TF in new]).argmax(1).tolist() == truth


def test_the_hybrid_divides_posteriors_by_priors():
    hybrid = HybridEmissions(Frame(3), 3)
    hybrid.count_priors(torch.tensor([0, 0, 0, 0, 1, 1, -1]))
    x_UTF, mask_UT = torch.randn(2, 4, 2), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    posterior = hybrid.network(x_UTF, mask_UT).softmax(-1)
    torch.testing.assert_close(hybrid(x_UTF, mask_UT).exp(), posterior / torch.tensor([5, 3, 1]).mul(1 / 9))
    both = hybrid.log_e([x_UTF[0], x_UTF[1, :2]])
    torch.testing.assert_close(both, hybrid(x_UTF, mask_UT)[mask_UT].double())
    with pytest.raises(DataError, match="no frame is aligned"):
        hybrid.count_priors(torch.tensor([-1, -1]))


def test_a_bigram_scorer_becomes_a_table():
    vocab = Vocab.of("abc")
    scorer = Ngram(Ngram.Config(order=2), vocab, width=1).fit(
        [[BOS, 4, 5, EOS], [BOS, 4, 4, 6, EOS], [BOS, 5, EOS]]
    )
    got = log_bigram(scorer, [4, 5, 6])
    torch.testing.assert_close(got.exp().sum(1), torch.ones(4).double())
    assert got[3, 3] == -torch.inf
    after_a = scorer.extend(scorer.start(Conditioning.empty(1)), torch.tensor([[BOS, 4]]), torch.ones(1, 2).bool())[
        0
    ]
    want = after_a[0, [4, 5, 6, EOS]].double().log_softmax(0)
    torch.testing.assert_close(got[0], want)

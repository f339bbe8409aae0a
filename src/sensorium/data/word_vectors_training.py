"""Word vectors learned from the user's own sentences: skip-gram, CBOW, GloVe.

Enters: sentences as ids of a vocabulary.  Leaves: `WordVectors` of the words that occur.

    skip-gram   sum over words c and neighbours o:  log s(u_o . v_c) + sum_k log s(-u_k . v_c)
    CBOW        the same with v the mean of the neighbours' vectors, and o the word between them
    GloVe       sum_ij f(X_ij) (v_i . u_j + b_i + d_j - log X_ij)^2,  f(x) = min(1, (x / 100)^0.75)

k are drawn with a chance as count^0.75, windows are cut at a random width, frequent words are dropped with
chance 1 - sqrt(t / share), and X counts neighbours by 1 / distance.

Skip-gram and CBOW read the text in strips of `STRIP` words: within a strip all neighbours meet in one banded
matrix product, and all words share the drawn ones, each weighted so that the expected gradient is that of k
drawn for every pair.  Strips begin elsewhere in every epoch, so that no pair is always cut.
Sources: Mikolov et al. 2013, "Distributed representations of words and phrases", equations 4-5; Ji et al.
2016, "Parallelizing word2vec in shared and distributed memory" (shared draws); Pennington et al. 2014,
"GloVe", equation 8, by AdaGrad as there.

Letters beside the shared ones: G strips, S words of a strip, K drawn words, N words of the text, E cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.config import Section
from sensorium.core.errors import DataError
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.data.word_vectors import WordVectors

STRIP = 64
_DRAWN = 64  # a strip; fewer share too much, more cost more than they teach
_LONGEST_STEP = 0.25  # of a vector; their lengths are a few units in the end
_SLOWEST = 1e-2  # of the learning rate, where the descent ends
_LEARNING_RATES = {"skip_gram": 0.025, "cbow": 0.05, "glove": 0.05}


class WordVectorTraining(Section):
    """How vectors are learned, whatever their width."""

    method: Literal["skip_gram", "cbow", "glove"] = "skip_gram"
    window: int = Field(5, ge=1, le=STRIP // 4)
    negatives: int = Field(5, ge=1, le=1000)
    subsample: float = Field(1e-3, gt=0.0)
    """t: words of a larger share are dropped now and then."""
    epochs: int = Field(5, ge=1)
    learning_rate: float | None = Field(None, gt=0.0)
    """At the start; None takes the authors' own: 0.025 for skip-gram, 0.05 for CBOW and GloVe."""
    batch_words: int = Field(512, ge=1)
    """Words between two updates (GloVe: eight times as many cells)."""
    seed: int = Field(0, ge=0, lt=2**32)

    @property
    def rate(self) -> float:
        """Return the learning rate at the start."""
        return _LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate


class WordVectorConfig(WordVectorTraining):
    """How vectors are learned, and their width."""

    width: int = Field(100, ge=1, le=65_536)


def train_word_vectors(
    sentences: Iterable[Sequence[int]], vocab: Vocab, config: WordVectorConfig | None = None
) -> WordVectors:
    """Learn a vector for every word that occurs; unknown and special ids are passed over.

    Raises:
        DataError: no word has a neighbour, or the vectors grew without bound.
    """
    config = config or WordVectorConfig()
    word_N, sentence_N = _flat(sentences)
    if not (sentence_N[1:] == sentence_N[:-1]).any():
        raise DataError("no word has a neighbour, so there is nothing to learn vectors from")
    generator = torch.Generator().manual_seed(config.seed)
    x_VD = _METHODS[config.method](word_N, sentence_N, len(vocab), config, generator)
    seen = torch.unique(word_N)
    if not x_VD[seen].isfinite().all():
        raise DataError("the word vectors grew without bound", advice="lower their learning_rate")
    return WordVectors(tuple(vocab.tokens[i] for i in seen.tolist()), x_VD[seen].contiguous())


def _flat(sentences: Iterable[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return all words one after the other, (N,), and the number of each one's sentence."""
    kept = [[word for word in sentence if word > UNK] for sentence in sentences]
    length_S = torch.tensor([len(sentence) for sentence in kept], dtype=torch.int64)
    word_N = torch.tensor([word for sentence in kept for word in sentence], dtype=torch.int64)
    return word_N, torch.repeat_interleave(torch.arange(len(kept)), length_S)


@dataclass(frozen=True, slots=True)
class Strips:
    """Stretches of the text.

    Attributes:
        word_GS: their words.
        sentence_GS: the number of each one's sentence; -1 past the end of the text.
        drawn_GK: words drawn for each strip, to be told from those that stand there.
    """

    word_GS: Tensor
    sentence_GS: Tensor
    drawn_GK: Tensor


def neighbours(sentence_GS: Tensor, reach_GS: Tensor) -> Tensor:
    """Say which words j are within the reach of word i and of its sentence, (G, S, S) bool."""
    place_S = torch.arange(sentence_GS.shape[1])
    distance_SS = (place_S[:, None] - place_S).abs()
    is_near_GSS = (distance_SS <= reach_GS[..., None]) & (distance_SS > 0)
    same_GSS = sentence_GS[:, :, None] == sentence_GS[:, None]
    return is_near_GSS & same_GSS & (sentence_GS >= 0)[..., None]


def strips(
    word_N: Tensor, sentence_N: Tensor, chance_V: Tensor, strips_a_batch: int, generator: torch.Generator
) -> Iterator[Strips]:
    """Cut the text into strips, from a random place on, and yield them in random order with drawn words."""
    ahead = int(torch.randint(STRIP, (1,), generator=generator))
    behind = -(ahead + len(word_N)) % STRIP
    word_XS = torch.nn.functional.pad(word_N, (ahead, behind)).view(-1, STRIP)
    sentence_XS = torch.nn.functional.pad(sentence_N, (ahead, behind), value=-1).view(-1, STRIP)
    order_X = torch.randperm(len(word_XS), generator=generator)
    # One sorted draw for all: `multinomial` would go through the vocabulary for every batch.
    edge_V = chance_V.double().cumsum(0)
    for strip_G in order_X.split(strips_a_batch):
        at_GK = torch.rand(len(strip_G), _DRAWN, dtype=torch.float64, generator=generator) * edge_V[-1]
        drawn_GK = torch.searchsorted(edge_V, at_GK, right=True).clamp_max(len(edge_V) - 1)
        yield Strips(word_XS[strip_G], sentence_XS[strip_G], drawn_GK)


@dataclass(frozen=True, slots=True)
class Gradients:
    """What to add to the vectors of a batch of strips, for a learning rate of 1.

    Attributes:
        known_GSD: to v of the strips' words.
        asked_GSD: to u of the strips' words.
        drawn_GKD: to u of the drawn words.
    """

    known_GSD: Tensor
    asked_GSD: Tensor
    drawn_GKD: Tensor


def skip_gram_gradients(
    known_GSD: Tensor, asked_GSD: Tensor, drawn_GKD: Tensor, is_near_GSS: Tensor, negatives: int
) -> Gradients:
    """Return the ascent of sum_{i, j near i} [log s(u_j . v_i) + (negatives / K) sum_k log s(-u_k . v_i)]."""
    share_GS1 = is_near_GSS.sum(2, keepdim=True) * (negatives / drawn_GKD.shape[1])
    pull_GSS = torch.sigmoid(-known_GSD @ asked_GSD.mT) * is_near_GSS
    push_GSK = torch.sigmoid(known_GSD @ drawn_GKD.mT) * share_GS1
    return Gradients(
        pull_GSS @ asked_GSD - push_GSK @ drawn_GKD, pull_GSS.mT @ known_GSD, -(push_GSK.mT @ known_GSD)
    )


def cbow_gradients(
    known_GSD: Tensor, asked_GSD: Tensor, drawn_GKD: Tensor, is_near_GSS: Tensor, negatives: int
) -> Gradients:
    """Return the ascent of sum_i [log s(u_i . h_i) + (negatives / K) sum_k log s(-u_k . h_i)], h_i = mean v_j."""
    num_GS1 = is_near_GSS.sum(2, keepdim=True)
    mean_GSS = is_near_GSS / num_GS1.clamp_min(1)
    h_GSD = mean_GSS @ known_GSD
    pull_GS1 = torch.sigmoid(-(h_GSD * asked_GSD).sum(2, keepdim=True)) * (num_GS1 > 0)
    push_GSK = torch.sigmoid(h_GSD @ drawn_GKD.mT) * (num_GS1 > 0) * (negatives / drawn_GKD.shape[1])
    h_gradient_GSD = pull_GS1 * asked_GSD - push_GSK @ drawn_GKD
    return Gradients(mean_GSS.mT @ h_gradient_GSD, pull_GS1 * h_GSD, -(push_GSK.mT @ h_GSD))


Ascent = Callable[[Tensor, Tensor, Tensor, Tensor, int], Gradients]


def _negative_sampling(ascent: Ascent) -> Method:
    def train(
        word_N: Tensor, sentence_N: Tensor, num_words: int, config: WordVectorConfig, generator: torch.Generator
    ) -> Tensor:
        count_V = torch.bincount(word_N, minlength=num_words).double()
        keep_V = (config.subsample / (count_V / count_V.sum()).clamp_min(1e-12)).sqrt().clamp_max(1)
        known_VD = (torch.rand(num_words, config.width, generator=generator) - 0.5) / config.width
        asked_VD = torch.zeros(num_words, config.width)
        for epoch in range(config.epochs):
            is_kept_N = torch.rand(len(word_N), dtype=torch.float64, generator=generator) < keep_V[word_N]
            kept_N = is_kept_N.nonzero().squeeze(1)
            strips_a_batch = max(1, config.batch_words // STRIP)
            num_batches = -(-len(kept_N) // (STRIP * strips_a_batch)) + 1
            batches = strips(word_N[kept_N], sentence_N[kept_N], count_V**0.75, strips_a_batch, generator)
            for number, batch in enumerate(batches):
                done = (epoch + min(number / num_batches, 1.0)) / config.epochs
                rate = config.rate * max(1 - done, _SLOWEST)
                reach_GS = torch.randint(1, config.window + 1, batch.word_GS.shape, generator=generator)
                is_near_GSS = neighbours(batch.sentence_GS, reach_GS).to(known_VD.dtype)
                _climb(known_VD, asked_VD, batch, ascent, is_near_GSS, config.negatives, rate)
        return known_VD

    return train


def _climb(
    known_VD: Tensor,
    asked_VD: Tensor,
    batch: Strips,
    ascent: Ascent,
    is_near_GSS: Tensor,
    negatives: int,
    rate: float,
) -> None:
    """Take one step, in place."""
    word_X, drawn_Y = batch.word_GS.flatten(), batch.drawn_GK.flatten()
    shape = (*batch.word_GS.shape, known_VD.shape[1])
    known_GSD, asked_GSD = known_VD[word_X].view(shape), asked_VD[word_X].view(shape)
    drawn_GKD = asked_VD[drawn_Y].view(len(batch.drawn_GK), -1, known_VD.shape[1])
    found = ascent(known_GSD, asked_GSD, drawn_GKD, is_near_GSS, negatives)
    _move(known_VD, word_X, found.known_GSD.flatten(0, 1), rate)
    asked_XD = torch.cat([found.asked_GSD.flatten(0, 1), found.drawn_GKD.flatten(0, 1)])
    _move(asked_VD, torch.cat([word_X, drawn_Y]), asked_XD, rate)


def _move(table_VD: Tensor, row_X: Tensor, gradient_XD: Tensor, rate: float) -> None:
    """Add the sum of each row's gradients, times the rate, but no step longer than `_LONGEST_STEP`.

    One word after the other, as word2vec goes, is stable by itself; a batch in which one word stands hundreds of
    times (few words, or a word that subsampling leaves) is not.
    """
    row_U, at_X = torch.unique(row_X, return_inverse=True)
    step_UD = gradient_XD.new_zeros(len(row_U), gradient_XD.shape[1]).index_add_(0, at_X, gradient_XD, alpha=rate)
    step_UD *= (_LONGEST_STEP / step_UD.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
    table_VD.index_add_(0, row_U, step_UD)


def _glove(
    word_N: Tensor, sentence_N: Tensor, num_words: int, config: WordVectorConfig, generator: torch.Generator
) -> Tensor:
    cell_E, count_E = cooccurrences(word_N, sentence_N, num_words, config.window)
    log_E, weight_E = count_E.log(), (count_E / 100).pow(0.75).clamp_max(1)
    # Column 0 is the bias; the other side's column 0 is then 1 in the product.
    size = (num_words, config.width + 1)
    tables = [(torch.rand(size, generator=generator) - 0.5) / config.width for _ in range(2)]
    squares = [torch.ones(size) for _ in range(2)]
    for _ in range(config.epochs):
        for place_B in torch.randperm(len(cell_E), generator=generator).split(8 * config.batch_words):
            cell_B = cell_E[place_B]
            sides = (cell_B // num_words, cell_B % num_words)
            i_BX, j_BX = (table[side_B] for table, side_B in zip(tables, sides, strict=True))
            guess_B = (i_BX[:, 1:] * j_BX[:, 1:]).sum(1) + i_BX[:, 0] + j_BX[:, 0]
            slope_B1 = (weight_E[place_B] * (guess_B - log_E[place_B]))[:, None]
            for table_VX, square_VX, side_B, other_BX in zip(tables, squares, sides, (j_BX, i_BX), strict=True):
                gradient_BX = slope_B1 * other_BX
                gradient_BX[:, 0] = slope_B1[:, 0]
                square_VX.index_add_(0, side_B, gradient_BX.square())
                step_BX = gradient_BX * square_VX[side_B].rsqrt_()
                table_VX.index_add_(0, side_B, step_BX, alpha=-config.rate)
    return (tables[0] + tables[1])[:, 1:]


def cooccurrences(word_N: Tensor, sentence_N: Tensor, num_words: int, window: int) -> tuple[Tensor, Tensor]:
    """Return the pairs i * V + j that stand within `window`, ascending, and sum 1 / distance of each, float."""
    cells, weights = [], []
    for distance in range(1, window + 1):
        first_P = (sentence_N[distance:] == sentence_N[:-distance]).nonzero().squeeze(1)
        i_P, j_P = word_N[first_P], word_N[first_P + distance]
        cells += [i_P * num_words + j_P, j_P * num_words + i_P]
        weights += [torch.full((2 * len(first_P),), 1 / distance)]
    cell_E, at_P = torch.unique(torch.cat(cells), return_inverse=True)
    return cell_E, torch.zeros(len(cell_E)).index_add_(0, at_P, torch.cat(weights))


Method = Callable[[Tensor, Tensor, int, WordVectorConfig, torch.Generator], Tensor]

_METHODS: dict[str, Method] = {
    "skip_gram": _negative_sampling(skip_gram_gradients),
    "cbow": _negative_sampling(cbow_gradients),
    "glove": _glove,
}

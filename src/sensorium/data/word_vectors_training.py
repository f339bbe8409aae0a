"""Word vectors learned from the user's own sentences: skip-gram, CBOW, GloVe.

Enters: sentences as ids of a vocabulary.  Leaves: `WordVectors` of the words that occur.

    skip-gram   sum over words c and neighbours o:  log s(u_o . v_c) + sum_k log s(-u_k . v_c)
    CBOW        the same with v the mean of the neighbours' vectors, and o the word between them
    GloVe       sum_ij f(X_ij) (v_i . u_j + b_i + d_j - log X_ij)^2,  f(x) = min(1, (x / 100)^0.75)

k are drawn with a chance as count^0.75, windows are cut at a random width, frequent words are dropped with
chance 1 - sqrt(t / share), and X counts neighbours by 1 / distance.
Sources: Mikolov et al. 2013, "Distributed representations of words and phrases", equations 4-5; Pennington et
al. 2014, "GloVe", equation 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.config import Section
from sensorium.core.errors import DataError
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.data.word_vectors import WordVectors


class WordVectorConfig(Section):
    """How vectors are learned."""

    method: Literal["skip_gram", "cbow", "glove"] = "skip_gram"
    width: int = Field(100, ge=1, le=65_536)
    window: int = Field(5, ge=1, le=100)
    negatives: int = Field(5, ge=1, le=1000)
    subsample: float = Field(1e-3, gt=0.0)
    """t: words of a larger share are dropped now and then."""
    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(0.01, gt=0.0)
    batch_pairs: int = Field(4096, ge=1)
    seed: int = 0


def train_word_vectors(
    sentences: Iterable[Sequence[int]], vocab: Vocab, config: WordVectorConfig | None = None
) -> WordVectors:
    """Learn a vector for every word that occurs; unknown and special ids are passed over.

    Raises:
        DataError: no word has a neighbour.
    """
    config = config or WordVectorConfig()
    word_N, sentence_N = _flat(sentences)
    if not (sentence_N[1:] == sentence_N[:-1]).any():
        raise DataError("no word has a neighbour, so there is nothing to learn vectors from")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        x_VD = _METHODS[config.method](word_N, sentence_N, len(vocab), config)
    seen = torch.unique(word_N)
    return WordVectors(tuple(vocab.tokens[i] for i in seen.tolist()), x_VD[seen].contiguous())


def _flat(sentences: Iterable[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return all words one after the other, (N,), and the number of each one's sentence."""
    kept = [[word for word in sentence if word > UNK] for sentence in sentences]
    length_S = torch.tensor([len(sentence) for sentence in kept], dtype=torch.int64)
    word_N = torch.tensor([word for sentence in kept for word in sentence], dtype=torch.int64)
    return word_N, torch.repeat_interleave(torch.arange(len(kept)), length_S)


def _pairs(sentence_N: Tensor, window: int) -> Iterator[tuple[int, Tensor]]:
    """Yield, for each distance d, the places n for which n and n + d are of one sentence."""
    for distance in range(1, window + 1):
        yield distance, (sentence_N[distance:] == sentence_N[:-distance]).nonzero().squeeze(1)


def _skip_gram(word_N: Tensor, sentence_N: Tensor, num_words: int, config: WordVectorConfig) -> Tensor:
    def examples(word_N: Tensor, sentence_N: Tensor) -> tuple[Tensor, Tensor]:
        reach_N = torch.randint(1, config.window + 1, word_N.shape)
        centres, others = [], []
        for distance, first_P in _pairs(sentence_N, config.window):
            for centre_P, other_P in ((first_P, first_P + distance), (first_P + distance, first_P)):
                is_near_P = reach_N[centre_P] >= distance
                centres.append(word_N[centre_P[is_near_P]])
                others.append(word_N[other_P[is_near_P]])
        return torch.cat(centres)[:, None], torch.cat(others)

    return _negative_sampling(word_N, sentence_N, num_words, config, examples)


def _cbow(word_N: Tensor, sentence_N: Tensor, num_words: int, config: WordVectorConfig) -> Tensor:
    def examples(word_N: Tensor, sentence_N: Tensor) -> tuple[Tensor, Tensor]:
        reach_N = torch.randint(1, config.window + 1, word_N.shape)
        near_NW = torch.full((len(word_N), 2 * config.window), -1)
        for distance, first_P in _pairs(sentence_N, config.window):
            for column, centre_P, other_P in (
                (2 * distance - 2, first_P, first_P + distance),
                (2 * distance - 1, first_P + distance, first_P),
            ):
                is_near_P = reach_N[centre_P] >= distance
                near_NW[centre_P[is_near_P], column] = word_N[other_P[is_near_P]]
        has_N = (near_NW >= 0).any(1)
        return near_NW[has_N], word_N[has_N]

    return _negative_sampling(word_N, sentence_N, num_words, config, examples)


Examples = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _negative_sampling(
    word_N: Tensor, sentence_N: Tensor, num_words: int, config: WordVectorConfig, examples: Examples
) -> Tensor:
    """Descend on examples: known words (P, W), -1 = none, and the word (P,) to be told from drawn ones."""
    count_V = torch.bincount(word_N, minlength=num_words).double()
    keep_V = (config.subsample / (count_V / count_V.sum()).clamp_min(1e-12)).sqrt().clamp_max(1)
    known = nn.Embedding(num_words + 1, config.width, sparse=True)
    asked = nn.Embedding(num_words, config.width, sparse=True)
    nn.init.uniform_(known.weight, -0.5 / config.width, 0.5 / config.width)
    nn.init.zeros_(asked.weight)
    optimiser = torch.optim.SparseAdam([*known.parameters(), *asked.parameters()], lr=config.learning_rate)
    for _ in range(config.epochs):
        is_kept_N = torch.rand(len(word_N), dtype=torch.float64) < keep_V[word_N]
        known_PW, asked_P = examples(word_N[is_kept_N], sentence_N[is_kept_N])
        for place_B in torch.randperm(len(asked_P)).split(config.batch_pairs):  # type: ignore[no-untyped-call]
            known_BW = known_PW[place_B]
            is_real_BW1 = (known_BW >= 0)[..., None]
            sum_BD = (known(known_BW.clamp_min(0)) * is_real_BW1).sum(1)
            drawn = torch.multinomial(count_V**0.75, len(place_B) * config.negatives, replacement=True)
            asked_BK = torch.cat([asked_P[place_B, None], drawn.view(len(place_B), -1)], 1)
            logit_BK = torch.einsum("bd,bkd->bk", sum_BD / is_real_BW1.sum(1), asked(asked_BK))
            sign_K = torch.tensor([1.0] + [-1.0] * config.negatives)
            loss = -functional.logsigmoid(logit_BK * sign_K).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()  # type: ignore[no-untyped-call]
    return known.weight.detach()[:num_words]


def _glove(word_N: Tensor, sentence_N: Tensor, num_words: int, config: WordVectorConfig) -> Tensor:
    cell_E, count_E = cooccurrences(word_N, sentence_N, num_words, config.window)
    log_E, weight_E = count_E.log(), (count_E / 100).pow(0.75).clamp_max(1)
    one, other = (nn.Embedding(num_words, config.width + 1, sparse=True) for _ in range(2))
    for table in (one, other):
        nn.init.uniform_(table.weight, -0.5 / config.width, 0.5 / config.width)
    optimiser = torch.optim.SparseAdam([*one.parameters(), *other.parameters()], lr=config.learning_rate)
    for _ in range(config.epochs):
        for place_B in torch.randperm(len(cell_E)).split(config.batch_pairs):  # type: ignore[no-untyped-call]
            i_BX, j_BX = one(cell_E[place_B] // num_words), other(cell_E[place_B] % num_words)
            guess_B = (i_BX[:, 1:] * j_BX[:, 1:]).sum(1) + i_BX[:, 0] + j_BX[:, 0]
            loss = (weight_E[place_B] * (guess_B - log_E[place_B]).square()).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()  # type: ignore[no-untyped-call]
    return (one.weight + other.weight).detach()[:, 1:]


def cooccurrences(word_N: Tensor, sentence_N: Tensor, num_words: int, window: int) -> tuple[Tensor, Tensor]:
    """Return the pairs i * V + j that stand within `window`, ascending, and sum 1 / distance of each, float."""
    cells, weights = [], []
    for distance, first_P in _pairs(sentence_N, window):
        i_P, j_P = word_N[first_P], word_N[first_P + distance]
        cells += [i_P * num_words + j_P, j_P * num_words + i_P]
        weights += [torch.full((2 * len(first_P),), 1 / distance)]
    cell_E, at_P = torch.unique(torch.cat(cells), return_inverse=True)
    return cell_E, torch.zeros(len(cell_E)).index_add_(0, at_P, torch.cat(weights))


_METHODS: dict[str, Callable[[Tensor, Tensor, int, WordVectorConfig], Tensor]] = {
    "skip_gram": _skip_gram,
    "cbow": _cbow,
    "glove": _glove,
}

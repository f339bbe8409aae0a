"""A gate starts as a mixture, hears the part that knows, and never says less of what judges it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.gate import Gate
from sensorium.language.gate_fitting import FEWEST_TOKENS
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.testing.scorer import check_scorer

VOCAB = Vocab.of("abcdef")
FIRST = UNK + 1


def texts(num: int, seed: int, *, num_letters: int = 6, length: int = 12) -> list[list[int]]:
    gen = torch.Generator().manual_seed(seed)
    rows = torch.randint(FIRST, FIRST + num_letters, (num, length), generator=gen).tolist()
    return [[BOS, *row, EOS] for row in rows]


def scored(rows: list[list[int]]) -> tuple[Tensor, Tensor, Conditioning]:
    token_BT = torch.tensor(rows)
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(len(rows))


class Knows(nn.Module):
    """A scorer that is nearly sure of the next letter after a given one, and knows nothing elsewhere."""

    fitted_by = "counting"

    def __init__(self, after: int) -> None:
        super().__init__()
        self.vocab, self.after = VOCAB, after

    def table(self) -> Tensor:
        log_p_VV = torch.zeros(len(VOCAB), len(VOCAB))
        log_p_VV[self.after, FIRST] = 8.0
        log_p_VV[:, [PAD, BOS]] = -torch.inf
        return log_p_VV.log_softmax(1)

    def start(self, cond: Conditioning) -> Tensor:
        return torch.zeros(cond.num_rows, 1, dtype=torch.int64)

    def extend(self, state: Tensor, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        last_B = token_BT.gather(1, mask_BT.sum(1, keepdim=True) - 1).squeeze(1)
        return self.table()[last_B], state

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        log_p_BT = self.table()[token_BT[:, :-1], token_BT[:, 1:]]
        return torch.where(mask_BT, torch.cat([torch.zeros(len(token_BT), 1), log_p_BT], 1), 0.0)


def knowing_texts(num: int, seed: int) -> list[list[int]]:
    """Write texts in which the first letter follows the second and the third, and the rest is chance."""
    rows = texts(num, seed)
    for row in rows:
        for t in range(2, len(row) - 1):
            if row[t - 1] in (FIRST + 1, FIRST + 2):
                row[t] = FIRST
    return rows


def value(scorer: nn.Module, rows: list[list[int]]) -> float:
    return float(scorer.score(*scored(rows))[:, 1:].mean())


def test_with_fixed_weights_it_is_the_mixture() -> None:
    parts = [Ngram(Ngram.Config(order=n), VOCAB, 1).fit(texts(40, n)) for n in (1, 3)]
    gate, mixture = Gate(parts).set_weights([0.3, 0.9]), Mixture(parts).set_weights([0.3, 0.9])
    rows = scored(texts(5, 9))
    torch.testing.assert_close(gate.score(*rows), mixture.score(*rows))
    assert gate.weights == pytest.approx([0.25, 0.75])


def test_it_hears_the_part_that_knows() -> None:
    parts = [Knows(FIRST + 1), Knows(FIRST + 2)]
    rows, unseen = knowing_texts(400, 1), knowing_texts(50, 2)
    gate, mixture = Gate(parts), Mixture(parts)
    gate.fit_weights([scored(rows)])
    mixture.fit_weights([scored(rows)])
    # Of the tokens about a sixth stand after one of the two letters; there the mixture gives the part that knows half a
    # say, and the gate all: log 2 nats.
    assert value(gate, unseen) > value(mixture, unseen) + 0.05
    token_BT, mask_BT, cond = scored([[BOS, FIRST + 1, FIRST, FIRST + 2, FIRST, EOS]])
    share_KT = gate.shares(token_BT, mask_BT, cond).weight_KBT[:, 0]
    assert share_KT[0, 2] > 0.9
    assert share_KT[1, 4] > 0.9
    torch.testing.assert_close(share_KT.sum(0), torch.ones(6))
    log_p_KT = gate.score_parts(token_BT, mask_BT, cond)[:, 0]
    by_shares_T = (log_p_KT + share_KT.log()).logsumexp(0)
    torch.testing.assert_close(by_shares_T[1:], gate.score(token_BT, mask_BT, cond)[0, 1:])


def test_an_ngrams_facts_say_how_much_of_the_context_it_has_seen() -> None:
    ngram = Ngram(Ngram.Config(order=3), VOCAB, 1).fit([[BOS, FIRST, FIRST + 1, EOS]])
    token_BT, mask_BT, cond = scored([[BOS, FIRST, FIRST + 1, FIRST + 1]])
    facts_TF = ngram.unroll_facts(token_BT, mask_BT, cond)[0]
    assert facts_TF[:, :2].tolist() == [[1, 0], [1, 1], [1, 1], [1, 0]]
    torch.testing.assert_close(facts_TF[3, 2], ngram.log_backoff_[FIRST + 1])


def test_a_fitted_gate_keeps_the_contract() -> None:
    def make() -> Gate:
        gate = Gate([Knows(FIRST + 1), Ngram(Ngram.Config(order=3), VOCAB, 1)])
        for layer in (gate.hidden, gate.output):
            layer.weight.normal_()
        return gate

    check_scorer(make, fit=lambda gate: gate.parts[1].fit(texts(50, 1)), length=5)


@pytest.mark.parametrize("seed", range(4))
def test_what_it_says_of_the_judging_fifth_is_never_less_than_the_mixture(seed: int) -> None:
    torch.manual_seed(seed)
    parts = [Ngram(Ngram.Config(order=n), VOCAB, 1).fit(texts(30, 1)) for n in (1, 2, 4)]
    rows = texts(60, 5 + seed)  # chance alone: all that a network can learn of it is wrong
    gate, mixture = Gate(parts), Mixture(parts)
    gate.fit_weights([scored(rows)])
    mixture.fit_weights([scored(rows)])
    assert value(gate, rows[-12:]) >= value(mixture, rows[-12:]) - 1e-6


def test_too_few_tokens_stay_linear() -> None:
    parts = [Knows(FIRST + 1), Knows(FIRST + 2)]
    rows = knowing_texts(FEWEST_TOKENS // 13 - 1, 1)
    gate, mixture = Gate(parts), Mixture(parts)
    assert gate.fit_weights([scored(rows)]) == pytest.approx(mixture.fit_weights([scored(rows)]))
    torch.testing.assert_close(gate.score(*scored(rows)), mixture.score(*scored(rows)))


def test_nothing_of_it_is_trained_by_gradient_and_all_is_saved() -> None:
    parts = [Knows(FIRST + 1), Ngram(Ngram.Config(order=2), VOCAB, 1).fit(texts(50, 1))]
    gate = Gate(parts)
    gate.fit_weights([scored(knowing_texts(200, 1))])
    assert not any(parameter.requires_grad for parameter in gate.parameters())
    fresh = Gate([Knows(FIRST + 1), Ngram(Ngram.Config(order=2), VOCAB, 1)])
    fresh.load_state_dict(copy.deepcopy(gate.state_dict()))
    rows = scored(texts(5, 9))
    torch.testing.assert_close(fresh.score(*rows), gate.score(*rows))
    assert fresh.weights == gate.weights

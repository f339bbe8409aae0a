"""The HMM scorer against the sum over all hidden paths; what fitting finds; what it refuses."""

import itertools

import pytest
import torch
from pydantic import ValidationError

from sensorium.core.errors import DataError
from sensorium.core.protocols import CountingScorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.hmm import HiddenMarkov
from sensorium.testing import check_scorer

VOCAB = Vocab.of("abcd")
ALTERNATING = [[BOS, *[4, 5, 6, 7][: 2 * n], EOS] for n in (1, 2)] * 20


def fresh(**options):
    return HiddenMarkov(HiddenMarkov.Config(**options), VOCAB, width=1)


def over_all_paths(model, tokens):
    """log p(tokens) by the definition; after the last token nothing more is asked."""
    start, transition, emission = model.start_.double(), model.transition_.double(), model.emission_.double()
    total = torch.tensor(0.0).double()
    for path in itertools.product(range(len(start)), repeat=len(tokens) - 1):
        p = start[path[0]]
        for a, b in itertools.pairwise(path):
            p = p * transition[a, b]
        for state, token in zip(path, tokens[1:], strict=True):
            p = p * emission[token, state]
        total += p
    return float(total.log())


def test_it_keeps_the_contract_and_equals_the_sum_over_all_paths():
    sequences = [[BOS, *torch.randint(UNK, len(VOCAB), (n % 5,)).tolist(), EOS] for n in range(30)]
    made = []

    def make():
        made.append(fresh(states=3, iterations=5))
        return made[-1]

    check_scorer(
        make,
        fit=lambda scorer: scorer.fit(sequences),
        oracle=lambda tokens, cond: over_all_paths(made[0], tokens),
    )


def test_it_is_a_counting_scorer():
    assert isinstance(fresh(), CountingScorer)


def test_hidden_states_remember_what_one_token_does_not():
    """After 'b b' comes 'a', after 'a b' comes 'b': no distribution given the last token alone says so."""
    sequences = [[BOS, *[4, 5, 5] * 6, EOS]] * 30
    model = min(
        (fresh(states=6, iterations=300, seed=seed).fit(sequences) for seed in range(4)),
        key=lambda fitted: -float(fitted.log_likelihood_),
    )
    ids = torch.tensor([[BOS, 4, 5, 5, 4, 5], [BOS, 4, 5, 5, 4, 5]])
    ids[1, -2:] = torch.tensor([4, 5])
    mask = torch.ones_like(ids, dtype=torch.bool)
    log_p, state = model.extend(model.start(Conditioning.empty(2)), ids, mask)
    assert int(log_p[0].argmax()) == 5
    log_p, _ = model.extend(state, torch.full((2, 1), 5), torch.ones(2, 1, dtype=torch.bool))
    assert int(log_p[0].argmax()) == 4


def test_what_was_not_seen_stays_possible():
    model = fresh(states=2).fit(ALTERNATING)
    ids = torch.tensor([[BOS, UNK, 7, 7, EOS]])
    assert model.score(ids, ids >= 0, Conditioning.empty(1)).isfinite().all()


def test_fitting_twice_and_by_the_same_seed_gives_the_same():
    model = fresh(states=4).fit(ALTERNATING)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.fit(ALTERNATING)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_fresh_scorer_takes_tables_of_any_size():
    saved = fresh(states=5).fit(ALTERNATING)
    other = fresh(states=2)
    other.load_state_dict(saved.state_dict())
    ids = torch.tensor([[BOS, 4, 5, EOS]])
    want, got = (m.score(ids, ids >= 0, Conditioning.empty(1)) for m in (saved, other))
    assert torch.equal(want, got)


def test_tokens_that_no_state_emits_change_nothing():
    model = fresh(states=3).fit(ALTERNATING)
    plain, odd = torch.tensor([[BOS, 4]]), torch.tensor([[BOS, BOS, PAD, 4]])
    want, got = (model.extend(model.start(Conditioning.empty(1)), x, x >= 0)[0] for x in (plain, odd))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "no sequences"),
        ([[BOS, 4, EOS], [4, EOS]], "sequence 1: does not run"),
        ([[BOS, 99, EOS]], "id 99 at place 1"),
        ([[BOS, PAD, EOS]], "id 0 at place 1"),
    ],
)
def test_bad_sequences_are_named(sequences, message):
    with pytest.raises(DataError, match=message):
        fresh().fit(sequences)


@pytest.mark.parametrize("options", [{"states": 0}, {"pseudo_count": 0.0}, {"iterations": 0}])
def test_options_have_limits(options):
    with pytest.raises(ValidationError):
        HiddenMarkov.Config(**options)

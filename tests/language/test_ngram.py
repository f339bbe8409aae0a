"""The n-gram scorer: its tables, its states and its limits; the estimates are test_kneser_ney's."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sensorium.core.errors import DataError, ModelError
from sensorium.core.protocols import CountingScorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.ngram import UNSEEN, Ngram

VOCAB = Vocab.of("abcdefgh")
SEQUENCES = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 5, 6, EOS], [BOS, 4, EOS], [BOS, UNK, 5, EOS]]


def fitted(order=3, sequences=SEQUENCES):
    return Ngram(Ngram.Config(order=order), VOCAB, width=1).fit(sequences)


def next_log_p(model, tokens):
    ids_1T = torch.tensor([tokens])
    return model.extend(model.start(Conditioning.empty(1)), ids_1T, ids_1T >= 0)


def test_it_is_a_counting_scorer():
    assert isinstance(fitted(), CountingScorer)


def test_before_fit_all_words_are_alike():
    log_p_1V, _ = next_log_p(Ngram(Ngram.Config(), VOCAB, width=1), [BOS, 4])
    emitted = log_p_1V[0, torch.arange(len(VOCAB)) > BOS]
    torch.testing.assert_close(emitted.exp(), torch.full((len(VOCAB) - 2,), 1 / (len(VOCAB) - 2)))


def test_fitting_again_forgets_what_was_counted():
    model = fitted().fit([[BOS, 9, EOS]])
    fresh = fitted(sequences=[[BOS, 9, EOS]])
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), fresh.buffers(), strict=True))


def test_what_was_seen_is_likelier():
    log_p_1V, _ = next_log_p(fitted(), [BOS, 4])
    assert int(log_p_1V.argmax()) == 5


def test_the_state_is_the_longest_seen_suffix():
    model = fitted(order=4)
    _, state = next_log_p(model, [BOS, 4, 5])
    assert (state.node_BK != UNSEEN).all()
    _, state = next_log_p(model, [BOS, 7, 4])
    assert (state.node_BK == UNSEEN).tolist() == [[False, True, True]]


def test_unknown_and_unseen_words_have_probability():
    log_p_1V, _ = next_log_p(fitted(), [BOS, UNK])
    assert log_p_1V[0, 9] > -torch.inf
    assert log_p_1V[0, 5] > log_p_1V[0, 9]


def test_ids_outside_the_sequence_are_survived():
    log_p_1V, _ = next_log_p(fitted(), [BOS, EOS, PAD, 4])
    assert log_p_1V.logsumexp(1).abs() < 1e-5


def test_a_fresh_scorer_takes_tables_of_any_size():
    saved = fitted().state_dict()
    small = fitted(sequences=SEQUENCES[:1])
    small.load_state_dict(saved)
    assert torch.equal(next_log_p(small, [BOS, 4])[0], next_log_p(fitted(), [BOS, 4])[0])


def test_an_incomplete_state_dict_is_refused():
    saved = fitted().state_dict()
    del saved["log_p_"]
    with pytest.raises(RuntimeError, match="log_p_"):
        fitted().load_state_dict(saved)


def test_numpy_and_tensor_sequences_count_like_lists():
    model = fitted(sequences=[torch.tensor(sequence) for sequence in SEQUENCES])
    assert torch.equal(model.log_p_, fitted().log_p_)


def test_no_row_is_no_trouble():
    model = fitted()
    state = model.start(Conditioning.empty(0))
    log_p_0V, _ = model.extend(state, torch.empty(0, 1, dtype=torch.int64), torch.empty(0, 1, dtype=torch.bool))
    assert log_p_0V.shape == (0, len(VOCAB))


@pytest.mark.parametrize("order", [0, 17])
def test_the_order_has_limits(order):
    with pytest.raises(ValidationError):
        Ngram.Config(order=order)


@pytest.mark.parametrize("prune", [(1,), (0, 2, 1), (0, 0, 0, 1)])
def test_thresholds_begin_with_0_and_never_sink(prune):
    with pytest.raises(ValidationError, match="prune"):
        Ngram.Config(order=3, prune=prune)


def test_joined_sequences_score_as_rows_do():
    model = fitted()
    token_T = torch.tensor([i for sequence in SEQUENCES for i in sequence])
    rows = [
        model.score(row, row >= 0, Conditioning.empty(1))[0] for row in map(torch.tensor, [[s] for s in SEQUENCES])
    ]
    assert torch.equal(model.score_joined(token_T), torch.cat(rows))


def test_tables_of_another_size_are_refused():
    with pytest.raises(ModelError, match="order 3 over 12 tokens do not fit a scorer of order 2"):
        Ngram(Ngram.Config(order=2), VOCAB, width=1).take(fitted().tables)


@pytest.mark.parametrize(
    "joined", [[], [4, EOS], [BOS, 4], [BOS, 4, EOS, 5, EOS], [BOS, BOS, EOS], [BOS, 99, EOS], [BOS, PAD, EOS]]
)
def test_bad_joined_sequences_are_refused(joined):
    with pytest.raises(DataError, match="sequence"):
        Ngram(Ngram.Config(), VOCAB, width=1).fit_joined(np.array(joined, np.int32))

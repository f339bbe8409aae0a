import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import MarkovTable, topics

from sensorium.core.errors import UsageError
from sensorium.core.vocabulary import EOS
from sensorium.decoding.allowed import AllowedSequences
from sensorium.decoding.beam import Beam
from sensorium.decoding.candidates import score_candidates
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy, Sample

ANSWERS = st.sets(st.lists(st.integers(3, 7), max_size=4).map(tuple), min_size=1, max_size=15).map(sorted)


def words(generated, row=0, rank=0):
    return tuple(generated.token_BKT[row, rank][generated.mask_BKT[row, rank]].tolist())


@settings(max_examples=60, deadline=None)
@given(ANSWERS, st.integers(0, 10**6))
def test_wide_beam_ranks_the_answers_by_their_exact_probability(answers, seed):
    scorer, num_best = MarkovTable(4, seed=seed), min(3, len(answers))
    beam = Beam(width=20, length_penalty=0, n_best=num_best)
    found = generate(scorer, topics(2, 1), search=beam, filters=[AllowedSequences(answers)], max_tokens=6)
    log_p_BN = score_candidates(scorer, topics(2, 1), answers)
    for row in range(2):
        best = log_p_BN[row].topk(num_best)
        assert [words(found, row, k) for k in range(num_best)] == [
            (*answers[i], EOS) for i in best.indices.tolist()
        ]
        torch.testing.assert_close(found.score_BK[row], best.values)


@settings(max_examples=60, deadline=None)
@given(ANSWERS, st.integers(1, 4), st.integers(0, 10**6), st.booleans())
def test_only_answers_come_out_of_narrow_beams(answers, width, seed, renormalise):
    """Beams change places all the time; each must keep its own place in the tree."""
    scorer, beam = MarkovTable(4, seed=seed), Beam(width=width, n_best=width)
    allowed = AllowedSequences(answers, renormalise=renormalise)
    found = generate(scorer, topics(0, 1, 2, 3), search=beam, filters=[allowed], max_tokens=6)
    whole = {(*answer, EOS) for answer in answers}
    for row in range(4):
        for rank in range(width):
            text = words(found, row, rank)
            if found.score_BK[row, rank] > -math.inf:
                assert text in whole
                assert found.log_p_BKT[row, rank, : len(text)].tolist() == pytest.approx(
                    scorer.of_text(row, text), rel=1e-5
                )
    assert found.finished_B.all()


@pytest.mark.parametrize("search", [Greedy(), Sample(seed=2), Sample(top_p=0.9)], ids=str)
def test_single_paths_stay_among_the_answers(search):
    answers = [(3, 4), (3, 5, 6), (7,), (6, 6, 6)]
    found = generate(
        MarkovTable(4), topics(*[0, 1, 2, 3] * 10), search=search, filters=[AllowedSequences(answers)], max_tokens=9
    )
    texts = {words(found, row) for row in range(40)}
    assert texts <= {(*answer, EOS) for answer in answers}
    assert len(texts) > 1


def test_a_prefix_of_an_answer_may_be_an_answer():
    scorer = MarkovTable(4)
    beam = Beam(width=4, n_best=4)
    found = generate(
        scorer, topics(0), search=beam, filters=[AllowedSequences([(3,), (3, 4), (3, 4, 5)])], max_tokens=9
    )
    assert {words(found, 0, k) for k in range(3)} == {(3, EOS), (3, 4, EOS), (3, 4, 5, EOS)}
    assert words(found, 0, 3) == (), "there is no fourth"


def test_renormalised_steps_sum_to_one():
    scorer, answers = MarkovTable(4), [(3, 4), (3, 5), (6,)]
    beam = Beam(width=4, n_best=3, length_penalty=0)
    allowed = AllowedSequences(answers, renormalise=True)
    found = generate(scorer, topics(1), search=beam, filters=[allowed], max_tokens=4)
    assert found.score_BK.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert found.total_BK.exp().sum().item() < 0.9, "log p itself stays the scorer's"


def test_no_answer_is_refused():
    with pytest.raises(UsageError):
        AllowedSequences([])

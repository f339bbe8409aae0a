"""The infinite-gram: its formula against counting by hand, what it learns to trust, teaching and forgetting."""

import math

import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.protocols import CountingScorer, FactualScorer, TeachableScorer, UnrollingScorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.language.infinigram import Infinigram
from sensorium.language.infinigram_keeping import Levels, buckets, fit_keeping, unfitted
from sensorium.testing import check_scorer

VOCAB = Vocab.of("abcd")
FIRST = UNK + 1


def texts(num, seed, length=9):
    """Texts in which longer contexts know more: three sayings, glued together with some letters changed."""
    generator = torch.Generator().manual_seed(seed)
    sayings = [[4, 5, 6, 7, 4], [5, 5, 6, 7, 7], [7, 4, 5, 6, 6]]
    rows = []
    for _ in range(num):
        body = [i for n in torch.randint(3, (2,), generator=generator).tolist() for i in sayings[n]][:length]
        at = int(torch.randint(len(body), (1,), generator=generator))
        body[at] = int(torch.randint(FIRST, len(VOCAB), (1,), generator=generator))
        rows.append([BOS, *body, EOS])
    return rows


def fitted(order=2, rows=None, **options):
    return Infinigram(Infinigram.Config(order=order, **options), VOCAB, 1).fit(
        texts(60, 1) if rows is None else rows
    )


def tensors(rows):
    token_BT = torch.tensor(rows)
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(len(rows))


def occurrences(rows, tail):
    """What follows each occurrence of `tail`, by looking everywhere."""
    n = len(tail)
    return [row[at] for row in rows for at in range(n, len(row)) if row[at - n : at] == tail]


def by_hand(model, rows, before):
    """p(next | before) by the module's formula, counting anew."""
    log_p_BV, _ = model.base.extend(model.base.start(Conditioning.empty(1)), *tensors([before])[:2])
    p_V = log_p_BV[0].double().exp()
    lengths = range(model.config.order, min(len(before), model.config.longest) + 1)
    found = [occurrences(rows, before[-n:]) for n in lengths if EOS not in before[-n:]]
    found = [after for after in found if after]
    alike = 1
    for here, longer in zip(found, [*found[1:], []][: len(found)], strict=True):
        if len(here) == len(longer):
            alike += 1
            continue
        low, high = interval(model, before, len(here))
        num_runs = 1 + int((model.next_[low : high - 1] != model.next_[low + 1 : high]).sum())
        keep = model.keep_[buckets(*(torch.tensor([x]) for x in (len(here), num_runs, alike)))].double()
        share_V = torch.bincount(torch.tensor(here), minlength=len(VOCAB)) / len(here)
        p_V, alike = (1 - keep) * share_V + keep * p_V, 1
    return p_V


def interval(model, before, count):
    """The interval of a context of `before` that occurs so often."""
    for n in range(len(before), 0, -1):
        found = model.index.whole(())
        for token in before[-n:]:
            found = model.index.extend(found, torch.tensor(token))
        if int(found[1] - found[0]) == count:
            return found.tolist()
    raise AssertionError


@pytest.mark.parametrize(("order", "longest"), [(1, 64), (2, 64), (3, 64), (2, 3), (3, 2)])
def test_distributions_are_those_counted_by_hand(order, longest):
    rows = texts(60, 1)
    model = fitted(order, rows, longest=longest)
    for row in [*texts(6, 9), rows[3]]:
        for end in range(1, len(row)):
            token_BT, mask_BT, cond = tensors([row[:end]])
            log_p_BV, _ = model.extend(model.start(cond), token_BT, mask_BT)
            torch.testing.assert_close(
                log_p_BV[0].double().exp(), by_hand(model, rows, row[:end]), rtol=1e-4, atol=1e-6
            )


def test_it_keeps_the_contract_where_contexts_are_long():
    check_scorer(
        lambda: Infinigram(Infinigram.Config(order=2), VOCAB, 1),
        fit=lambda scorer: scorer.fit(texts(60, 1)),
        length=10,
    )


def test_it_is_all_that_a_gate_and_a_product_want():
    for protocol in (CountingScorer, FactualScorer, UnrollingScorer, TeachableScorer):
        assert isinstance(fitted(), protocol)


def test_it_says_more_of_held_out_text_than_the_ngram():
    token_BT, mask_BT, cond = tensors([row for row in texts(200, 5) if len(row) == 11])
    model = fitted(2, texts(400, 1))
    own, base = (scorer.score(token_BT, mask_BT, cond).sum() for scorer in (model, model.base))
    assert own > base + 10


def test_text_of_chance_is_left_to_the_ngram():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(FIRST, len(VOCAB), (400, 12), generator=generator).tolist()
    rows = [[BOS, *row, EOS] for row in rows]
    model = fitted(2, rows[:300], held_out=0.3)
    token_BT, mask_BT, cond = tensors(rows[300:])
    own, base = (scorer.score(token_BT, mask_BT, cond).sum() for scorer in (model, model.base))
    assert own > base - 0.02 * mask_BT.sum()


def test_matches_reach_as_far_as_the_text():
    row = [BOS, *([4, 5, 6, 7, 7, 6, 5, 4] * 9), EOS]
    model = Infinigram(Infinigram.Config(order=2, longest=100), VOCAB, 1).fit([row, [BOS, 4, EOS]])
    token_BT, mask_BT, cond = tensors([row[:-1]])
    _, state = model.extend(model.start(cond), token_BT, mask_BT)
    assert state.interval_BK2.shape[1] == len(row) - 1
    _, state = model.extend(state, torch.tensor([[5]]), mask_BT[:, :1])
    low_K, high_K = state.interval_BK2[0].unbind(-1)
    want = [len(occurrences([row, [BOS, 4, EOS]], [*row[:-1], 5][-n:])) for n in range(1, len(low_K) + 1)]
    assert (high_K - low_K).tolist() == want


def test_facts_tell_the_longest_match():
    rows = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 7, 7, EOS]]
    model = fitted(1, rows)
    facts_TF = model.unroll_facts(*tensors([[BOS, 4, 5, 5]]))[0, :, -3:]
    torch.testing.assert_close(facts_TF[:, 0].exp2() - 1, torch.tensor([1.0, 2.0, 3.0, 1.0]))
    torch.testing.assert_close(facts_TF[:, 1].exp(), torch.tensor([3.0, 2.0, 2.0, 2.0]))
    assert (facts_TF[:, 2] < 0).all()
    nowhere = model.unroll_facts(*tensors([[UNK]]))[0, 0, -3:]
    assert nowhere.tolist() == [0, 0, 0]


def test_facts_step_by_step_are_those_at_once():
    model, (token_BT, mask_BT, cond) = fitted(), tensors([[BOS, 4, 5, 6, 7], [BOS, 7, 7, 4, 5]])
    state, found = model.start(cond), []
    for t in range(token_BT.shape[1]):
        _, state = model.extend(state, token_BT[:, t : t + 1], mask_BT[:, :1])
        found.append(model.facts(state))
    torch.testing.assert_close(torch.stack(found, 1), model.unroll_facts(token_BT, mask_BT, cond))


def test_ids_outside_the_sequence_are_survived():
    token_BT, mask_BT, cond = tensors([[BOS, EOS, PAD, 4], [BOS, 4, BOS, 4]])
    log_p_BV, _ = fitted().extend(fitted().start(cond), token_BT, mask_BT)
    assert log_p_BV.logsumexp(1).abs().max() < 1e-5


def test_no_sequences_are_refused():
    with pytest.raises(DataError, match="no sequences"):
        Infinigram(Infinigram.Config(), VOCAB, 1).fit([])


def test_what_is_kept_is_what_em_finds_for_one_bucket():
    """One context a position: the best share k of sum log((1-k) s + k b) by trying all."""
    share_M, base_N = torch.rand(500), torch.rand(500)
    nothing_M = torch.zeros(500, dtype=torch.int64)
    levels = Levels(torch.arange(500), nothing_M, torch.zeros(500, 2, dtype=torch.int64), nothing_M, 500, 1)
    keep = fit_keeping(levels, share_M, base_N)
    tried = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)[:, None]
    value = ((1 - tried) * share_M + tried * base_N).log().sum(1)
    believed = 20 * (0.9 * tried[:, 0].log() + 0.1 * (1 - tried[:, 0]).log())
    assert abs(float(keep[0]) - float(tried[(value + believed).argmax()])) < 0.05
    assert torch.equal(keep[1:], unfitted()[1:])


def test_what_is_taught_counts_as_if_it_had_been_there():
    rows, more = texts(40, 1), texts(5, 2)
    taught = fitted(2, rows).teach([(row, 1 + n % 3) for n, row in enumerate(more)])
    together = fitted(2, rows)
    together._count([*rows, *(row for n, row in enumerate(more) for _ in range(1 + n % 3))])
    token_BT, mask_BT, cond = tensors([row for row in texts(30, 5) + more if len(row) == 11])
    torch.testing.assert_close(taught.score(token_BT, mask_BT, cond), together.score(token_BT, mask_BT, cond))
    assert len(taught.next_) == len(together.next_)


def test_teaching_replaces_what_was_taught_and_nothing_restores_what_was_fitted():
    model = fitted()
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.teach([([BOS, 4, 4, 4, EOS], 5)])
    assert len(model.next_) == len(saved["next_"]) + 25
    model.teach([([BOS, 4, EOS], 1)])
    assert len(model.next_) == len(saved["next_"]) + 3
    model.teach([])
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_a_taught_phrase_is_said():
    phrase = [BOS, 7, 7, 7, 6, 6, 4, EOS]
    token_BT, mask_BT, cond = tensors([phrase])
    model = fitted(2, texts(100, 1))
    before = model.score(token_BT, mask_BT, cond).sum()
    assert model.teach([(phrase, 1)]).score(token_BT, mask_BT, cond).sum() > before + math.log(2)


def test_a_text_that_is_none_is_refused_and_nothing_is_taught():
    model = fitted()
    with pytest.raises(DataError, match="BOS"):
        model.teach([([4, 5], 1)])
    assert model._fitted is None

"""The CRF scorer keeps the contract on sentences of unequal length, and equals enumeration."""

import itertools

import pytest
import torch

from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language.crf import Crf
from sensorium.testing import check_scorer

VOCAB = Vocab.of(["O", "B-X", "I-X"])
WIDTH = 6


def sentences(num_rows: int, names: tuple[str, ...] = ("words",)) -> Conditioning:
    """Rows of 7, 3, 6 and no words (the input is absent), with a memory beside them."""
    generator = torch.Generator().manual_seed(num_rows)
    length_B = torch.tensor([7, 3, 6, 1])[:num_rows]
    parts = {}
    for name in names:
        mask_BT = torch.arange(7) < length_B[:, None]
        x_BTD = torch.randn(num_rows, 7, WIDTH, generator=generator)
        parts[name] = Encoded(torch.where(mask_BT[..., None], x_BTD, 0), mask_BT, torch.arange(num_rows) < 3)
    memory_BMD = torch.randn(num_rows, 3, WIDTH, generator=generator)
    memory = Encoded(memory_BMD, torch.rand(num_rows, 3, generator=generator) < 0.7, torch.ones(num_rows).bool())
    return Conditioning(memory, parts)


def make(**options) -> Crf:
    scorer = Crf(Crf.Config(**options), VOCAB, WIDTH)
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return scorer


def enumerated(scorer: Crf):
    """log p by summing the scores of every tag sequence of the sentence's length."""

    def oracle(tokens, cond) -> float:
        chain = scorer.chain(cond)
        length, tags = int(chain.length_B[0]), range(scorer.num_tags)
        paths = list(itertools.product(tags, repeat=length))
        path_PT = torch.tensor(paths, dtype=torch.int64)
        score_P = chain.emission_BTS[0, torch.arange(length), path_PT].sum(1)
        score_P = score_P + chain.step_SS[path_PT[:, :-1], path_PT[:, 1:]].sum(1)
        if length:
            score_P = score_P + chain.first_S[path_PT[:, 0]] + chain.last_S[path_PT[:, -1]]
        log_p = score_P.log_softmax(0)
        body = tokens[1:-1] if tokens[-1] == EOS else tokens[1:]
        path = tuple(token - UNK for token in body)
        if len(path) > length or any(tag < 0 for tag in path) or (tokens[-1] == EOS and len(path) != length):
            return -torch.inf
        same = [i for i, other in enumerate(paths) if other[: len(path)] == path]
        return log_p[same].logsumexp(0).item()

    return oracle


@pytest.mark.parametrize(
    "options",
    [{}, {"transitions": False}, {"project": False}, {"hidden": 5, "context": "memory"}, {"inputs": ("words",)}],
    ids=str,
)
def test_crf_keeps_the_contract(options):
    check_scorer(lambda: make(**options), sentences, learns_from_nothing=False)


@pytest.mark.parametrize("options", [{}, {"transitions": False}, {"context": "memory"}], ids=str)
def test_score_equals_enumeration(options):
    torch.manual_seed(0)
    scorer, cond = make(**options), sentences(4)
    oracle = enumerated(scorer)
    length_B = [7, 3, 6, 0]
    for row, length in enumerate(length_B):
        alone = Conditioning(
            *(Encoded(e.x_BTD[[row]], e.mask_BT[[row]], e.present_B[[row]]) for e in (cond.memory,)),
            {
                "words": Encoded(
                    *(getattr(cond.parts["words"], n)[[row]] for n in ("x_BTD", "mask_BT", "present_B"))
                )
            },
        )
        for body in (length, length - 1, length + 1):
            if body < 0:
                continue
            tokens = [BOS, *torch.randint(UNK, len(VOCAB), (body,)).tolist()]
            for whole in (tokens, [*tokens, EOS]):
                token_1T = torch.tensor([whole])
                got = scorer.score(token_1T, torch.ones_like(token_1T, dtype=torch.bool), alone).sum()
                assert got.item() == pytest.approx(oracle(whole, alone), abs=1e-4), (row, whole)


def test_best_is_the_likeliest_sequence_and_never_unknown():
    torch.manual_seed(1)
    scorer, cond = make(), sentences(4)
    token_BKT, log_p_BK, length_B = scorer.best(cond, num_best=3)
    assert length_B.tolist() == [7, 3, 6, 0]
    row = 1
    sequences = list(itertools.product(range(UNK + 1, len(VOCAB)), repeat=3))
    token_NT = torch.tensor([[BOS, *sequence, EOS] for sequence in sequences])
    some = Conditioning(
        Encoded(*(getattr(cond.memory, n)[[row] * len(sequences)] for n in ("x_BTD", "mask_BT", "present_B"))),
        {
            "words": Encoded(
                *(
                    getattr(cond.parts["words"], n)[[row] * len(sequences)]
                    for n in ("x_BTD", "mask_BT", "present_B")
                )
            )
        },
    )
    log_p_N = scorer.score(token_NT, torch.ones_like(token_NT, dtype=torch.bool), some).sum(1)
    top = log_p_N.topk(3)
    torch.testing.assert_close(log_p_BK[row], top.values)
    assert token_BKT[row, :, :3].tolist() == [list(sequences[i]) for i in top.indices.tolist()]
    p_BTV = scorer.marginals(cond)
    torch.testing.assert_close(p_BTV.sum(-1), (torch.arange(7) < length_B[:, None]).float())


def test_encodings_of_several_inputs_are_added_up():
    scorer = make(inputs=("words", "letters"))
    cond = sentences(2, ("words", "letters"))
    both = scorer.chain(cond).emission_BTS
    added = cond.parts["words"].x_BTD + cond.parts["letters"].x_BTD
    torch.testing.assert_close(both, scorer.emit(added))
    one = Conditioning(cond.memory, {"letters": cond.parts["letters"]})
    torch.testing.assert_close(scorer.chain(one).emission_BTS, scorer.emit(cond.parts["letters"].x_BTD))


def test_a_crf_that_cannot_tell_what_to_tag_says_so():
    with pytest.raises(ModelError, match=r"which of words, letters to tag.*inputs = \[\"words\"\]"):
        make().chain(sentences(2, ("words", "letters")))
    with pytest.raises(ModelError, match=r"4 tags cannot be read off encodings of width 3"):
        Crf(Crf.Config(project=False), VOCAB, 3)


def test_a_photo_may_condition_every_tag():
    cond = sentences(2)
    other = Conditioning(Encoded(cond.memory.x_BTD + 1, cond.memory.mask_BT, cond.memory.present_B), cond.parts)
    for context, is_equal in (("none", True), ("memory", False)):
        scorer = make(context=context)
        first, second = (scorer.chain(c).emission_BTS for c in (cond, other))
        assert torch.allclose(first, second) == is_equal

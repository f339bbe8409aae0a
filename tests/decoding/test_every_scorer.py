"""Decoding over the real scorers, with their own `score` as oracle."""

import json
from dataclasses import replace

import pytest
import torch

from sensorium.core import registry
from sensorium.core.protocols import CountingScorer, EvidenceScorer
from sensorium.core.pytree import map_tensors, select
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, BorrowedVocab, Vocab
from sensorium.decoding.allowed import AllowedSequences
from sensorium.decoding.beam import Beam
from sensorium.decoding.candidates import score_candidates
from sensorium.decoding.filters import MinLength
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy, Sample
from sensorium.language.pieces import score_in_pieces
from sensorium.language.registry import COMPOSITIONS, ENTRY_POINTS, SCORERS

VOCAB = Vocab.of("abcdefgh")
WIDTH = 16
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
LLAMA = {"layers": 2, "width": 8, "hidden": 12, "heads": 4, "kv_heads": 2, "head_width": 4}
BORROWED = BorrowedVocab(VOCAB.tokens, source_ids=tuple(range(len(VOCAB))))
UNREAD = {"source": "nowhere", "pretrained": False, "frozen": False}
PUBLISHED = {
    "hf": UNREAD | {"architecture": json.dumps(GPT2)},
    "llama": UNREAD | {"shape": LLAMA},
    "packaged": UNREAD | {"shape": LLAMA},
}
SENTENCES = [[BOS, 4, 5, 6, 7, EOS], [BOS, 4, 5, 8, EOS], [BOS, 9, 10, 4, 5, 6, EOS], [BOS, 11, EOS]] * 3


def make(name):
    """One scorer by name; a composition mixes counting and gradients."""
    torch.manual_seed(3)
    if name in COMPOSITIONS:
        composition = registry.load(COMPOSITIONS, ENTRY_POINTS, name)
        parts = ("crf", "crf") if name == "chain" else ("ngram", "transformer")
        return composition([make(part) for part in parts]).eval()
    component = registry.load(SCORERS, ENTRY_POINTS, name)
    vocab = BORROWED if name in PUBLISHED else VOCAB
    scorer = component(component.Config(**PUBLISHED.get(name, {})), vocab, WIDTH).eval()
    if isinstance(scorer, CountingScorer):
        scorer.fit(SENTENCES)
    if isinstance(scorer, EvidenceScorer):
        token_BT = torch.tensor([[BOS, label, EOS] for label in (4, 4, 5, 11)])
        scorer.observe(token_BT, token_BT >= 0, Conditioning.empty(len(token_BT)))
        scorer.estimate()
    return scorer


@pytest.fixture(scope="module", params=[*SCORERS, *COMPOSITIONS])
def scorer(request):
    return make(request.param)


def memory(num_rows, length=3):
    x_BTD = torch.randn(num_rows, length, WIDTH, generator=torch.Generator().manual_seed(5))
    return Conditioning(Encoded(x_BTD, torch.ones(num_rows, length).bool(), torch.ones(num_rows).bool()))


def scored(scorer, cond, token_BT, mask_BT):
    """log p of each generated token by `score`, BOS in front."""
    first_B1 = torch.full_like(token_BT[:, :1], BOS)
    token_BT, mask_BT = torch.cat([first_B1, token_BT], 1), torch.cat([first_B1 == BOS, mask_BT], 1)
    with torch.no_grad():
        return scorer.score(token_BT, mask_BT, cond)[:, 1:]


SEARCHES = [Greedy(), Sample(seed=4), Beam(width=3, n_best=3)]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
@pytest.mark.parametrize("num_rows", [1, 4])
def test_log_p_of_what_was_generated_is_its_score(scorer, search, num_rows):
    cond = memory(num_rows)
    found = generate(scorer, cond, search=search, filters=[MinLength(2)], max_tokens=9)
    for rank in range(found.token_BKT.shape[1]):
        want_BT = scored(scorer, cond, found.token_BKT[:, rank], found.mask_BKT[:, rank])
        torch.testing.assert_close(found.log_p_BKT[:, rank], want_BT, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_a_row_alone_says_the_same(scorer, search):
    cond = memory(4)
    together = generate(scorer, cond, search=search, max_tokens=8)
    for row in range(4 if not isinstance(search, Sample) else 1):
        own = map_tensors(cond, lambda x, row=row: x[row : row + 1])
        alone = generate(scorer, own, search=search, max_tokens=8)
        assert alone.token_BT[alone.mask_BT].tolist() == together.token_BT[row][together.mask_BT[row]].tolist()


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_no_rows_say_nothing(scorer, search):
    nobody = select(memory(2), torch.empty(0, dtype=torch.int64))
    found = generate(scorer, nobody, search=search, filters=[MinLength(2)], max_tokens=4)
    assert found.token_BKT.shape[0] == 0
    assert found.score_BK.shape == (0, 3 if isinstance(search, Beam) else 1)
    assert score_candidates(scorer, nobody, [(4,), (5, 6)]).shape == (0, 2)
    no_tokens = torch.zeros(0, 4, dtype=torch.int64)
    assert score_in_pieces(scorer, no_tokens, no_tokens.bool(), nobody).shape == (0, 4)


@pytest.mark.parametrize("search", [*SEARCHES, Sample(seed=4, draws=3)], ids=str)
def test_rows_say_the_same_in_any_batch_and_order(scorer, search):
    cond = replace(memory(5), row_id_B=torch.arange(5))
    whole = generate(scorer, cond, search=search, max_tokens=6)
    for row_N in torch.tensor([3, 0, 4, 4, 1, 2]).split(4):
        part = generate(scorer, select(cond, row_N), search=search, max_tokens=6)
        torch.testing.assert_close(part.score_BK, whole.score_BK[row_N], rtol=0, atol=1e-4)
        length = part.token_BKT.shape[2]
        assert torch.equal(part.token_BKT, whole.token_BKT[row_N, :, :length])
    texts = [(4, 5, 6), (9,), (4, 8, 8, 4)]
    log_p_BN, row_N = score_candidates(scorer, cond, texts), torch.tensor([2, 2, 0])
    torch.testing.assert_close(
        score_candidates(scorer, select(cond, row_N), texts), log_p_BN[row_N], atol=1e-4, rtol=0
    )


def test_candidates_have_their_scores(scorer):
    cond, texts = memory(3), [(4, 5, 6), (4, 5), (9,), (4, 8, 8, 4), (11, 4)]
    token_NT = torch.full((len(texts), 5), PAD)
    for n, text in enumerate(texts):
        token_NT[n, : len(text) + 1] = torch.tensor([*text, EOS])
    for max_rows in (3, 256):
        log_p_BN = score_candidates(scorer, cond, texts, max_rows=max_rows)
        for row in range(3):
            own = select(cond, torch.full((len(texts),), row))
            want_N = scored(scorer, own, token_NT, token_NT != PAD).sum(1)
            torch.testing.assert_close(log_p_BN[row], want_N, rtol=1e-3, atol=1e-4)


def test_the_best_answer_is_found_by_search_and_by_scoring_alike(scorer):
    cond, texts = memory(3), [(4, 5, 6, 7), (4, 5, 8), (11,), (10, 10)]
    log_p_BN = score_candidates(scorer, cond, texts)
    beam = Beam(width=4, length_penalty=0)
    found = generate(scorer, cond, search=beam, filters=[AllowedSequences(texts)], max_tokens=6)
    torch.testing.assert_close(found.total_B, log_p_BN.amax(1), rtol=1e-3, atol=1e-4)
    assert UNK not in found.token_BT

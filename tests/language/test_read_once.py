"""A scorer that others read runs once a text: in judging, in fitting weights, and in explaining."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.explain import scorers
from sensorium.language.gate import Gate
from sensorium.language.mixture import Mixture
from sensorium.language.nearest_neighbours import NearestNeighbours
from sensorium.language.ngram import Ngram
from sensorium.language.parts import Parts, unroll
from sensorium.language.product import Product
from sensorium.language.recurrent import Recurrent
from sensorium.language.transformer import Transformer

VOCAB = Vocab.of("abcd")
ROWS = [[BOS, 4, 5, 6, EOS], [BOS, 4, 5, 7, EOS], [BOS, 7, 7, 4, EOS]]
TOKEN_BT = torch.tensor([[BOS, 4, 5, 6, EOS], [BOS, 7, EOS, 0, 0]])
MASK_BT = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
EMPTY = Conditioning.empty(2)


def parts_of(kind, **options):
    torch.manual_seed(2)
    decoder = kind(kind.Config(width=8, layers=1, **options), VOCAB, 4).eval()
    config = NearestNeighbours.Config(temperature=4.0, neighbours=3)
    memories = [NearestNeighbours(config, VOCAB, 4).read(decoder).eval() for _ in range(2)]
    token_BT = torch.tensor(ROWS)
    for memory in memories:
        memory.remember(token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(3))
        memory.settle()
    return [memories[0], decoder, Ngram(Ngram.Config(order=2), VOCAB, 4).fit(ROWS), memories[1]]


def counted(monkeypatch, kind):
    """Count how often a decoder's layers run over texts, and its output layer."""
    calls = Counter()
    for name in ("unroll_hidden", "predict"):
        real = getattr(kind, name)

        def told(self, *args, real=real, name=name):
            calls[name] += 1
            return real(self, *args)

        monkeypatch.setattr(kind, name, told)
    return calls


@pytest.mark.parametrize("kind", [Transformer, Recurrent])
@pytest.mark.parametrize("composed", [Mixture, Product, Gate])
def test_a_text_runs_the_scorer_that_others_read_once(monkeypatch, composed, kind):
    options = {"heads": 2} if kind is Transformer else {}
    scorer = composed(parts_of(kind, **options))
    calls = counted(monkeypatch, kind)
    for ask in (scorer.score, scorer.shares, scorer.score_parts, lambda *row: scorer.fit_weights([row])):
        calls.clear()
        with torch.no_grad():
            ask(TOKEN_BT, MASK_BT, EMPTY)
        assert calls == {"unroll_hidden": 1, "predict": 1}, ask


@pytest.mark.parametrize("composed", [Mixture, Product, Gate])
def test_an_explained_text_runs_it_once(monkeypatch, composed):
    parts = parts_of(Transformer, heads=2)
    scorer = composed(parts)
    names = dict(zip(["memory", "transformer", "ngram", "other"], parts, strict=True))
    model = SimpleNamespace(
        parts=names, scorer=scorer, vocab=VOCAB, config=SimpleNamespace(language=SimpleNamespace(mix="m"))
    )
    model.sequences, model.condition = lambda ids: (TOKEN_BT, MASK_BT), lambda batch: EMPTY
    want_BT = scorer.score(TOKEN_BT, MASK_BT, EMPTY)
    calls = counted(monkeypatch, Transformer)
    first, second = scorers.explain(model, None, ["a", "b"], [[4, 5, 6, EOS], [7, EOS]])
    assert calls == {"unroll_hidden": 1, "predict": 1}
    assert [token.log_p for token in first.tokens] == pytest.approx(want_BT[0, 1:].tolist(), abs=1e-5)
    assert [token.log_p for token in second.tokens] == pytest.approx(want_BT[1, 1:3].tolist(), abs=1e-5)


@pytest.mark.parametrize("most", [1, 1 << 24])
@pytest.mark.parametrize("composed", [Mixture, Product, Gate])
def test_shares_of_rows_cut_into_pieces_are_the_same(monkeypatch, composed, most):
    monkeypatch.setattr("sensorium.language.pieces.MOST_NUMBERS", most)
    scorer = composed(parts_of(Transformer, heads=2))
    model = SimpleNamespace(parts=dict(enumerate(scorer.parts)), scorer=scorer, vocab=VOCAB)
    got, want = scorers._shares(model, TOKEN_BT, MASK_BT, EMPTY), scorer.shares(TOKEN_BT, MASK_BT, EMPTY)
    for name in ("log_p_KBT", "weight_KBT", "share_KBT", "together_BT"):
        torch.testing.assert_close(
            getattr(got, name)[..., MASK_BT], getattr(want, name)[..., MASK_BT], atol=1e-5, rtol=0
        )


def test_what_is_shared_is_what_each_part_says_itself():
    parts = parts_of(Transformer, heads=2)
    together = Parts(parts)
    log_p_KBTV, facts = together.unroll_with_facts(TOKEN_BT, MASK_BT, EMPTY)
    alone = [unroll(part, TOKEN_BT, MASK_BT, EMPTY) for part in parts]
    torch.testing.assert_close(log_p_KBTV[:, MASK_BT], torch.stack(alone)[:, MASK_BT])
    told = [part.unroll_facts(TOKEN_BT, MASK_BT, EMPTY) for part in (parts[0], parts[2], parts[3])]
    for got_BTF, want_BTF in zip(facts, told, strict=True):
        torch.testing.assert_close(got_BTF[MASK_BT], want_BTF[MASK_BT])
    scored = [part.score(TOKEN_BT, MASK_BT, EMPTY) for part in parts]
    torch.testing.assert_close(together.score(TOKEN_BT, MASK_BT, EMPTY), torch.stack(scored))

"""What scorers hold at once is bounded by rows x positions x words, not by what was remembered or by a square."""

import random

import pytest
import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, Vocab
from sensorium.encoders.text_bag import counts_in_text
from sensorium.language import nearest_neighbours, pieces
from sensorium.language.gate import Gate
from sensorium.language.infinigram import Infinigram
from sensorium.language.mixture import Mixture
from sensorium.language.nearest_neighbours import NearestNeighbours
from sensorium.language.ngram import Ngram
from sensorium.language.pieces import score_in_pieces
from sensorium.language.product import Product
from sensorium.language.transformer import Transformer


def rows_of(num_rows, length, vocab, seed=0):
    token_BT = torch.randint(4, len(vocab), (num_rows, length), generator=torch.Generator().manual_seed(seed))
    token_BT[:, 0] = BOS
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(num_rows)


def small_transformer(vocab):
    torch.manual_seed(0)
    return Transformer(Transformer.Config(layers=1, width=8, heads=2, conditioning="none"), vocab, 4).eval()


@pytest.mark.parametrize("composition", [Mixture, Product, Gate])
def test_rows_are_scored_in_pieces_and_alike(composition, monkeypatch, largest_tensor):
    vocab = Vocab.of(f"w{i}" for i in range(300))
    counts = Ngram(Ngram.Config(order=2), vocab, 4).fit([[BOS, 4, 5, EOS], [BOS, 4, 6, EOS]] * 3)
    scorer = composition([small_transformer(vocab), counts]).eval()
    token_BT, mask_BT, cond = rows_of(60, 9, vocab)
    mask_BT[::3, 5:] = False
    with torch.inference_mode():
        whole_BT = scorer.score(token_BT, mask_BT, cond)
        monkeypatch.setattr(pieces, "MOST_NUMBERS", 4 * 9 * len(vocab))
        with largest_tensor:
            cut_BT = score_in_pieces(scorer, token_BT, mask_BT, cond)
    torch.testing.assert_close(cut_BT, whole_BT, rtol=1e-5, atol=1e-5)
    assert largest_tensor.numbers <= 3 * 4 * 9 * len(vocab)


def test_infinigram_looks_words_up_where_a_context_occurs_often(largest_tensor):
    vocab, g = Vocab.of(f"w{i}" for i in range(30)), random.Random(0)

    def text():
        return [BOS, 4, 5, 6, 7, 8, 9 + g.randrange(20), 30, EOS]

    scorer = Infinigram(Infinigram.Config(order=3), vocab, 4).fit([text() for _ in range(3000)])
    token_BT = torch.tensor([text() for _ in range(20)])
    mask_BT, cond = torch.ones_like(token_BT, dtype=torch.bool), Conditioning.empty(20)
    scorer.index  # noqa: B018  (sorted once, over all places)
    with largest_tensor:
        log_p_BTV = scorer.unroll(token_BT, mask_BT, cond)
    torch.testing.assert_close(log_p_BTV.exp().sum(-1), torch.ones(token_BT.shape), rtol=1e-5, atol=1e-5)
    want_BT = scorer.score(token_BT, mask_BT, cond)[:, 1:]
    found_BT = log_p_BTV[:, :-1].gather(2, token_BT[:, 1:, None])[..., 0]
    torch.testing.assert_close(found_BT, want_BT, rtol=1e-5, atol=1e-5)
    levels = 2 * token_BT.shape[1]
    assert largest_tensor.numbers <= levels * token_BT.numel() * len(vocab)
    assert largest_tensor.numbers < 20 * 3000


def test_words_of_a_long_text_are_counted_without_its_square(largest_tensor):
    token_UT = torch.randint(4, 40, (3, 200), generator=torch.Generator().manual_seed(0))
    mask_UT = torch.rand(3, 200, generator=torch.Generator().manual_seed(1)) < 0.8
    want_UT = ((token_UT[:, :, None] == token_UT[:, None, :]) & mask_UT[:, None, :]).sum(-1).float()
    with largest_tensor:
        assert torch.equal(counts_in_text(token_UT, mask_UT), want_UT)
    assert largest_tensor.numbers <= token_UT.numel()


def test_a_memory_is_tuned_in_pieces_and_alike(monkeypatch, largest_tensor):
    vocab = Vocab.of(f"w{i}" for i in range(500))
    memory = NearestNeighbours(NearestNeighbours.Config(neighbours=4), vocab, 4).read(small_transformer(vocab))
    memory.remember(*rows_of(8, 12, vocab))
    memory.settle()
    held_out = [rows_of(8, 12, vocab, seed) for seed in (1, 2)]
    memory.tune(held_out)
    whole = float(memory.temperature_)
    monkeypatch.setattr(nearest_neighbours, "_MOST_NUMBERS", 10 * len(vocab))
    with largest_tensor:
        memory.tune(held_out)
    assert float(memory.temperature_) == pytest.approx(whole)
    assert largest_tensor.numbers <= 2 * 10 * len(vocab) + 2 * 8 * 12 * 100

"""Bags against counts and scikit-learn; the transformer's parts against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn

from sensorium.core.rotary import Rotary, rotate
from sensorium.core.types import MediaBatch
from sensorium.data.text_preparer import TextPreparer
from sensorium.encoders.self_attention import EncoderBlock, SelfAttention
from sensorium.encoders.text_bag import counts_in_text
from sensorium.encoders.text_bag_of_words import TextBagOfWords
from sensorium.encoders.text_embedding import TextEmbedding
from sensorium.encoders.text_gru import TextGRU
from sensorium.encoders.text_tfidf import TextTfidf
from sensorium.encoders.text_transformer import TextTransformer

TEXTS = ["the cat saw the dog", "a dog", "the the the cat", "a bird saw a cat and the dog"]


@pytest.fixture(scope="module")
def preparer() -> TextPreparer:
    return TextPreparer(tokenizer="word").fit(TEXTS)


def batch(preparer: TextPreparer) -> tuple[torch.Tensor, torch.Tensor]:
    return preparer.collate([preparer(text) for text in TEXTS])


def counts(preparer: TextPreparer) -> torch.Tensor:
    count_UV = torch.zeros(len(TEXTS), len(preparer.vocab))
    for u, text in enumerate(TEXTS):
        for token in preparer(text).tolist():
            count_UV[u, token] += 1
    return count_UV


def test_bag_of_words_is_linear_in_counts(preparer: TextPreparer) -> None:
    encoder = TextBagOfWords(TextBagOfWords.Config(hidden=6), preparer, 5)
    x_UTF, mask_UT = encoder.features(*batch(preparer))
    torch.testing.assert_close(x_UTF[:, 0], counts(preparer) @ encoder.embed.weight)
    assert mask_UT is not None
    assert mask_UT.tolist() == [[True]] * len(TEXTS)
    assert isinstance(encoder.outlet.norm, nn.Identity), "a norm would make it other than linear"


def test_embedding_is_the_mean(preparer: TextPreparer) -> None:
    encoder = TextEmbedding(TextEmbedding.Config(hidden=6), preparer, 5)
    x_UTF, _ = encoder.features(*batch(preparer))
    want = torch.stack([encoder.embed(preparer(text)).mean(0) for text in TEXTS])
    torch.testing.assert_close(x_UTF[:, 0], want)


def test_tfidf_is_scikit_learns(preparer: TextPreparer) -> None:
    encoder = TextTfidf(TextTfidf.Config(hidden=6), preparer, 5)
    vectoriser = TfidfVectorizer(analyzer=str.split).fit(TEXTS)
    want_UV = torch.zeros(len(TEXTS), len(preparer.vocab))
    for term, column in vectoriser.vocabulary_.items():
        dense = vectoriser.transform(TEXTS).toarray()[:, column]
        want_UV[:, preparer.vocab.id(term)] = torch.from_numpy(dense).float()
    x_UTF, _ = encoder.features(*batch(preparer))
    torch.testing.assert_close(x_UTF[:, 0], want_UV @ encoder.embed.weight)


def test_tfidf_is_saved_with_the_weights(preparer: TextPreparer) -> None:
    assert "idf_" in TextTfidf(TextTfidf.Config(), preparer, 5).state_dict()


@given(st.lists(st.lists(st.integers(4, 9), min_size=1, max_size=7), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_counts_in_text_are_counts(texts: list[list[int]]) -> None:
    length = max(map(len, texts))
    token_UT = torch.tensor([text + [4] * (length - len(text)) for text in texts])
    mask_UT = torch.tensor([[True] * len(text) + [False] * (length - len(text)) for text in texts])
    got_UT = counts_in_text(token_UT, mask_UT)
    for u, text in enumerate(texts):
        assert got_UT[u, : len(text)].tolist() == [text.count(token) for token in text]


@pytest.mark.parametrize("encoder_class", [TextBagOfWords, TextGRU, TextTransformer])
def test_an_empty_text_is_absent(encoder_class: Any, preparer: TextPreparer) -> None:
    encoder = encoder_class(encoder_class.Config(), preparer, 8).eval()
    token_UT, mask_UT = batch(preparer)
    mask_UT = mask_UT.clone()
    mask_UT[1] = False
    with torch.no_grad():
        encoded = encoder(MediaBatch(token_UT, mask_UT, torch.tensor([0, 1, -1])))
        none = encoder(MediaBatch(token_UT[:, :0], mask_UT[:, :0], torch.tensor([0, -1])))
    assert encoded.present_B.tolist() == [True, False, False]
    assert torch.equal(encoded.x_BTD[1], encoded.x_BTD[2])
    assert encoded.x_BTD.isfinite().all()
    assert none.present_B.tolist() == [False, False]


def test_no_mask_means_all_real(preparer: TextPreparer) -> None:
    encoder = TextGRU(TextGRU.Config(), preparer, 8).eval()
    token_UT = preparer(TEXTS[0])[None]
    full = torch.ones_like(token_UT, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(encoder.features(token_UT, None)[0], encoder.features(token_UT, full)[0])


def test_self_attention_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(12, 3).eval(), nn.MultiheadAttention(12, 3, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())  # the names are the same on purpose
    x_UTF = torch.randn(4, 6, 12)
    mask_UT = torch.arange(6) < torch.tensor([6, 1, 3, 5])[:, None]
    with torch.no_grad():
        got = ours(x_UTF, mask_UT)
        want, _ = theirs(x_UTF, x_UTF, x_UTF, key_padding_mask=~mask_UT, need_weights=False)
    torch.testing.assert_close(got[mask_UT], want[mask_UT])


def test_encoder_block_is_torchs() -> None:
    torch.manual_seed(0)
    ours = EncoderBlock(12, 3, 24).eval()
    theirs = nn.TransformerEncoderLayer(12, 3, 24, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    names = {
        "ln_1": "norm1",
        "ln_2": "norm2",
        "self_attention": "self_attn",
        "mlp.0": "linear1",
        "mlp.3": "linear2",
    }
    state = {}
    for name, tensor in ours.state_dict().items():
        start = next(start for start in names if name.startswith(start))
        state[names[start] + name.removeprefix(start)] = tensor
    theirs.load_state_dict(state)
    x_UTF = torch.randn(2, 5, 12, requires_grad=True)
    torch.testing.assert_close(ours(x_UTF), theirs(x_UTF))


def test_a_row_without_a_real_position_is_finite() -> None:
    x_UTF = torch.randn(2, 3, 8)
    mask_UT = torch.tensor([[True, False, False], [False, False, False]])
    assert SelfAttention(8, 2)(x_UTF, mask_UT).isfinite().all()


def test_rotation_is_multiplication_by_a_unit_complex_number() -> None:
    x_THd = torch.randn(7, 8)
    rate_d = 100.0 ** -(torch.arange(0, 8, 2) / 8)
    turn = torch.polar(torch.ones(7, 4), torch.arange(7)[:, None] * rate_d)
    want = torch.view_as_real(torch.complex(x_THd[:, :4], x_THd[:, 4:]) * turn)
    got = rotate(x_THd, *Rotary(8, base=100.0).turn(7))
    torch.testing.assert_close(got, torch.cat([want[..., 0], want[..., 1]], dim=-1))


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_rotated_products_depend_on_distance_alone(first: int, second: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(8, generator=generator), torch.randn(8, generator=generator)
    turn = Rotary(8).turn(60)

    def product(i: int, j: int) -> torch.Tensor:
        return rotate(query.expand(60, 8), *turn)[i] @ rotate(key.expand(60, 8), *turn)[j]

    torch.testing.assert_close(product(first, second), product(first + shift, second + shift), rtol=1e-3, atol=1e-4)


def test_the_transformer_knows_order(preparer: TextPreparer) -> None:
    encoder = TextTransformer(TextTransformer.Config(dropout=0.0), preparer, 8).eval()
    token_UT = preparer("the cat saw a dog")[None]
    with torch.no_grad():
        forwards = encoder.features(token_UT, None)[0].mean(1)
        backwards = encoder.features(token_UT.flip(1), None)[0].mean(1)
    assert not torch.allclose(forwards, backwards, atol=1e-4)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (TextTransformer, {"hidden": 36, "heads": 4}),
        (TextGRU, {"hidden": 7}),
        (TextGRU, {"layers": 0}),
        (TextGRU, {"dropout": 1.0}),
    ],
)
def test_impossible_sizes_are_refused(cls: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls.Config(**options)

import os
import random
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import corpus_bleu as nltk_bleu
from sacrebleu.metrics import BLEU

from sensorium.core.errors import DataError
from sensorium.evaluation.metrics_bleu import bleu, bleu4, bleu_counts, bleu_of, caption_words
from sensorium.evaluation.metrics_interval import bootstrap_interval

TEXT = st.lists(st.sampled_from(["a", "b", "c", "d", "the", "cat"]), max_size=9).map(" ".join)
ROWS = st.integers(1, 3).flatmap(
    lambda num: st.lists(
        st.tuples(TEXT, st.lists(TEXT.filter(bool), min_size=num, max_size=num)), min_size=1, max_size=6
    )
)


def sacrebleu(predictions, references, max_order, smoothing):
    peer = BLEU(max_ngram_order=max_order, tokenize="none", smooth_method=smoothing, force=True)
    return peer.corpus_score(predictions, [list(column) for column in zip(*references, strict=True)]).score


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(1, 4), st.sampled_from(["none", "exp"]))
def test_equals_sacrebleu(rows, max_order, smoothing):
    predictions, references = [row[0] for row in rows], [row[1] for row in rows]
    ours = bleu(predictions, references, max_order=max_order, smoothing=smoothing)
    assert ours == pytest.approx(sacrebleu(predictions, references, max_order, smoothing), abs=1e-9)


# nltk counts one n-gram where a text is too short for any, so its texts are long enough here.
LONG_ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=4, max_size=9).map(" ".join),
        st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(LONG_ROWS, st.integers(1, 4))
def test_equals_nltk(rows, max_order):
    predictions, references = [row[0] for row in rows], [row[1] for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns of orders without a match
        peer = nltk_bleu(
            [[text.split() for text in texts] for texts in references],
            [text.split() for text in predictions],
            weights=[1 / max_order] * max_order,
        )
    assert bleu(predictions, references, max_order=max_order) == pytest.approx(100 * peer, abs=1e-6)


def test_papineni_clips():
    assert bleu(
        ["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]], max_order=1
    ) == (pytest.approx(100 * 2 / 7))


def test_brevity_is_punished_and_length_is_not():
    assert bleu(["a b c d"], ["a b c d e f g h"]) == pytest.approx(100 * 2.718281828459045 ** (1 - 8 / 4))
    assert bleu(["a b c d"], [["a b c d e f g h", "a b c"]]) == pytest.approx(100), "the closest reference counts"


def test_captions_are_compared_by_words():
    assert caption_words('A Man\'s t-shirt , in_the "rain"!') == ["a", "man's", "t-shirt", "in", "the", "rain"]
    assert caption_words("两只狗 run。") == ["两", "只", "狗", "run"]
    assert bleu4(["a dog runs on grass."], ["A dog runs on grass ."]) == pytest.approx(100)


def test_an_interval_from_counts_equals_one_from_texts():
    draw = random.Random(3)
    words = ["a", "dog", "runs", "over", "the", "green", "lawn", "with", "two", "men"]
    references = [[" ".join(draw.choices(words, k=8)) for _ in range(2)] for _ in range(30)]
    predictions = [" ".join(draw.sample(texts[0].split(), 4) + texts[0].split()[:4]) for texts in references]
    rows = (predictions, references, bleu_counts(predictions, references))
    slow = bootstrap_interval(lambda said, right, _: bleu(said, right), *rows, num_resamples=30)
    fast = bootstrap_interval(lambda _, __, counts: bleu_of(counts), *rows, num_resamples=30)
    assert slow == fast
    assert fast.low < fast.value < fast.high


def test_no_rows_have_no_bleu():
    for rows in (
        [],
        (),
    ):
        with pytest.raises(DataError):
            bleu_of(rows)


def test_equals_sacrebleu_on_flickr_captions():
    data = Path(os.environ.get("SENSORIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    table = data / "flickr8k" / "captions.tsv"
    if not table.exists():
        pytest.skip("flickr8k is not at hand; set SENSORIUM_DATA")
    captions: dict[str, list[str]] = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        photo, _, _, caption = line.split("\t")
        captions.setdefault(photo, []).append(caption.lower())
    whole = [texts for texts in captions.values() if len(texts) == 5][:300]
    predictions, references = [texts[0] for texts in whole], [texts[1:] for texts in whole]
    for max_order in range(1, 5):
        ours = bleu(predictions, references, max_order=max_order)
        assert ours == pytest.approx(sacrebleu(predictions, references, max_order, "none"), abs=1e-9)
    assert ours > 5

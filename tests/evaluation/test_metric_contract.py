"""What holds for every metric of the registry: numbers for any text of any script, one form on both sides."""

from __future__ import annotations

import math
import statistics
import unicodedata

import jiwer
import numpy as np
import pytest
import sacrebleu
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.word_vectors import WordVectors
from sensorium.evaluation.intervals import intervals, row_values
from sensorium.evaluation.registry import METRICS, SPLIT_OF, VECTOR_METRICS, load_metric
from sensorium.evaluation.runner import Evaluation
from sensorium.evaluation.word_splits import SPLITS, caption_words
from sensorium.tasks.task import Prediction

OF_TEXTS = sorted({*METRICS, *VECTOR_METRICS} - {"meteor_exact_stem_wordnet"})
SPLIT = [f"{name}@{split}" for name in SPLIT_OF if name in OF_TEXTS for split in SPLITS]
BOUND = {"wer": 0, "cer": 0} | {f"bleu{n}": 100 for n in range(1, 5)}

# Two texts of four words or more a script, no word of one in the other; the marks decide in several.
SCRIPTS = {
    "latin": ("a dog runs over green grass", "some cats sleep under old trees"),
    "hindi": ("काला कुत्ता हरी घास पर", "काली कुत्ती हरा घासी पार"),
    "bengali": ("বাংলা ভাষা সুন্দর আমার দেশ", "বালা ভাষি সন্দর আমর দশ"),
    "tamil": ("படம் பாடல் கண் மரம் நாய்", "பாடம் பாடலி கண்ண மாரம் நாயி"),
    "arabic": ("كِتَابٌ جَدِيدٌ عَلَى الطَّاوِلَةِ الكَبِيرَةِ", "كُتُبٌ جُدُدٌ عِلى الطُّاوِلَةِ الكُبرى"),
    "hebrew": ("שָׁלוֹם יֶלֶד טוֹב מְאֹד הַיּוֹם", "שִׁלוּם יָלַד טוּב מֵאָד הָיוּם"),
    "vietnamese": ("Tiếng Việt là ngôn ngữ", "tiêng viêt lả ngỗn ngừ"),
    "thai": ("ไม่ใช่แมวดำ", "ปลาทองกินหอย"),
    "chinese": ("黑色的狗在跑", "白猫睡觉了吗"),
    "japanese": ("ガラスのパン屋", "かきくけこさ"),
    "korean": ("검은 개가 풀밭을 달린다 빨리", "흰 고양이는 나무에서 잔다 조용히"),
    "emoji": ("👨‍👩‍👧 👍🏽 🇩🇪 ☀️", "👨‍👩‍👦 👍🏿 🇫🇷 🌧️"),
}
FORMS = ["NFC", "NFD"]


def metric_of(name: str):
    words = tuple("abcdefgh")
    return load_metric(name, WordVectors(words, torch.eye(len(words))) if name in VECTOR_METRICS else None)


@pytest.mark.parametrize("name", [*OF_TEXTS, *SPLIT])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_text_is_its_own_perfect_answer_and_its_unicode_form_says_nothing(name, script):
    texts, metric = list(SCRIPTS[script]), metric_of(name)
    values = {
        (said, right): metric(
            [unicodedata.normalize(said, text) for text in texts],
            [[unicodedata.normalize(right, text)] for text in texts],
        )
        for said in FORMS
        for right in FORMS
    }
    assert len({round(value, 9) for value in values.values()}) == 1
    value, (base, _, split) = values["NFC", "NFC"], name.partition("@")
    split_of = SPLITS[split or "captions"]
    fewest = min(len(split_of(text)) for text in texts)
    if base.startswith("bleu") and fewest < int(base[-1]):
        assert value == 0  # too short for such n-grams
    elif base.startswith("meteor"):
        assert value == pytest.approx(statistics.fmean(1 - 0.5 / len(split_of(text)) ** 3 for text in texts))
    elif base.startswith("cider"):
        assert value > 0
    elif not base.startswith("distinct"):
        assert value == pytest.approx(BOUND.get(base, 1))


@pytest.mark.parametrize(
    "name", ["bleu1", "bleu2", "rouge_l", "meteor_exact", "cider_d", "accuracy", "exact_match"]
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_without_a_word_in_common_have_nothing(name, script):
    said, right = SCRIPTS[script]
    if script == "hindi":
        right = right.replace("हरा", "लाल")
    assert not set(caption_words(said)) & set(caption_words(right))
    assert metric_of(name)([said, right], [right, said]) == 0
    assert metric_of("wer@captions")([said], [right]) >= 0.8


@pytest.mark.parametrize("name", [*OF_TEXTS, *SPLIT])
def test_empty_short_and_repeated_rows_have_a_number(name):
    metric = metric_of(name)
    rows = [("", ""), ("a", "a"), ("...", "..."), ("b", "a"), ("\u0301", "\u200d")]
    for some in (*([row] for row in rows), rows, rows * 3):
        said, right = [one for one, _ in some], [[other] for _, other in some]
        assert math.isfinite(metric(said, right))
        assert np.isfinite(row_values(name, said, right, WordVectors(("a",), torch.ones(1, 2)))).all()
        predictions = [
            (i, Prediction(one, 1.0), refs) for i, (one, refs) in enumerate(zip(said, right, strict=True))
        ]
        found = intervals(Evaluation("t", len(said), {name: 0.0}, 0.0, predictions))
        assert all(math.isfinite(bound) for bounds in found.values() for bound in bounds)


@pytest.mark.parametrize("name", [*OF_TEXTS, *SPLIT])
def test_apostrophes_blanks_and_tutorial_signs_are_of_one_form_on_both_sides(name):
    metric = metric_of(name)
    said, right = (
        ["the dog's ball is red", "it's a t-shirt of blue"],
        ["the dog’s ball is red", "it’s a t-shirt of blue"],
    )
    assert metric(said, right) == metric(right, said) == metric(right, right) == metric(said, said)
    plain = metric(said, [*reversed(said)])
    for sign in ("startseq {} endseq", "<start> {} <end>", "<s> {} </s>", "< start > {} < end >"):
        framed = [sign.format(text) for text in said]
        assert metric(framed, [*reversed(said)]) == metric(framed, [*reversed(framed)]) == plain
    assert metric([f" {text}  " for text in said], said) == metric(said, said)


def test_labels_that_are_called_like_signs_of_tutorials_are_told_apart():
    labels = ["<s>", "</s>", "<start>", "<eos>", "startseq", "endseq"]
    for name in ("accuracy", "macro_f1"):
        assert load_metric(name)(labels, labels) == 1
        assert load_metric(name)(labels, [*labels[1:], labels[0]]) == 0
    assert load_metric("accuracy")(["startseq endseq"], [""]) == 1  # nothing was said between them


texts = st.lists(st.sampled_from(["a", "b", "c", "d.", "e,f", "3.5", "x-y", "(z)"]), max_size=9).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.integers(1, 4))
def test_bleu_over_sacrebleus_words_is_sacrebleus(rows, order):
    said, right = [one for one, _ in rows], [other for _, other in rows]
    for split, tokenize in (("13a", "13a"), ("blanks", "none")):
        theirs = sacrebleu.BLEU(tokenize=tokenize, max_ngram_order=order).corpus_score(said, [right]).score
        assert load_metric(f"bleu{order}@{split}")(said, right) == pytest.approx(theirs)
        alone = [
            sacrebleu.BLEU(tokenize=tokenize, max_ngram_order=order, effective_order=True)
            .sentence_score(one, [other])
            .score
            for one, other in rows
        ]
        assert row_values(f"bleu{order}@{split}", said, right) == pytest.approx(alone)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_error_rates_are_jiwers_where_nothing_is_said_too(rows):
    said, right = [one for one, _ in rows], [other for _, other in rows]
    assert load_metric("wer")(said, right) == pytest.approx(jiwer.wer(right, said))
    assert load_metric("cer")(said, right) == pytest.approx(jiwer.cer(right, said))


def test_the_first_line_of_the_bleu_that_readers_compare_with_others():
    said, right = ["the cat sat on a mat today"], ["the cat lay on the mat now"]
    assert load_metric("bleu4@13a")(said, right) == pytest.approx(15.619699684601283)
    assert load_metric("bleu4")(said, right) == 0  # of captions, as COCO's: not smoothed
    assert row_values("bleu4", ["a b c"], [["a b c"]]).tolist() == [100]

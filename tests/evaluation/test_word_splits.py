import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from sensorium.evaluation.stemming import stem
from sensorium.evaluation.word_splits import SPLITS, mteval_words

PEER = PorterStemmer()
SUFFIXES = [
    "", "s", "es", "sses", "ies", "ied", "eed", "ed", "ing", "y", "ational", "tional", "enci", "anci", "izer", "bli",
    "ably", "alli", "ally", "fully", "entli", "eli", "ousli", "ization", "ator", "alism", "iveness", "fulness", "ousness",
    "aliti", "iviti", "biliti", "logi", "icate", "ative", "alize", "iciti", "ical", "ful", "ness", "al", "ance", "er",
    "ible", "ant", "ement", "ment", "ent", "ion", "sion", "ou", "ism", "iti", "ous", "ive", "ize", "e", "ll", "le",
]  # fmt: skip
STEMS = ["", "a", "b", "ab", "hop", "fall", "fil", "conflat", "troubl", "siz", "sky", "yyy", "enjoy", "agre", "control",
    "relat", "adopt", "kiss", "buzz", "tax", "snow", "operat", "news", "proceed", "inning", "t", "d", "dy", "ly",
]  # fmt: skip


def test_stems_are_nltks():
    words = {a + b + c for a in STEMS for b in SUFFIXES for c in ("", "s", "ed", "ly")}
    assert {word: stem(word) for word in words} == {word: PEER.stem(word) for word in words}


@given(st.text("aeiouybstlzrnmed", max_size=12))
def test_any_letters_have_nltks_stem(word):
    assert stem(word) == PEER.stem(word)


def test_words_of_captions_have_nltks_stems():
    data = Path(os.environ.get("SENSORIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    table = data / "flickr8k" / "captions.tsv"
    if not table.exists():
        pytest.skip("flickr8k is not at hand; set SENSORIUM_DATA")
    words = set(table.read_text(encoding="utf-8").lower().split())
    assert len(words) > 3000
    assert not [word for word in words if stem(word) != PEER.stem(word)]


@given(st.text(st.sampled_from("aB1.,-&;<>'\"()$\n é你") | st.characters(codec="ascii"), max_size=30))
def test_13a_is_sacrebleus(text):
    assert mteval_words(text) == Tokenizer13a()(text).split()


def test_each_way_by_example():
    text = 'It\'s $3.50, a "T-shirt".'
    assert {name: split(text) for name, split in SPLITS.items()} == {
        "captions": ["it's", "3", "50", "a", "t-shirt"],
        "blanks": ["It's", "$3.50,", "a", '"T-shirt".'],
        "13a": ["It's", "$", "3.50", ",", "a", '"', "T-shirt", '"', "."],
    }

"""METEOR, ROUGE-L, CIDEr, CIDEr-D and distinct-n: beside their references, by hand, and what must hold of them."""

import math
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from caption_samples import RIGHT, SAID
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.meteor_score import meteor_score

from sensorium.core.errors import ConfigError, MissingExtraError
from sensorium.evaluation import metrics_meteor
from sensorium.evaluation.metrics_bleu import bleu
from sensorium.evaluation.metrics_cider import cider, cider_d, cider_d_rows, cider_rows
from sensorium.evaluation.metrics_distinct import distinct, distinct1, distinct2
from sensorium.evaluation.metrics_meteor import aligned, meteor_exact, meteor_exact_stem, meteor_of, meteor_rows
from sensorium.evaluation.metrics_rouge import common_length, rouge_l, rouge_l_rows
from sensorium.evaluation.registry import is_lower_better, load_metric, require_known, split_name

WORDS = st.lists(st.sampled_from(["dog", "dogs", "runs", "running", "a", "the", "grass"]), min_size=1, max_size=9)
ROWS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=6)

# pycocoevalcap 1.2 on `caption_samples`; it is a hundred megabytes, so its values are kept, not it.
CIDER_D = [
    2.40553900436354,
    2.575642486993894,
    2.387109103367606,
    1.082897862433713,
    1.36608872228087,
    1.415557775812399,
]
ROUGE_L = [0.857142857142857, 0.714285714285714, 0.650088809946714, 0.5, 0.628865979381443, 0.580952380952381]
BLEU = [0.866666666647407, 0.760116950047901, 0.594487480962244, 0.440108775613063]


class NoSynonyms:
    def synsets(self, word):
        return []


class Synonyms:
    """A WordNet of two synsets, over words that are their own stems."""

    groups = (("dog", "hound", "guard_dog"), ("grass", "lawn"))

    def synsets(self, word):
        lemmas = [[SimpleNamespace(name=lambda w=w: w) for w in group] for group in self.groups if word in group]
        return [SimpleNamespace(lemmas=lambda names=names: names) for names in lemmas]

    def __call__(self, word):
        return metrics_meteor._of_wordnet(self, word)


def joined(rows):
    return [" ".join(said) for said, _ in rows], [[" ".join(words) for words in right] for _, right in rows]


def test_equals_what_pycocoevalcap_gave():
    assert cider_d_rows(SAID, RIGHT) == pytest.approx(CIDER_D, abs=1e-9)
    assert cider_d(SAID, RIGHT) == pytest.approx(np.mean(CIDER_D), abs=1e-9)
    assert rouge_l_rows(SAID, RIGHT) == pytest.approx(ROUGE_L, abs=1e-9)
    assert rouge_l(SAID, RIGHT) == pytest.approx(np.mean(ROUGE_L), abs=1e-9)
    ours = [bleu(SAID, RIGHT, max_order=order) for order in range(1, 5)]
    assert ours == pytest.approx([100 * value for value in BLEU], abs=1e-6)


def flickr() -> tuple[list[str], list[list[str]]]:
    data = Path(os.environ.get("SENSORIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    table = data / "flickr8k" / "captions.tsv"
    if not table.exists():
        pytest.skip("flickr8k is not at hand; set SENSORIUM_DATA")
    captions: dict[str, list[str]] = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        photo, _, _, caption = line.split("\t")
        captions.setdefault(photo, []).append(caption.lower())
    five = [texts for texts in captions.values() if len(texts) == 5][:200]
    # Every other caption is another photo's.
    return [five[i - i % 2][0] for i in range(len(five))], [texts[1:] for texts in five]


def test_equals_pycocoevalcap_on_flickr_captions():
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed")
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said, right = flickr()
    given, asked = dict(enumerate(right)), {i: [text] for i, text in enumerate(said)}
    np.testing.assert_allclose(cider_d_rows(said, right, split=str.split), Cider().compute_score(given, asked)[1])
    np.testing.assert_allclose(rouge_l_rows(said, right, split=str.split), Rouge().compute_score(given, asked)[1])


@given(ROWS)
def test_meteor_equals_nltk(rows):
    theirs = [meteor_score(right, said, wordnet=NoSynonyms()) for said, right in rows]
    assert meteor_rows(*joined(rows)) == pytest.approx(theirs, abs=1e-12)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["dog", "hound", "grass", "lawn", "big"]), min_size=1, max_size=6),
            st.lists(
                st.lists(st.sampled_from(["dog", "hound", "grass", "lawn", "big"]), min_size=1, max_size=6),
                min_size=1,
                max_size=2,
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_meteor_with_synonyms_equals_nltk(rows):
    theirs = [meteor_score(right, said, wordnet=Synonyms()) for said, right in rows]
    assert meteor_rows(*joined(rows), synonyms=Synonyms()) == pytest.approx(theirs, abs=1e-12)


def test_meteor_by_hand():
    # "the cat sat" of "the cat was sitting": 2 exact words, one chunk: P 2/3, R 2/4, F = P R / (.9 P + .1 R).
    mean = (2 / 3 * 1 / 2) / (0.9 * 2 / 3 + 0.1 * 1 / 2)
    assert meteor_of(["the", "cat", "sat"], ["the", "cat", "was", "sitting"]) == pytest.approx(
        mean * (1 - 0.5 * (1 / 2) ** 3)
    )
    # Stems: "runs" meets "running"; two chunks of four, crossed.
    assert aligned(["dogs", "runs"], ["running", "dog"]) == {0: 1, 1: 0}
    assert meteor_of(["dogs", "runs"], ["running", "dog"]) == pytest.approx(0.5)
    assert meteor_exact(["dogs runs"], ["running dog"]) == 0 < meteor_exact_stem(["dogs runs"], ["running dog"])


def test_synonyms_are_those_of_the_word_and_never_phrases():
    assert Synonyms()("dog") == {"dog", "hound", "guard_dog"} - {"guard_dog"}
    assert meteor_of(["hound"], ["dog"]) == 0 < meteor_of(["hound"], ["dog"], synonyms=Synonyms())


def test_without_wordnet_it_is_said(monkeypatch):
    def absent():
        raise LookupError

    monkeypatch.setattr("nltk.corpus.wordnet", SimpleNamespace(ensure_loaded=absent))
    metrics_meteor.wordnet_synonyms.cache_clear()
    with pytest.raises(MissingExtraError, match="WordNet"):
        load_metric("meteor_exact_stem_wordnet")(SAID, RIGHT)


def lcs(one, other):
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return lcs(one[:-1], other[:-1]) + 1
    return max(lcs(one[:-1], other), lcs(one, other[:-1]))


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_common_length_is_the_recursion(one, other):
    assert common_length(one, other) == lcs(one, other)


def brute_cider(rows, *, is_d):
    """By the formulas, n-gram by n-gram over the whole vocabulary of n-grams."""

    def grams(words, n):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    found = []
    for said, right in rows:
        total = 0.0
        for n in range(1, 5):
            known = {g for s, r in rows for words in (s, *r) for g in grams(words, n)}
            df = {g: sum(any(g in grams(words, n) for words in r) for _, r in rows) for g in known}

            def weigh(words, df=df, n=n):
                return {g: c * math.log(len(rows) / max(1, df[g])) for g, c in grams(words, n).items()}

            for words in right:
                c, r = weigh(said), weigh(words)
                norm = math.sqrt(sum(v * v for v in c.values()) * sum(v * v for v in r.values()))
                dot = sum((min(v, r.get(g, 0)) if is_d else v) * r.get(g, 0) for g, v in c.items())
                gap = (len(said) - len(words)) if is_d else 0
                total += (dot / norm if norm else 0) * math.exp(-(gap**2) / 72) / len(right)
        found.append(10 * total / 4)
    return found


@settings(max_examples=30)
@given(ROWS)
def test_cider_is_its_formula(rows):
    assert cider_rows(*joined(rows)) == pytest.approx(brute_cider(rows, is_d=False), abs=1e-9)
    assert cider_d_rows(*joined(rows)) == pytest.approx(brute_cider(rows, is_d=True), abs=1e-9)


def test_cider_d_punishes_what_games_cider():
    right = [["a red dog runs"], ["two cats sleep here"], ["the sun is low"]]
    gamed = ["dog dog dog dog runs runs runs runs", *(texts[0] for texts in right[1:])]
    assert cider_d_rows(gamed, right)[0] < 0.5 * cider_rows(gamed, right)[0]
    assert cider([text for (text,) in right], right) == pytest.approx(10)
    assert cider_d([text for (text,) in right], right) == pytest.approx(10)
    assert cider_d(["a red dog runs"], ["a red dog runs"]) == 0, "one row tells nothing apart"


def test_distinct_counts_all_texts_together():
    texts = ["a dog runs", "a dog sits", "a dog"]
    assert distinct1(texts, texts) == pytest.approx(4 / 8)
    assert distinct2(texts, texts) == pytest.approx(3 / 5)
    assert distinct(["a", ""], 2) == 0


def test_a_name_may_say_how_words_are_split():
    said, right = ["A dog, running."], [["a dog running"]]
    assert load_metric("bleu2")(said, right) == load_metric("bleu2@captions")(said, right) == pytest.approx(100)
    assert load_metric("bleu2@blanks")(said, right) == 0
    assert load_metric("wer")(["A dog."], ["a dog"]) == 1
    assert load_metric("wer@captions")(["A dog."], ["a dog"]) == 0
    assert [split_name(n) for n in ("bleu4", "bleu4@13a", "wer", "cer", "accuracy", "third_party")] == [
        "captions", "13a", "blanks", "characters", "none", "none",
    ]  # fmt: skip
    assert is_lower_better("wer@captions")
    assert not is_lower_better("bleu4@13a")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bleu5", "no metric 'bleu5'"),
        ("bleu4@13", "no way to split words '13'"),
        ("cer@13a", "'cer' splits words in its own way"),
        ("embedding_similarity", "needs word vectors"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        require_known(["bleu4", name], has_vectors=False)
    require_known(["embedding_similarity"], has_vectors=True)

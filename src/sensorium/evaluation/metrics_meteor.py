"""METEOR: words of a text aligned with those of a reference, by themselves, by stems and by synonyms.

Enters: texts and their references.  Leaves: 0..1, the mean over rows of each row's best reference.

    P = m / words said,  R = m / words of the reference,  F = P R / (a P + (1 - a) R)
    METEOR = F (1 - g (chunks / m)^b)          a = 0.9, b = 3, g = 0.5

m: aligned words; a chunk is a run of them that stand side by side in both texts.  Words that are equal are aligned
first, then those of equal stem, then synonyms; each from the last word on, with the last fitting word of the
reference, as nltk's `meteor_score` does, whose values these are.  One thing differs: synonyms are looked up for the
word itself, where nltk looks up its stem.

Source: Lavie and Agarwal 2007, "METEOR: an automatic metric for MT evaluation with high levels of correlation with
human judgments", section 2.  The Java program that COCO's evaluation runs is METEOR 1.5 (other parameters, weights
by kind of match, paraphrases); its numbers are not comparable with these, so these are named by what they match:
`meteor_exact`, `meteor_exact_stem`, `meteor_exact_stem_wordnet`.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Collection, Sequence

from sensorium.core.errors import MissingExtraError
from sensorium.evaluation.metrics import References, paired
from sensorium.evaluation.stemming import stem
from sensorium.evaluation.word_splits import Split, caption_words

Synonyms = Callable[[str], Collection[str]]
"""A word to the words that mean the same."""

_ALPHA, _BETA, _GAMMA = 0.9, 3.0, 0.5


def meteor_exact(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return METEOR where words match only themselves."""
    return statistics.fmean(meteor_rows(predictions, references, stems=False, split=split))


def meteor_exact_stem(predictions: Sequence[str], references: References, *, split: Split = caption_words) -> float:
    """Return METEOR where words match themselves and words of equal stem."""
    return statistics.fmean(meteor_rows(predictions, references, split=split))


def meteor_exact_stem_wordnet(
    predictions: Sequence[str], references: References, *, split: Split = caption_words
) -> float:
    """Return METEOR where words match themselves, words of equal stem, and WordNet's synonyms.

    Raises:
        MissingExtraError: nltk or its WordNet data is not installed.
    """
    return statistics.fmean(meteor_rows(predictions, references, synonyms=wordnet_synonyms(), split=split))


def meteor_rows(
    predictions: Sequence[str],
    references: References,
    *,
    stems: bool = True,
    synonyms: Synonyms | None = None,
    split: Split = caption_words,
) -> list[float]:
    """Return each row's METEOR.  Raises DataError as `paired`."""
    found = []
    for prediction, texts in paired(predictions, references):
        said = split(prediction)
        found.append(max(meteor_of(said, split(text), stems=stems, synonyms=synonyms) for text in texts))
    return found


def meteor_of(
    said: Sequence[str], reference: Sequence[str], *, stems: bool = True, synonyms: Synonyms | None = None
) -> float:
    """Return METEOR of words against a reference's words; 0 where nothing matches."""
    place = aligned(said, reference, stems=stems, synonyms=synonyms)
    if not place:
        return 0.0
    precision, recall = len(place) / len(said), len(place) / len(reference)
    mean = precision * recall / (_ALPHA * precision + (1 - _ALPHA) * recall)
    num_chunks = sum(place.get(i - 1) != j - 1 for i, j in place.items())
    penalty: float = _GAMMA * (num_chunks / len(place)) ** _BETA
    return mean * (1 - penalty)


def aligned(
    said: Sequence[str], reference: Sequence[str], *, stems: bool = True, synonyms: Synonyms | None = None
) -> dict[int, int]:
    """Return which place of the reference each matched place of the text stands for."""
    place: dict[int, int] = {}
    left, free = list(range(len(said))), list(range(len(reference)))
    _match(place, left, free, {i: (said[i],) for i in left}, dict(enumerate(reference)))
    if stems and left and free:
        _match(place, left, free, {i: (stem(said[i]),) for i in left}, {j: stem(reference[j]) for j in free})
    if synonyms is not None and left and free:
        _match(place, left, free, {i: (said[i], *synonyms(said[i])) for i in left}, {j: reference[j] for j in free})
    return place


def _match(
    place: dict[int, int],
    left: list[int],
    free: list[int],
    means: dict[int, tuple[str, ...]],
    name: dict[int, str],
) -> None:
    """Give each place that is left, from the last, the last free one whose name it may mean; both lists shrink."""
    for i in reversed(left.copy()):
        j = next((j for j in reversed(free) if name[j] in means[i]), None)
        if j is not None:
            place[i] = j
            left.remove(i)
            free.remove(j)


@functools.cache
def wordnet_synonyms() -> Synonyms:
    """Return the function that looks words up in nltk's WordNet.

    Raises:
        MissingExtraError: nltk or its WordNet data is not installed.
    """
    try:
        from nltk.corpus import wordnet

        wordnet.ensure_loaded()
    except (ImportError, LookupError):
        advice = "pip install nltk, then python -m nltk.downloader wordnet; or choose meteor_exact_stem"
        raise MissingExtraError("WordNet, as nltk has it, is not installed", advice=advice) from None
    return functools.lru_cache(maxsize=1 << 16)(functools.partial(_of_wordnet, wordnet))


def _of_wordnet(wordnet: object, word: str) -> frozenset[str]:
    synsets = wordnet.synsets(word)  # type: ignore[attr-defined]
    return frozenset(lemma.name() for synset in synsets for lemma in synset.lemmas() if "_" not in lemma.name())

"""The naive Bayes encoder: posteriors by hand, folds left out in training, equal texts in one fold."""

import math
from collections import Counter

import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.protocols import CountingEncoder
from sensorium.core.types import MediaBatch
from sensorium.core.vocabulary import BOS, EOS
from sensorium.data.text_preparer import TextPreparer
from sensorium.encoders.text_naive_bayes import TextNaiveBayes

GOOD, BAD = 4, 5
ROWS = [
    ("fine fine film", GOOD),
    ("great film", GOOD),
    ("a lovely day", GOOD),
    ("dull film", BAD),
    ("a weak day", BAD),
    ("poor poor thing", BAD),
    ("great thing", GOOD),
]
PREPARER = TextPreparer().fit([text for text, _ in ROWS])


def media(texts):
    values, mask_UT = PREPARER.collate([PREPARER(text) for text in texts])
    return MediaBatch(values, mask_UT, torch.arange(len(texts)))


def targets(labels):
    return torch.tensor([[BOS, label, EOS] for label in labels])


def fitted(rows=ROWS, **options):
    encoder = TextNaiveBayes(TextNaiveBayes.Config(classes=3, folds=3, **options), PREPARER, width=4)
    return encoder.fit([(media([text for text, _ in rows]), targets([label for _, label in rows]))])


def by_hand(text, rows):
    """The definition in Python; classes in the order of their frequency in all rows."""
    total = {}
    for label in (GOOD, BAD):
        counts = Counter(word for t, c in rows if c == label for word in set(t.split()))
        mass = sum(counts.values()) + len(PREPARER.vocab) - 4
        prior = sum(c == label for _, c in rows) / len(rows)
        known = [word for word in set(text.split()) if word in PREPARER.vocab]
        total[label] = math.log(prior) + sum(math.log((counts[word] + 1) / mass) for word in known)
    norm = math.log(sum(map(math.exp, total.values())))
    return [total[GOOD] - norm, total[BAD] - norm]


def said(encoder, texts):
    batch = media(texts)
    return encoder.features(batch.values, batch.mask_UT)[0][:, 0]


def test_posteriors_are_those_of_the_definition():
    encoder = fitted().eval()
    assert isinstance(encoder, CountingEncoder)
    texts = ["fine film", "a dull dull thing", "unheard of", "great"]
    for text, found in zip(texts, said(encoder, texts).tolist(), strict=True):
        assert found[:2] == pytest.approx(by_hand(text, ROWS), abs=1e-4)
        assert found[2] == -20  # there is no third class


def test_in_training_each_text_is_judged_by_the_other_folds():
    encoder, texts = fitted(), [text for text, _ in ROWS]
    batch = media(texts)
    fold_N = encoder.fold(batch.values, batch.mask_UT).tolist()
    assert len(set(fold_N)) > 1
    trained, later = said(encoder.train(), texts), said(encoder.eval(), texts)
    for (text, _), fold, found in zip(ROWS, fold_N, trained.tolist(), strict=True):
        others = [row for row, other in zip(ROWS, fold_N, strict=True) if other != fold]
        assert found[:2] == pytest.approx(by_hand(text, others), abs=1e-4)
    assert not torch.allclose(trained, later)


def test_equal_texts_share_a_fold_whatever_stands_beside_them():
    encoder = fitted()
    long = media(["dull film", "a lovely day and more words than that", "dull film"])
    fold_N = encoder.fold(long.values, long.mask_UT)
    alone = media(["dull film"])
    assert fold_N[0] == fold_N[2] == encoder.fold(alone.values, alone.mask_UT)[0]


def test_rows_that_share_a_text_all_count():
    texts = media(["great film", "dull film"])
    batch = MediaBatch(texts.values, texts.mask_UT, torch.tensor([0, 0, 1, -1]))
    encoder = TextNaiveBayes(TextNaiveBayes.Config(classes=2), PREPARER, width=4)
    encoder.fit([(batch, targets([GOOD, BAD, BAD, GOOD]))])
    assert encoder.prior_.exp().flatten().tolist() == pytest.approx([2 / 3, 1 / 3])


def test_tables_are_saved_without_those_of_the_folds():
    encoder = fitted()
    assert not any("left_out" in name for name in encoder.state_dict())
    again = TextNaiveBayes(TextNaiveBayes.Config(classes=3, folds=3), PREPARER, width=4)
    again.load_state_dict(encoder.state_dict())
    texts = [text for text, _ in ROWS]
    assert torch.equal(said(again.eval(), texts), said(encoder.eval(), texts))
    assert torch.equal(said(again.train(), texts), said(encoder.eval(), texts))
    with pytest.raises(DataError, match="no texts"):
        again.fit([])

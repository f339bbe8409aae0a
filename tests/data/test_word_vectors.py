"""Word vectors: their files, and what is learned of words that stand together."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import UNK, Vocab
from sensorium.data.text_preparer import TextPreparer
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorConfig, cooccurrences, train_word_vectors
from sensorium.encoders.text_embedding import TextEmbedding
from sensorium.encoders.text_gru import TextGRU
from sensorium.encoders.text_transformer import TextTransformer

VECTORS = WordVectors(("the", "größe", ". ."), torch.tensor([[1.0, 2.5], [-0.125, 1e-7], [3.0, 4.0]]))


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.bin"])
def test_files_round_trip(tmp_path, name):
    kept = VECTORS if name != "v.bin" else WordVectors(VECTORS.words[:2], VECTORS.x_VD[:2])
    kept.write(tmp_path / name)
    again = WordVectors.read(tmp_path / name)
    assert again.words == kept.words
    assert torch.equal(again.x_VD, kept.x_VD)


def test_glove_files_have_no_first_line_and_may_be_packed(tmp_path):
    (tmp_path / "g.txt.gz").write_bytes(gzip.compress(b"the 1 2 3\ncat -1 0.5 2\n"))
    got = WordVectors.read(tmp_path / "g.txt.gz", keep=Vocab.of(["cat"]))
    assert got.words == ("cat",)
    assert got.x_VD.tolist() == [[-1, 0.5, 2]]


def test_binary_files_without_line_breaks(tmp_path):
    values = np.array([1, 2, 3], "<f4").tobytes()
    (tmp_path / "w.bin").write_bytes(b"2 3\na " + values + b"b " + values)
    assert WordVectors.read(tmp_path / "w.bin").words == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"2 2\nthe 1 2\ncat 1\n", "a.txt:3"),
        ("a.txt", b"the 1 x\n", "a.txt:1"),
        ("a.txt", b"", "no vector"),
        ("a.bin", b"the 1 2\n", "begin with"),
        ("a.bin", b"2 3\na " + bytes(12) + b"b " + bytes(5), "word 2 of 2"),
        ("a.txt.gz", b"no gzip", "cannot be read"),
    ],
)
def test_broken_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        WordVectors.read(tmp_path / name)


def sentences() -> tuple[list[list[int]], Vocab]:
    """Two topics, whose words never stand in one sentence."""
    vocab = Vocab.of([f"a{i}" for i in range(8)] + [f"b{i}" for i in range(8)])
    generator = np.random.default_rng(0)
    return [(4 + 8 * (n % 2) + generator.integers(0, 8, 10)).tolist() for n in range(120)], vocab


@pytest.mark.parametrize("method", ["skip_gram", "cbow", "glove"])
def test_words_of_one_topic_come_to_lie_together(method):
    config = WordVectorConfig(
        method=method, width=8, window=3, subsample=1.0, epochs=12, batch_pairs=256, learning_rate=0.03
    )
    ids, vocab = sentences()
    vectors = train_word_vectors(ids, vocab, config)
    for word in ("a0", "b3"):
        assert {near[0] for near, _ in vectors.nearest(word, 7)} == {word[0]}
    again = train_word_vectors(ids, vocab, config)
    assert torch.equal(again.x_VD, vectors.x_VD)


def test_cooccurrences_equal_plain_counting():
    ids = [[4, 5, 4, 6], [6, 5], [4]]
    word_N, sentence_N = torch.tensor([4, 5, 4, 6, 6, 5, 4]), torch.tensor([0, 0, 0, 0, 1, 1, 2])
    want = torch.zeros(7, 7)
    for sentence in ids:
        for i, a in enumerate(sentence):
            for j, b in enumerate(sentence):
                if 0 < abs(i - j) <= 2:
                    want[a, b] += 1 / abs(i - j)
    cell_E, count_E = cooccurrences(word_N, sentence_N, 7, window=2)
    got = torch.zeros(49).index_put_((cell_E,), count_E).view(7, 7)
    torch.testing.assert_close(got, want)


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="neighbour"):
        train_word_vectors([[4], [UNK, 5]], Vocab.of("ab"))


@pytest.mark.parametrize(
    ("component", "options"),
    [(TextEmbedding, {"hidden": 8}), (TextGRU, {"embedding": 8}), (TextTransformer, {"hidden": 8, "heads": 2})],
)
def test_encoders_begin_with_the_vectors(component, options, tmp_path: Path):
    preparer = TextPreparer().fit(["the cat sat"])
    WordVectors(("cat", "dog"), torch.randn(2, 8)).write(tmp_path / "v.txt")
    written = WordVectors.read(tmp_path / "v.txt")
    encoder = component(component.Config(vectors=tmp_path / "v.txt", **options), preparer, 4)
    before = encoder.embed.weight.detach().clone()
    after = encoder.load_pretrained().embed.weight.detach()
    cat = preparer.vocab.id("cat")
    assert torch.equal(after[cat], written.x_VD[0])
    others = [i for i in range(len(preparer.vocab)) if i != cat]
    assert torch.equal(after[others], before[others])
    narrow = component(
        component.Config(vectors=tmp_path / "v.txt", **{k: 4 if k != "heads" else v for k, v in options.items()}),
        preparer,
        4,
    )
    with pytest.raises(DataError, match="do not fit"):
        narrow.load_pretrained()

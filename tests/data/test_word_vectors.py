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
from sensorium.data.word_vectors_training import (
    STRIP,
    WordVectorConfig,
    cbow_gradients,
    cooccurrences,
    neighbours,
    skip_gram_gradients,
    strips,
    train_word_vectors,
)
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
        ("a.txt.gz", b"no gzip", r"a\.txt\.gz:1: is no word and numbers: 'no gzip'"),
        ("a.txt.gz", gzip.compress(b"the 1 2\n" * 99)[:-9], "cannot be (read|unpacked)"),
        ("a.txt", b"5 2\nthe 0.1 0.2\ncat 1 0\n", "holds 2 of the 5 words that its first line declares"),
        ("a.txt", b"1 2\nthe 0.1 0.2\ncat 1 0\n", "holds 2 of the 1 words that its first line declares"),
        ("a.txt", b"the,0.1,0.2\ncat,1,0\n", r"a\.txt:1: is no word and numbers: 'the,0.1,0.2'"),
        ("a.txt", b"the 0,1 0,2\n", r"a\.txt:1: is no word and numbers"),
        ("a.txt", b"the 0.1 0.2\ncat 0.1 0.2 0.3\n", r"a\.txt:2: is no word and 2 numbers"),
        ("a.txt", b"the 1e400 2\n", r"a\.txt:1: is no word and 1 numbers"),
        ("a.txt", "\u00b3 \u00b2\n".encode(), r"a\.txt:1: is no word and numbers"),
        ("a.txt", b"the 1 2\ncat 1 nan\n", r"a\.txt:2: is no word and 2 numbers"),
        ("a.txt", "the 1 2\n".encode("utf-16"), "is UTF-16 text"),
        ("a.bin", b"2 2\nthe 0.1 0.2\ncat 1 0\n", "holds text"),
        ("a.vec", b"2 2\nthe " + np.ones(2, "<f4").tobytes() + b"cat " + bytes(8), "binary form.*ending .bin"),
        ("a.bin", b"1 2\nthe " + np.ones(2, "<f4").tobytes() + b"cat " + bytes(8), "holds more than the 1 words"),
        ("a.bin", b"1 1\nthe " + np.array([np.nan], "<f4").tobytes(), "word 1 has a number that is not finite"),
        ("a.bin", b"\xba\x16\x4f\x2f\x0c\0\0\0", "is a fastText model"),
    ],
)
def test_broken_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        WordVectors.read(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "the\t0.5\t2\ncat\t1\t0\n",
        "the\t0.5 2\ncat\t1 0\n",
        "2\t2\nthe\t0.5\t2\ncat\t1\t0\n",
        "\ufeffthe 0.5 2\ncat 1 0\n",
        "\ufeff2 2\r\nthe 0.5 2 \r\ncat  1 0\r\n\r\n",
        "the 0.5 2\ncat 1 0\nthe 7 7\n",
        b"the 0.5 2\ncaf\xe9 3 3\ncat 1 0\n",
    ],
)
def test_text_files_as_other_programs_write_them(tmp_path, text):
    (tmp_path / "v.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    got = WordVectors.read(tmp_path / "v.txt")
    assert (got.words, got.x_VD.tolist()) == (("the", "cat"), [[0.5, 2], [1, 0]])


def test_words_keep_white_space_that_parts_no_numbers(tmp_path):
    (tmp_path / "v.txt").write_bytes("10\u00a0000 1 2\n\u3000 3 4\na\u2028b\x85 5 6\n. . 7 8\n5 9 9\n".encode())
    assert WordVectors.read(tmp_path / "v.txt").words == ("10\u00a0000", "\u3000", "a\u2028b\x85", ". .", "5")


@pytest.mark.parametrize(("name", "word"), [("v.txt", " "), ("v.txt", "a\tb"), ("v.txt", ""), ("v.bin", "a b")])
def test_words_that_a_file_cannot_say_are_not_written(tmp_path, name, word):
    with pytest.raises(DataError, match="holds white space"):
        WordVectors(("the", word), torch.ones(2, 2)).write(tmp_path / name)
    assert not (tmp_path / name).exists()


def sentences() -> tuple[list[list[int]], Vocab]:
    """Two topics, whose words never stand in one sentence."""
    vocab = Vocab.of([f"a{i}" for i in range(8)] + [f"b{i}" for i in range(8)])
    generator = np.random.default_rng(0)
    return [(4 + 8 * (n % 2) + generator.integers(0, 8, 10)).tolist() for n in range(120)], vocab


@pytest.mark.parametrize("method", ["skip_gram", "cbow", "glove"])
def test_words_of_one_topic_come_to_lie_together(method):
    config = WordVectorConfig(
        method=method, width=8, window=3, subsample=1.0, epochs=20, batch_words=64, learning_rate=0.2
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


def likelihood(method: str, known_SD, asked_SD, drawn_KD, is_near_SS, negatives: int):
    """The formula of the module, pair by pair."""
    total, log_s = torch.zeros((), dtype=torch.float64), torch.nn.functional.logsigmoid
    for i, known_D in enumerate(known_SD):
        near = is_near_SS[i].nonzero().flatten().tolist()
        if method == "skip_gram":
            pairs = [(known_D, asked_SD[j]) for j in near]
        else:
            pairs = [(torch.stack([known_SD[j] for j in near]).mean(0), asked_SD[i])] if near else []
        for v_D, u_D in pairs:
            total = total + log_s(u_D @ v_D) + negatives / len(drawn_KD) * log_s(-(drawn_KD @ v_D)).sum()
    return total


@pytest.mark.parametrize("method", ["skip_gram", "cbow"])
def test_gradients_are_those_of_the_formula(method):
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(2, n, 3, generator=generator, dtype=torch.float64) for n in (7, 7, 4)]
    sentence_GS = torch.tensor([[0, 0, 0, 0, 1, 1, 2], [3, 3, 3, 3, 3, -1, -1]])
    reach_GS = torch.tensor([[1, 2, 3, 1, 2, 1, 3], [2, 2, 1, 3, 1, 2, 2]])
    is_near_GSS = neighbours(sentence_GS, reach_GS)
    known, asked, drawn = (x.clone().requires_grad_() for x in tensors)
    sum(likelihood(method, known[g], asked[g], drawn[g], is_near_GSS[g], 5) for g in range(2)).backward()
    compute = {"skip_gram": skip_gram_gradients, "cbow": cbow_gradients}[method]
    got = compute(*tensors, is_near_GSS.double(), 5)
    for mine, want in zip((got.known_GSD, got.asked_GSD, got.drawn_GKD), (known, asked, drawn), strict=True):
        torch.testing.assert_close(mine, want.grad)


def test_neighbours_equal_a_plain_loop():
    sentence_GS = torch.tensor([[0, 0, 0, 1, 1, -1, -1]])
    reach_GS = torch.tensor([[1, 2, 3, 3, 1, 2, 2]])
    want = torch.zeros(1, 7, 7, dtype=torch.bool)
    for i in range(7):
        for j in range(7):
            same = sentence_GS[0, i] == sentence_GS[0, j] >= 0
            want[0, i, j] = i != j and same and abs(i - j) <= reach_GS[0, i]
    assert torch.equal(neighbours(sentence_GS, reach_GS), want)


def test_strips_hold_the_text_once_and_draw_by_chance():
    num = 3 * STRIP + 5
    word_N, sentence_N = torch.arange(num) + 4, torch.arange(num) // 10
    chance_V = torch.zeros(num + 4, dtype=torch.float64)
    chance_V[[5, 9]] = torch.tensor([1.0, 3.0], dtype=torch.float64)
    starts, drawn = set(), []
    for seed in range(20):
        found = list(strips(word_N, sentence_N, chance_V, 2, torch.Generator().manual_seed(seed)))
        assert all(len(part.word_GS) <= 2 for part in found)
        word_XS, sentence_XS = (torch.cat([getattr(part, n) for part in found]) for n in ("word_GS", "sentence_GS"))
        is_text_XS = sentence_XS >= 0
        assert word_XS[is_text_XS].sort().values.tolist() == word_N.tolist()
        for words, sentence in zip(word_XS, sentence_XS, strict=True):
            real = words[sentence >= 0]
            assert (real.diff() == 1).all()
            assert sentence[sentence >= 0].tolist() == ((real - 4) // 10).tolist()
        starts.add(int(is_text_XS.sum(1).min()))
        drawn.append(torch.cat([part.drawn_GK for part in found]).flatten())
    assert len(starts) > 3, "strips begin elsewhere each time"
    drawn_N = torch.cat(drawn)
    assert set(drawn_N.tolist()) == {5, 9}
    assert abs(float((drawn_N == 9).double().mean()) - 0.75) < 0.03  # 5,000 draws: 5 deviations


def test_frequent_words_are_dropped_by_the_formula(monkeypatch):
    import sensorium.data.word_vectors_training as training

    lengths, whole = [], training.strips

    def counted(word_N, *args):
        lengths.append(word_N)
        return whole(word_N, *args)

    monkeypatch.setattr(training, "strips", counted)
    ids = [[4] * 9 + [5]] * 400  # shares 0.9 and 0.1
    train_word_vectors(ids, Vocab.of("ab"), WordVectorConfig(width=2, epochs=1, subsample=0.025))
    kept = torch.bincount(lengths[0], minlength=6)
    assert abs(int(kept[4]) / 3600 - (0.025 / 0.9) ** 0.5) < 0.03
    assert abs(int(kept[5]) / 400 - 0.5) < 0.12


def test_glove_finds_the_logs_of_the_counts():
    # Enough freedom to fit every cell: v_i . u_j + b_i + d_j, and hence the sums of both tables, say what X holds.
    ids = [[4, 5]] * 300 + [[4, 6]] * 20 + [[5, 6]] * 150 + [[7, 4]] * 80
    config = WordVectorConfig(method="glove", width=6, window=1, epochs=300, batch_words=1, learning_rate=0.1)
    vectors = train_word_vectors(ids, Vocab.of("abcd"), config)
    near = dict(vectors.nearest("a", 3))
    assert near["b"] > near["c"], near


def test_the_rate_falls_and_each_method_has_its_own():
    assert [WordVectorConfig(method=m).rate for m in ("skip_gram", "cbow", "glove")] == [0.025, 0.05, 0.05]
    assert WordVectorConfig(learning_rate=0.3).rate == 0.3


def test_vectors_that_grow_without_bound_are_refused():
    ids, vocab = sentences()
    with pytest.raises(DataError, match="learning_rate"):
        train_word_vectors(ids, vocab, WordVectorConfig(method="glove", width=4, epochs=30, learning_rate=1e30))


def test_nearest_and_analogy_by_hand():
    x_VD = torch.tensor([[1.0, 0, 0], [2, 2, 0], [0, 0, 3], [0, 5, 5], [-1, 0, 0]])
    vectors = WordVectors(("man", "king", "woman", "queen", "x"), x_VD)
    assert vectors.nearest("man", 2) == [("king", pytest.approx(0.5**0.5)), ("woman", 0.0)] or (
        vectors.nearest("man", 2)[0] == ("king", pytest.approx(0.5**0.5))
    )
    assert len(vectors.nearest("man", 99)) == 4
    # king - man + woman = (0.707 - 1, 0.707, 1), nearest (0, 1, 1)
    (word, cosine), *others = vectors.analogy("man", "king", "woman", 5)
    half = 0.5**0.5
    want = (half + 1) * half / ((half - 1) ** 2 + half**2 + 1) ** 0.5
    assert (word, cosine) == ("queen", pytest.approx(want, abs=1e-6))
    assert {other for other, _ in others} == {"x"}
    with pytest.raises(DataError, match="did you mean 'king'"):
        vectors.nearest("kings")


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

"""ARPA files: KenLM's golden one, round trips, what SRILM writes, and what is malformed."""

import gzip
import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError, DiskError, ModelError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, UNK, Vocab
from sensorium.language.arpa import is_arpa, read_arpa, write_arpa
from sensorium.language.ngram import Ngram

VOCAB = Vocab.of(["a", "b", "é", "<tag>"])
SMALL = """
made by hand

\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.25
-0.5\t</s>
-0.4\ta\t-0.125
-0.6\tb

\\2-grams:
-0.2\t<s> a
-0.3\ta b
-0.7\tb </s>

\\end\\
"""


def fitted(sequences, order=3, vocab=VOCAB):
    return Ngram(Ngram.Config(order=order), vocab, width=1).fit(sequences)


def scorer_of(path):
    vocab, tables = read_arpa(path)
    return Ngram(Ngram.Config(order=len(tables.level_start) - 1), vocab, width=1).take(tables)


def written(tmp_path, text):
    path = tmp_path / "model.arpa"
    path.write_text(text, encoding="utf-8")
    return path


@given(
    bodies=st.lists(st.lists(st.integers(UNK, len(VOCAB) - 1), max_size=6), min_size=1, max_size=8),
    order=st.integers(1, 4),
    ending=st.sampled_from([".arpa", ".arpa.gz"]),
)
def test_what_is_written_is_read(bodies, order, ending, tmp_path_factory):
    model = fitted([[BOS, *body, EOS] for body in bodies], order)
    path = tmp_path_factory.mktemp("arpa") / f"model{ending}"
    write_arpa(VOCAB, model.tables, path)
    vocab, tables = read_arpa(path)
    assert vocab == VOCAB
    none = np.empty(0, np.int32)
    unknown = {"discount_": np.zeros((order, 3)), "num_fallbacks_": 0, "suffix_": none, "occurrence_": none}
    want = model.tables.arrays() | unknown
    for name, array in tables.arrays().items():
        np.testing.assert_allclose(array, want[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_equal_models_give_equal_files(tmp_path):
    for name in ("one.arpa.gz", "two.arpa.gz"):
        write_arpa(VOCAB, fitted([[BOS, 4, 5, EOS]]).tables, tmp_path / name)
    assert (tmp_path / "one.arpa.gz").read_bytes() == (tmp_path / "two.arpa.gz").read_bytes()


def test_kenlms_file_is_ours(reference_data, tmp_path):
    golden = reference_data / "ngram" / "golden"
    texts = [line.split() for line in (golden / "train_1500.txt").read_text().splitlines()]
    vocab = Vocab.of(dict.fromkeys(word for text in texts for word in text))
    model = fitted([[BOS, *vocab.ids(text), EOS] for text in texts], 4, vocab)
    write_arpa(vocab, model.tables, tmp_path / "ours.arpa")

    def grams(path):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            rows = [line.rstrip("\n").split("\t") for line in file if "\t" in line]
        return {row[1]: (float(row[0]), float(row[2]) if len(row) > 2 else None) for row in rows}

    ours, theirs = grams(tmp_path / "ours.arpa"), grams(golden / "train_1500.o4.arpa.gz")
    assert ours.keys() == theirs.keys()
    assert all((ours[words][1] is None) == (theirs[words][1] is None) for words in theirs)
    values = np.array([[ours[words], theirs[words]] for words in theirs], float)
    np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=0, atol=1e-5)


def test_srilms_habits_are_understood(tmp_path):
    model = scorer_of(written(tmp_path, SMALL))
    ids_1T = torch.tensor([[BOS, *model.vocab.ids(["a", "b", "b", "never"]), EOS]])
    log10_p_T = model.score(ids_1T, ids_1T >= 0, Conditioning.empty(1))[0] / math.log(10)
    #           <s> a, a b, b b backs off at weight 0, <unk>, </s> after <unk>
    np.testing.assert_allclose(log10_p_T, [0, -0.2, -0.3, -0.6, -1.0, -0.5], rtol=1e-5)
    assert model.log_p_[BOS] == -math.inf


def test_blanks_in_place_of_tabs_are_read(tmp_path):
    spaced = scorer_of(written(tmp_path, SMALL.replace("\t", "  ")))
    tabbed = scorer_of(written(tmp_path, SMALL))
    assert all(torch.equal(a, b) for a, b in zip(spaced.buffers(), tabbed.buffers(), strict=True))


def test_without_unk_unknown_words_are_all_but_impossible(tmp_path, caplog):
    text = SMALL.replace("-1.0\t<unk>\n", "").replace("ngram 1=5", "ngram 1=4")
    with caplog.at_level(logging.WARNING):
        model = scorer_of(written(tmp_path, text))
    assert float(model.log_p_[UNK]) == pytest.approx(-100 * math.log(10), rel=1e-6)
    assert "no <unk>" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("\\data\\", "", "no ARPA file"),
        ("\\end\\", "", "cut short"),
        ("ngram 2=3", "ngram 2=4", "log10 p"),
        ("ngram 2=3", "ngram 2=2", r"\\end\\"),
        ("ngram 2=3", "ngram 3=3", "ngram 2="),
        ("ngram 1=5\nngram 2=3\n", "", "1 to 16 counts"),
        ("\\2-grams:", "\\3-grams:", r"'\\2-grams:'"),
        ("-0.3\ta b", "-0.3\ta b b", "not an n-gram of 2 words"),
        ("-0.3\ta b", "-0.3\tz b", "'z' in an n-gram"),
        ("-0.3\ta b", "-0.2\t<s> a", "'<s> a' twice"),
        ("-0.3\ta b", "0.3\ta b", "above 0"),
        ("-0.3\ta b", "nan\ta b", "above 0"),
        ("-0.3\ta b", "x\ta b", "is not 'log10 p"),
        ("-0.6\tb", "-0.6\ta", "unigram twice"),
        ("-0.6\tb", "-0.6\t<pad>", "<pad>"),
        ("-0.5\t</s>", "-0.5\tc", "lacks the unigram </s>"),
    ],
)
def test_a_malformed_file_is_refused_with_the_fault(old, new, fault, tmp_path):
    assert SMALL.count(old) == 1
    with pytest.raises(DataError, match=fault):
        read_arpa(written(tmp_path, SMALL.replace(old, new)))


@pytest.mark.parametrize("line", ["-0.3\ta  b", "-0.3\ta b\t", "-0.3 \t a b", "-0.3 a b"])
def test_blanks_beside_tabs_change_no_model(line, tmp_path):
    (vocab, tables), (again, same) = (
        read_arpa(written(tmp_path, t)) for t in (SMALL, SMALL.replace("-0.3\ta b", line))
    )
    assert vocab.tokens == again.tokens
    assert tables.key.tolist() == same.key.tolist()
    assert tables.log_p.tolist() == same.log_p.tolist()


def test_an_n_gram_without_its_context_is_refused(tmp_path):
    text = SMALL.replace("ngram 2=3", "ngram 2=3\nngram 3=1").replace(
        "\\end\\", "\\3-grams:\n-0.1\tb a b\n\n\\end\\"
    )
    with pytest.raises(DataError, match="'b a b', but not its first 2 words"):
        read_arpa(written(tmp_path, text))


def test_faults_name_the_line(tmp_path):
    with pytest.raises(DataError, match=r"model\.arpa:17: "):
        read_arpa(written(tmp_path, SMALL.replace("-0.3\ta b", "x\ta b")))


def test_a_cut_gzip_and_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "model.arpa.gz"
    path.write_bytes(gzip.compress(SMALL.encode())[:-20])
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_arpa(path)
    path.write_bytes(SMALL.replace("b", "é").encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_arpa(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_arpa(tmp_path / "none.arpa")


def test_tokens_with_white_space_cannot_be_written(tmp_path):
    vocab = Vocab.of(["a", " "])
    with pytest.raises(ModelError, match="white space"):
        write_arpa(vocab, fitted([[BOS, 4, 5, EOS]], 2, vocab).tables, tmp_path / "model.arpa")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DiskError):
        write_arpa(VOCAB, fitted([[BOS, 4, EOS]]).tables, tmp_path / "none" / "model.arpa")


def test_names_of_arpa_files(tmp_path):
    names = {"a.arpa": True, "a.arpa.gz": True, "a.lm": True, "a.lm.gz": True, "a.gz": False, "arpa": False}
    assert {name: is_arpa(tmp_path / name) for name in names} == names


@pytest.mark.parametrize("order", [2, 3, 5])
def test_kenlm_reads_what_is_written_and_says_the_same(order, tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="the kenlm package is not installed")
    generator = np.random.default_rng(order)
    sequences = [
        [BOS, *(generator.zipf(1.5, 7).clip(1, len(VOCAB) - 1 - UNK) + UNK).tolist(), EOS] for _ in range(200)
    ]
    model = fitted(sequences, order)
    write_arpa(VOCAB, model.tables, tmp_path / "ours.arpa")
    theirs = kenlm.Model(str(tmp_path / "ours.arpa"))
    for sequence in sequences[:50]:
        token_1T = torch.tensor([sequence])
        ours = model.score(token_1T, token_1T >= 0, Conditioning.empty(1)).sum() / np.log(10)
        words = " ".join(VOCAB.tokens[token] for token in sequence[1:-1])
        assert theirs.score(words) == pytest.approx(float(ours), abs=1e-3)

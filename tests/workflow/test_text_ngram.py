"""N-gram models of text files: what is trained, saved, mapped, loaded and judged."""

import gzip
import json
import math

import pytest
import torch

from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.core.vocabulary import BOS, UNK
from sensorium.workflow import text_ngram
from sensorium.workflow.text_ngram import TextScore, load, save, score_lines, score_text, train_text

TEXT = "the cat sat\nthe dog sat\n\nthe cat ran off\n"
HELD_OUT = "the dog ran\na cat sat\n\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def held_out(tmp_path):
    path = tmp_path / "held_out.txt"
    path.write_text(HELD_OUT, encoding="utf-8")
    return path


def same(one, other):
    """Compare what answers; how often things occurred is kept only by counts in memory."""
    told = {name: buffer for name, buffer in one.named_buffers() if name not in ("suffix_", "occurrence_")}
    return all(torch.equal(buffer, other.get_buffer(name)) for name, buffer in told.items())


def test_an_empty_line_is_a_sentence_of_no_words(text):
    model = train_text(text, order=2)
    key = BOS * len(model.scorer.vocab) + 2
    assert key in model.scorer.key_.tolist()


@pytest.mark.parametrize("tokenizer", ["whitespace", "word", "character", "bpe"])
def test_a_folder_brings_the_model_back(tokenizer, text, held_out, tmp_path):
    options = {"vocabulary_size": 270} if tokenizer == "bpe" else {}
    model = train_text(text, order=3, tokenizer=tokenizer, options=options)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.tokenizer.name == tokenizer
    assert same(model.scorer, again.scorer)
    assert score_text(again, held_out) == score_text(model, held_out)


def test_loaded_tables_are_mapped_files(text, tmp_path):
    save(train_text(text), tmp_path / "model")
    model = load(tmp_path / "model")
    with open("/proc/self/maps") as maps:  # noqa: PTH123
        assert any("tables.safetensors" in line for line in maps)
    assert score_lines(model, ["the cat"])


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_an_arpa_file_brings_the_scores_back(name, text, held_out, tmp_path):
    model = train_text(text, order=3)
    save(model, tmp_path / name)
    found, want = score_text(load(tmp_path / name), held_out), score_text(model, held_out)
    assert found.log10_p == pytest.approx(want.log10_p, abs=1e-4)
    assert found.num_unknown == want.num_unknown == 1


@pytest.mark.parametrize("prune", [(), (0, 0, 1)])
def test_little_memory_gives_the_same_model(prune, tmp_path, monkeypatch):
    words = ["one", "two", "three", "four", "five"]
    lines = [" ".join(words[(i * i + j) % 5] for j in range(i % 9)) for i in range(300)]
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines))
    monkeypatch.setattr(text_ngram, "BYTES_A_TOKEN", 1 << 14)  # so that 1 MiB is 64 tokens
    small = train_text(text, order=4, prune=prune, memory_mib=1, scratch=tmp_path)
    assert same(train_text(text, order=4, prune=prune).scorer, small.scorer)
    assert list(tmp_path.iterdir()) == [text], "no scratch file is left"
    save(small, tmp_path / "model")
    assert same(load(tmp_path / "model").scorer, small.scorer)


def test_scores_are_sums_over_tokens(text, held_out):
    model = train_text(text, order=3)
    lines = list(score_lines(model, HELD_OUT.splitlines()))
    assert [(line.num_tokens, line.num_unknown) for line in lines] == [(4, 0), (4, 1), (1, 0)]
    total = TextScore.of(lines)
    assert total == score_text(model, held_out)
    assert total.log10_p == pytest.approx(sum(line.log10_p for line in lines))
    assert total.perplexity_with_oov == pytest.approx(10 ** (-total.log10_p / 9))
    unknown = float(model.scorer.log_p_[UNK]) / math.log(10)
    assert total.log10_p_unknown <= unknown + 1e-5
    assert total.perplexity_without_oov == pytest.approx(10 ** ((total.log10_p_unknown - total.log10_p) / 8))


def test_blocks_do_not_change_scores(text, monkeypatch):
    model = train_text(text, order=3)
    lines = (TEXT + HELD_OUT).splitlines()
    want = list(score_lines(model, lines))
    monkeypatch.setattr(text_ngram, "BLOCK_TOKENS", 5)
    for found, one in zip(score_lines(model, lines), want, strict=True):
        assert found.log10_p == pytest.approx(one.log10_p, abs=1e-6)


def test_no_line_has_no_perplexity(text, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.touch()
    score = score_text(train_text(text), empty)
    assert (score.num_tokens, score.perplexity_with_oov, score.perplexity_without_oov) == (0, None, None)


def test_gzipped_text_is_read(text, tmp_path):
    packed = tmp_path / "text.txt.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    assert same(train_text(text).scorer, train_text(packed).scorer)


def test_bad_input_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        train_text(tmp_path / "none.txt")
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine\nf\xe4ux\n")
    with pytest.raises(DataError, match=r"bad\.txt:2: is not UTF-8"):
        train_text(bad)
    bad.write_bytes(b"")
    with pytest.raises(DataError, match=r"bad\.txt: .*no sequences"):
        train_text(bad)
    with pytest.raises(ConfigError, match="prune"):
        train_text(bad, prune=(1,))


def test_bad_models_are_named(text, tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        load(tmp_path / "none")
    save(train_text(text), tmp_path / "model")
    tables = tmp_path / "model" / "tables.safetensors"
    tables.write_bytes(tables.read_bytes()[:-4] + b"\1\1\1\1")
    with pytest.raises(ModelError, match="tables"):
        load(tmp_path / "model")
    settings = tmp_path / "model" / "ngram.json"
    settings.write_text(json.dumps({"order": 99}))
    with pytest.raises(ModelError, match="no n-gram model"):
        load(tmp_path / "model", check=False)
    with pytest.raises(ModelError):
        load(tmp_path)


def test_bounds_that_a_text_holds_already_are_left_out(tmp_path):
    (tmp_path / "plain.txt").write_text("the cat sat\nthe dog ran\n")
    (tmp_path / "bounds.txt").write_text("<s> the cat sat </s>\n<S> the dog ran\n")
    plain, bounds = (train_text(tmp_path / f"{name}.txt", order=2) for name in ("plain", "bounds"))
    assert bounds.scorer.vocab == plain.scorer.vocab
    scores = {score_text(one, tmp_path / f"{text}.txt") for one in (plain, bounds) for text in ("plain", "bounds")}
    assert len(scores) == 1
    assert scores.pop().num_unknown == 0


@pytest.mark.parametrize("line", ["a </s> b", "a <s> b </s>", "<s> <pad> a"])
def test_bounds_inside_a_sentence_are_refused(tmp_path, line):
    (tmp_path / "t.txt").write_text(f"a b\n{line}\n")
    with pytest.raises(DataError, match=r"t\.txt:2: has '<[/spad]+>' inside a sentence"):
        train_text(tmp_path / "t.txt", order=2)


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "t.txt").write_bytes("\ufeffthe cat\r\nthe dog\r\n".encode())
    assert set(train_text(tmp_path / "t.txt", order=2).scorer.vocab.tokens[4:]) == {"the", "cat", "dog"}


INFINITE = (
    "\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-99\t<s>\t-0.3\n-0.9\t</s>\n-0.8\tthe\t-0.2\n-0.7\tcat\t-0.1\n"
    "{unknown}\t<unk>\n\n\\2-grams:\n-0.3\t<s> the\n-0.4\tthe cat\n-0.5\tcat </s>\n\n\\end\\\n"
)


@pytest.mark.parametrize(
    ("unknown", "perplexity"), [("-inf", math.inf), ("-4000", math.inf), ("-5", 10 ** (7.6 / 6))]
)
def test_an_impossible_unknown_word_leaves_the_known_ones_their_perplexity(tmp_path, unknown, perplexity):
    (tmp_path / "m.arpa").write_text(INFINITE.format(unknown=unknown))
    (tmp_path / "t.txt").write_text("the cat\nthe dog\n")
    score = score_text(load(tmp_path / "m.arpa"), tmp_path / "t.txt")
    assert score.perplexity_with_oov == pytest.approx(perplexity, rel=1e-5)
    assert score.perplexity_without_oov == pytest.approx(10 ** (2.4 / 5), rel=1e-5)
    lines = list(score_lines(load(tmp_path / "m.arpa"), text_ngram.lines_of(tmp_path / "t.txt")))
    assert [line.log10_p_known for line in lines] == pytest.approx([-1.2, -1.2], rel=1e-5)


def test_words_keep_white_space_that_parts_none_in_arpa_files(tmp_path):
    (tmp_path / "fr.txt").write_bytes("il a dit :\u00a0oui\nelle a dit\u00a0: non\n\u3000 a\u2028b\x85\n".encode())
    trained = train_text(tmp_path / "fr.txt", order=2)
    save(trained, tmp_path / "fr.arpa")
    again = load(tmp_path / "fr.arpa")
    assert {":\u00a0oui", "dit\u00a0:", "\u3000", "a\u2028b\x85"} <= set(again.scorer.vocab.tokens)
    mine, read = (score_text(one, tmp_path / "fr.txt") for one in (trained, again))
    assert mine.num_unknown == read.num_unknown == 0
    assert read.log10_p == pytest.approx(mine.log10_p, rel=1e-5)

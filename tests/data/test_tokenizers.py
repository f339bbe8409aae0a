"""Round trips, ties, unknowns and storage of every tokenizer; and how words are split and joined."""

import itertools
import json
import pickle
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, DataError, MissingExtraError, ModelError
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK
from sensorium.data import tokenizers
from sensorium.data.tokenizers import TOKENIZERS as ALL_TOKENIZERS
from sensorium.data.tokenizers import Tokenizer, words
from sensorium.data.tokenizers.lexicon import Lexicon, TokenCounter

TOKENIZERS = [name for name in ALL_TOKENIZERS if name != "hf"]  # reads a folder: `test_hf_tokenizer`
TEXTS = [
    "A dog's ball isn't red.",
    "two dogs, one ball",
    "两只狗在草地上奔跑。",
    "我有3只iPhone手机，很好！",
    "हिन्दी में स्वागत",
    "two dogs, one ball",
]
# Few characters, many seams: apostrophes, digits, marks, joiners, scripts with and without blanks.
SEAMS = "ab sS'’nt.,:/-+31\"()$%#@_—…中文、。“”カ\u3099ก\u0e31हि\u200d👩🏽🇩🇪\u0301é\n"
seam_text = st.text(st.sampled_from(SEAMS), max_size=24)
any_text = st.text(st.characters(), max_size=40)  # lone surrogates too


def small(name: str) -> dict[str, object]:
    return {"vocabulary_size": 300} if name == "bpe" else {}


PUBLISHED = {"hf", "published"}  # these read a tokenizer, and have tests of their own


@pytest.fixture(params=sorted(set(TOKENIZERS) - PUBLISHED))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ----------------------------------------------------------------------------- what holds for all


def test_obeys_the_protocol(name: str) -> None:
    tokenizer = tokenizers.build(name, small(name)).fit(iter(TEXTS))
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.name == name
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids
        assert not {PAD, BOS, EOS, UNK} & set(ids)
        assert tokenizer.encode(tokenizer.decode(ids)) == ids
        assert tokenizer.decode([BOS, *ids, EOS, PAD, PAD]) == tokenizer.decode(ids)
    assert tokenizer.num_unknown == 0
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


def test_order_of_texts_changes_nothing(name: str) -> None:
    shuffled = random.Random(7).sample(TEXTS, len(TEXTS))
    first = tokenizers.build(name, small(name)).fit(TEXTS)
    second = tokenizers.build(name, small(name)).fit(shuffled)
    assert first.vocab.tokens == second.vocab.tokens
    assert [first.encode(t) for t in TEXTS] == [second.encode(t) for t in TEXTS]


def test_hash_seeds_change_nothing() -> None:
    program = (
        "from sensorium.data import tokenizers; t = ['b a', 'c d', 'b a 中文'];"
        "print([tokenizers.build(n).fit(t).vocab.fingerprint for n in sorted(tokenizers.TOKENIZERS) if n not in ('hf', 'published')])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout


def test_saves_and_loads(name: str, tmp_path: Path) -> None:
    tokenizer = tokenizers.build(name, small(name)).fit(TEXTS)
    tokenizer.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for again in (tokenizers.read(tmp_path), tokenizers.build(name, small(name)).load(tmp_path)):
        assert again.vocab.fingerprint == tokenizer.vocab.fingerprint
        assert again.config == tokenizer.config
        assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_pickles(name: str) -> None:
    tokenizer = tokenizers.build(name, small(name)).fit(TEXTS)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_a_text_that_spells_a_special_token_is_none(name: str) -> None:
    texts = ["<s>", "<pad> </s> <unk>", "<s>"]
    tokenizer = tokenizers.build(name, small(name)).fit(texts)
    for text in texts:
        assert not {PAD, BOS, EOS} & set(tokenizer.encode(text))


def test_words_spelled_as_special_tokens_are_words(name: str, tmp_path: Path) -> None:
    texts = ["<s>", "<pad> </s> <s> a", "\\<s> \\\\<pad>", "<unk>"]
    tokenizer = tokenizers.build(name, small(name)).fit(texts * 3)
    tokenizer.save(tmp_path)
    for one in (tokenizer, tokenizers.read(tmp_path)):
        for text in texts[:3]:
            assert one.decode(one.encode(text)) == tokenizer.normalised(text)
        if name != "whitespace":  # there it stands for the unknown word, as in files for KenLM
            assert one.decode(one.encode("<unk>")) == tokenizer.normalised("<unk>")
        assert not {PAD, BOS, EOS} & {i for text in texts for i in one.encode(text)}


@settings(deadline=None)
@given(text=any_text)
def test_any_text_is_taken(text: str) -> None:
    for name in set(TOKENIZERS) - PUBLISHED:
        tokenizer = tokenizers.build(name, small(name)).fit([text])
        ids = tokenizer.encode(text)
        assert all(0 <= i < len(tokenizer.vocab) for i in ids)
        if UNK not in ids:
            assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_unfitted_says_so(name: str, tmp_path: Path) -> None:
    tokenizer = tokenizers.build(name)
    for use in (lambda: tokenizer.vocab, lambda: tokenizer.encode("a"), lambda: tokenizer.save(tmp_path)):
        with pytest.raises(ModelError, match="no vocabulary yet"):
            use()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a readable tokenizer"),
        ("[]", "names no kind"),
        ('{"tokenizer": "word", "config": {}}', "is a 'word' tokenizer"),
        ('{"tokenizer": "character", "config": {"colour": 1}}', "does not know"),
        ('{"tokenizer": "character", "config": {"min_count": 9}}', "was fitted with"),
        ('{"tokenizer": "character", "config": {}}', "lacks 'tokens'"),
        ('{"tokenizer": "character", "config": {}, "tokens": 3}', "no list of tokens"),
        ('{"tokenizer": "character", "config": {}, "tokens": ["a"]}', "begins with"),
    ],
)
def test_damaged_files_are_named(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=said):
        tokenizers.build("character").load(tmp_path)


def test_damaged_merges_are_named(tmp_path: Path) -> None:
    tokenizers.build("bpe", small("bpe")).fit(TEXTS).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    for merges in ([["nowhere", "to be found"]], [["a"]], 5):
        path.write_text(json.dumps({**content, "merges": merges}))
        with pytest.raises(ModelError, match="merges"):
            tokenizers.read(tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no tokenizer"):
        tokenizers.read(tmp_path)


def test_wrong_names_and_options_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'word'"):
        tokenizers.build("words")
    with pytest.raises(ConfigError, match="did you mean 'lowercase'"):
        tokenizers.build("word", {"lower_case": True})
    with pytest.raises(ConfigError, match="vocabulary_size"):
        tokenizers.build("bpe", {"vocabulary_size": 100})


# -------------------------------------------------------------------------------------- the lexicon


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=8), max_size=12), st.integers(1, 3), st.integers(5, 9)
)
def test_ranks_as_a_plain_count_does(texts: list[list[str]], min_count: int, size: int) -> None:
    lexicon, report = Lexicon.fitted(texts, vocabulary_size=size, min_count=min_count)
    counts = Counter(token for text in texts for token in text)
    ranked = sorted((t for t in counts if counts[t] >= min_count), key=lambda t: (-counts[t], t))[: size - 4]
    assert list(lexicon.vocab.tokens[4:]) == ranked
    assert report.num_texts == len(texts)
    assert report.num_tokens == counts.total()
    assert report.num_kept + report.num_left_out == len(counts)
    assert report.num_tokens_left_out == counts.total() - sum(counts[t] for t in ranked)
    for text in texts:
        lexicon.encode(text)
    assert lexicon.num_unknown == report.num_tokens_left_out


def test_counting_is_bounded_and_keeps_the_common() -> None:
    counter = TokenCounter(max_distinct=100)
    for i in range(5_000):
        counter.add([f"rare{i}", "common"])
        assert len(counter.counts) <= 100
    kept, report = counter.ranked(1, 1)
    assert kept == ["common"]
    assert counter.counts["common"] == 5_000
    assert report.num_left_out == 5_000
    assert report.num_tokens_left_out == 5_000


# -------------------------------------------------------------------------------------------- label


def test_label_keeps_texts_whole() -> None:
    tokenizer = tokenizers.build("label").fit(["Two  dogs ", " Two dogs", "no"])
    assert tokenizer.vocab.tokens[4:] == ("Two dogs", "no")
    assert tokenizer.encode("\tTwo dogs\n") == [4]
    assert tokenizer.decode([4]) == "Two dogs"
    assert tokenizer.encode("maybe") == [UNK]
    assert tokenizer.num_unknown == 1
    assert tokenizers.build("label", {"lowercase": True}).fit(["YES", "yes"]).vocab.tokens[4:] == ("yes",)


def test_too_many_labels_are_refused_early() -> None:
    taken = []

    def texts() -> object:
        for i in range(1_000):
            taken.append(i)
            yield str(i)

    with pytest.raises(DataError, match="tokenizer 'word'"):
        tokenizers.build("label", {"max_labels": 10}).fit(texts())
    assert len(taken) == 11


# ---------------------------------------------------------------------------------------- character


@settings(deadline=None)
@given(any_text)
@example("e\u0301 İ ﬁ \ud800")
def test_character_restores_the_composed_text(text: str) -> None:
    tokenizer = tokenizers.build("character").fit([text])
    composed = unicodedata.normalize("NFC", "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text))
    assert tokenizer.decode(tokenizer.encode(text)) == composed


def test_character_counts_unknowns() -> None:
    tokenizer = tokenizers.build("character", {"vocabulary_size": 6}).fit(["aaabbc"])
    assert tokenizer.encode("abcd") == [4, 5, UNK, UNK]
    assert tokenizer.num_unknown == 2
    assert tokenizer.report_.num_tokens_left_out == 1


def test_character_lowers_where_asked() -> None:
    tokenizer = tokenizers.build("character", {"lowercase": True}).fit(["AÉİ"])
    assert tokenizer.decode(tokenizer.encode("AÉ")) == "aé"


# ---------------------------------------------------------------------------------------------- bpe


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return tokenizers.build("bpe", {"vocabulary_size": 320}).fit(TEXTS)


@settings(deadline=None)
@given(text=st.text(max_size=60))
@example(text="<s> <pad>\r\n\t \x00 e\u0301 𝔘🇩🇪")
def test_bpe_restores_any_text(bpe: Tokenizer, text: str) -> None:
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert all(i >= 4 for i in ids)


def test_bpe_takes_lone_surrogates_and_lowers_where_asked(bpe: Tokenizer) -> None:
    assert bpe.decode(bpe.encode("a\ud800b")) == "a\ufffdb"
    lowering = tokenizers.build("bpe", {"lowercase": True, "vocabulary_size": 262}).fit(["AB\ud800", "Ab"])
    assert lowering.decode(lowering.encode("ÄB")) == "äb"
    assert lowering.vocab.tokens[-1] == "ab"


def test_bpe_merges_what_repeats() -> None:
    tokenizer = tokenizers.build("bpe", {"vocabulary_size": 280}).fit(["草地上 the dog"] * 3)
    assert len(tokenizer.encode("草地上")) < len("草地上".encode())
    assert len(tokenizer.encode("dog")) < 3
    assert len(tokenizer.vocab) <= 280


def test_bpe_follows_the_textbook_merges() -> None:
    """Sennrich et al., algorithm 1, on words of distinct pair counts."""
    corpus = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    tokenizer = tokenizers.build("bpe", {"vocabulary_size": 263}).fit(corpus)
    spelled = Counter(tuple(word) for word in corpus)
    merges = []
    for _ in range(3):
        pairs = Counter()
        for word, count in spelled.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        best = max(pairs.values())
        tied = {pair for pair, count in pairs.items() if count == best}
        learned = tuple(tokenizer._merges[len(merges)])
        assert learned in tied
        merges.append(learned)
        merged = Counter()
        for word, count in spelled.items():
            merged[_merge(word, learned)] += count
        spelled = merged
    assert tokenizer.vocab.tokens[-3:] == tuple("".join(pair) for pair in merges)


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return tuple(out)


def test_bpe_tokens_stay_short() -> None:
    texts = ["今天天气很好我们去公园玩吧", "abcdefghijklmnop"] * 9
    for limit in (6, 12):
        tokenizer = tokenizers.build("bpe", {"vocabulary_size": 2_000, "max_token_bytes": limit}).fit(texts)
        assert limit // 2 < max(len(token) for token in tokenizer.vocab.tokens[4:]) <= limit  # a sign a byte


# --------------------------------------------------------------------------------------------- word


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A dog 's ball .", "A|dog|'s|ball|."),
        ("a dog ' s ball", "a|dog|'s|ball"),
        ("The dog’s ball isn't ours, we'd've", "The|dog|'s|ball|is|n't|ours|,|we|'d|'ve"),
        ("I can’t at five o'clock", "I|ca|n't|at|five|o'clock"),
        ("'see' 'd' 'twas", "'|see|'|'|d|'|'|twas"),
        ("long-sleeved t-shirt - x", "long-sleeved|t-shirt|-|x"),
        ("$3,000.50 at 10:30, -5% or 1/2.", "$|3,000.50|at|10:30|,|-5|%|or|1/2|."),
        ("The U.S. at 5 p.m.", "The|U.S.|at|5|p.m."),
        ("3rd 1990s a_b #1", "3rd|1990s|a_b|#|1"),
        ("两只狗 run。", "两|只|狗|run|。"),
        ("我有3只iPhone手机", "我|有|3|只|iPhone|手|机"),
        ("きゃー カ\u3099", "き|ゃ|ー|カ\u3099"),
        ("한국어 문장", "한국어|문장"),
        ("हिन्दी में", "हिन्दी|में"),
        ("สวัสดี", "ส|วั|ส|ดี"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("naïve Straße ŒUVRE", "naïve|Straße|ŒUVRE"),
        ("👩🏽\u200d🚀👍🇩🇪🇫🇷!!", "👩🏽\u200d🚀|👍|🇩🇪|🇫🇷|!|!"),
        ("¿qué? ...", "¿|qué|?|.|.|."),
    ],
)
def test_splits(text: str, tokens: str) -> None:
    assert words.split(text) == tokens.split("|")


@pytest.mark.parametrize(
    "text",
    [
        "a dog's ball isn't red, is it?",
        '"hello," he said: "it\'s (almost) 10:30!"',
        "she said 'no' to the boys' toys.",
        "it cost $3,000.50 and/or -5%... fine",
        "两只狗在草地上奔跑，很开心。",
        "我有3只iphone手机——很好！",
        "“你好”，他说：《红楼梦》（一）",
        "he said “hello” — twice",
        "हिन्दी में स्वागत",
        "สวัสดีครับ",
        "what?! a t-shirt at no. 5 @home",
    ],
)
def test_word_decoding_reads_well(text: str) -> None:
    tokenizer = tokenizers.build("word").fit([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_joins_what_was_written_apart() -> None:
    tokenizer = tokenizers.build("word").fit(["A dog ' s ball , is n't it ?"])
    assert tokenizer.decode(tokenizer.encode("A dog ' s ball , is n't it ?")) == "a dog's ball, isn't it?"


@settings(deadline=None)
@given(seam_text)
def test_joined_words_split_alike(text: str) -> None:
    tokens = words.split(unicodedata.normalize("NFC", text))
    assert words.split(unicodedata.normalize("NFC", words.join(tokens))) == tokens


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "ca",
                "n't",
                "'s",
                "'",
                '"',
                ".",
                "3",
                "1/2",
                "-5",
                "/",
                "-",
                "$",
                "中",
                "(",
                ")",
                "—",
                "U.S.",
                "s",
            ]
        ),
        max_size=10,
    )
)
@example(["a", "'", "s", "a", "'"])
def test_any_order_of_words_joins_reversibly(tokens: list[str]) -> None:
    # A scorer may say tokens in any order; what a reader sees has to mean the same tokens.
    assert words.split(words.join(tokens)) == tokens


@settings(deadline=None)
@given(seam_text)
def test_nothing_but_white_space_is_dropped(text: str) -> None:
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    assert "".join(words.split(text)) == "".join(text.split())


def test_real_texts_survive_splitting_and_joining(reference_data: Path) -> None:
    lines = (reference_data / "flickr8k" / "captions.tsv").read_text().splitlines()[1:]
    lines += (reference_data / "text" / "tinyshakespeare.txt").read_text().splitlines()[:5_000]
    for line in lines:
        tokens = words.split(line)
        assert words.split(words.join(tokens)) == tokens
    shakespeare = [line for line in lines[-5_000:] if "--" not in line and " '" not in line]
    kept = sum(words.join(words.split(line)) == line.strip() for line in shakespeare)
    assert kept > 0.99 * len(shakespeare)


def test_word_lowers_unless_told_not_to() -> None:
    assert tokenizers.build("word").fit(["A Dog"]).vocab.tokens[4:] == ("a", "dog")
    assert tokenizers.build("word", {"lowercase": False}).fit(["A Dog"]).vocab.tokens[4:] == ("A", "Dog")


def test_word_sees_one_spelling() -> None:
    tokenizer = tokenizers.build("word").fit(["caf\u00e9"])
    assert (
        tokenizer.encode("CAFE\u0301") == tokenizer.encode("\ufeffcaf\u00e9") == tokenizer.encode("caf\u00e9\u200b")
    )


def test_rare_words_are_unknown_and_counted() -> None:
    tokenizer = tokenizers.build("word", {"min_count": 2}).fit(["a dog", "a cat", "a dog"])
    assert tokenizer.vocab.tokens[4:] == ("a", "dog")
    assert tokenizer.encode("a cat") == [4, UNK]
    assert tokenizer.num_unknown == 1
    assert tokenizer.decode([4, UNK]) == "a"
    assert (tokenizer.report_.num_left_out, tokenizer.report_.num_tokens_left_out) == (1, 1)


def test_jieba_segments_chinese_words() -> None:
    pytest.importorskip("jieba")
    tokenizer = tokenizers.build("word", {"segmenter": "jieba"})
    text = "我来到北京清华大学，Tom's 大学"
    assert tokenizer.split(text) == ["我", "来到", "北京", "清华大学", "，", "tom", "'s", "大学"]
    tokenizer.fit([text])
    assert tokenizer.decode(tokenizer.encode(text)) == "我来到北京清华大学，tom's大学"


def test_missing_jieba_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    tokenizer = tokenizers.build("word", {"segmenter": "jieba"})
    with pytest.raises(MissingExtraError, match=r"sensorium\[chinese\]"):
        tokenizer.fit(["北京大学"])


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "'" * 50_000,
        "a'" * 50_000,
        "1." * 50_000,
        "中" * 50_000,
        "\u0301" * 50_000,
        "a." * 50_000,
        "n't" * 2_000,
        "-" * 50_000,
        "'s" * 5000,
    ],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    tokenizer = tokenizers.build("word").fit([text])
    tokenizer.decode(tokenizer.encode(text))

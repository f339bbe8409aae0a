"""A published tokenizer as ours: text there and back, its special signs among our four, whole on disk."""

import pickle
import shutil

import pytest

from sensorium.core.errors import ModelError
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK
from sensorium.data.tokenizers import build, read

pytest.importorskip("transformers")
TEXTS = ["a dog runs", "two dogs play", "a red bike"]
SIGNS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def saved(folder, signs=SIGNS, more=()):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(dict.fromkeys([*more, *signs.values()])),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=engine, **signs)
    fast.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    return fast


def test_the_same_tokens_under_our_numbers(tmp_path):
    theirs = saved(tmp_path, more=("<mask>",))
    ours = build("hf", {"source": str(tmp_path)}).fit(TEXTS)
    source_ids = ours.vocab.source_ids
    for text in ("a dog runs", "Überfall 日本 \x00", "two  blanks "):
        ids = ours.encode(text)
        assert [source_ids[i] for i in ids] == theirs.encode(text, add_special_tokens=False)
        assert ours.decode([BOS, *ids, EOS, PAD]) == text
    assert ours.num_unknown == 0
    roles = [theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id]
    assert list(source_ids[:4]) == roles
    assert len(ours.vocab) == len(theirs)


def test_special_signs_spelled_in_a_text_are_text(tmp_path):
    saved(tmp_path)
    ours = build("hf", {"source": str(tmp_path)}).fit(())
    ids = ours.encode("a </s> b")
    assert EOS not in ids
    assert ours.decode(ids) == "a </s> b"


def test_one_sign_for_several_roles(tmp_path):
    saved(tmp_path, dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"))
    vocab = build("hf", {"source": str(tmp_path)}).fit(()).vocab
    assert vocab.source_ids[BOS] == vocab.source_ids[EOS] >= 0
    assert vocab.source_ids[UNK] == vocab.source_ids[PAD] == -1
    assert "<|endoftext|>" not in vocab


def test_what_was_not_seen_is_unknown_and_counted(tmp_path):
    saved(tmp_path)
    whole = build("hf", {"source": str(tmp_path)}).fit(TEXTS)
    seen = build("hf", {"source": str(tmp_path), "keep": "seen"}).fit(TEXTS)
    assert len(seen.vocab) < len(whole.vocab)
    assert all(seen.decode(seen.encode(text)) == text for text in TEXTS)
    assert seen.num_unknown == 0
    assert UNK in seen.encode("a zebra")
    assert seen.num_unknown > 0


@pytest.mark.parametrize("keep", ["all", "seen"])
def test_saved_it_needs_no_source(tmp_path, keep):
    saved(tmp_path / "source")
    ours = build("hf", {"source": str(tmp_path / "source"), "keep": keep}).fit(TEXTS)
    (tmp_path / "kept").mkdir()
    ours.save(tmp_path / "kept")
    shutil.rmtree(tmp_path / "source")
    for again in (read(tmp_path / "kept"), pickle.loads(pickle.dumps(ours))):
        assert again.vocab == ours.vocab
        assert again.encode("a red dog") == ours.encode("a red dog")


def test_bad_folders(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        build("hf", {"source": str(tmp_path / "none")}).fit(())
    with pytest.raises(ModelError, match="not been read"):
        _ = build("hf", {"source": str(tmp_path)}).vocab
    with pytest.raises(ModelError, match="not been read"):
        build("hf", {"source": str(tmp_path)}).encode("a")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ModelError, match="tokenizer"):
        build("hf", {"source": str(tmp_path)}).fit(())

